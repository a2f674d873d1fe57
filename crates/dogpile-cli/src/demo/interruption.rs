//! A run in a folder of its own, which a signal can end at any moment, with nothing left behind.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The time for queries that are still running to end.
const GRACE: Duration = Duration::from_secs(2);

/// Runs `work` on a runtime of its own, with a temporary folder. Both have gone when this
/// returns. If a signal comes first, the exit code that tells so is in place of the output.
pub(super) fn run<W: Future>(
    work: impl FnOnce(PathBuf) -> W,
) -> io::Result<Result<W::Output, ExitCode>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut signals = {
        let _entered = runtime.enter();
        Signals::listen()?
    };
    // From here on nothing can end this process without removing the folder.
    let folder = tempfile::tempdir()?;
    let finished = runtime.block_on(async {
        tokio::select! {
            output = work(folder.path().to_owned()) => Ok(output),
            code = signals.next() => Err(ExitCode::from(code)),
        }
    });
    // Nobody writes into the folder after that.
    runtime.shutdown_timeout(GRACE);
    folder.close()?;
    Ok(finished)
}

/// The signals that ask this process to end.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns the exit code for the first one, as a shell has it: 128 and its number.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
            _ = self.hangup.recv() => 129,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> u8 {
        // Without a handler the signal ends the process by itself.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        130
    }
}
