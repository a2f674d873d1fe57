//! A run that a signal can end at any moment, with nothing left behind.

use std::future::Future;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

/// The time for queries that are still running to end.
const GRACE: Duration = Duration::from_secs(2);

/// Runs `work` on a runtime of its own, which has ended when this returns. If a signal comes
/// first, the exit code that tells so is in place of the output.
pub(super) fn run_until<T>(work: impl Future<Output = T>) -> io::Result<Result<T, ExitCode>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let finished = runtime.block_on(async {
        tokio::select! {
            output = work => Ok(Ok(output)),
            code = signal() => code.map(|code| Err(ExitCode::from(code))),
        }
    });
    runtime.shutdown_timeout(GRACE);
    finished
}

/// Returns the exit code for the first signal that asks this process to end.
#[cfg(unix)]
async fn signal() -> io::Result<u8> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    // As a shell has it: 128 and the number of the signal.
    Ok(tokio::select! {
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
        _ = hangup.recv() => 129,
    })
}

#[cfg(not(unix))]
async fn signal() -> io::Result<u8> {
    tokio::signal::ctrl_c().await.map(|()| 130)
}
