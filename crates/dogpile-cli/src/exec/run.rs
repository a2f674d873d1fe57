//! Running the command: its output is passed on as it comes and kept, signals
//! reach it.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use super::record::Record;
use crate::failure::Failure;

/// A command on its way.
pub(super) struct Run<'a> {
    pub(super) command: &'a [OsString],
    /// Which keys are being created around it, for a `dogpile exec` within.
    pub(super) creating: (&'static OsStr, OsString),
    /// Nobody listens: the output is only kept.
    pub(super) quiet: bool,
}

/// Why there is no output to remember.
pub(super) enum Unfinished {
    /// A signal ended the command.
    Signalled(u8),
    /// It was not started, or the cache failed.
    Other(Failure),
}

impl<E: Into<Failure>> From<E> for Unfinished {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

impl Run<'_> {
    pub(super) fn to_its_end(&self) -> Result<Record, Unfinished> {
        let [program, arguments @ ..] = self.command else {
            return Err(Failure::usage("there is no command: give one after `--`").into());
        };
        let mut command = Command::new(program);
        command.args(arguments).env(self.creating.0, &self.creating.1);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let signals = Signals::catch()?;
        let mut child = command.spawn().map_err(|error| not_started(program, &error))?;
        let forwarding = signals.forward_to(&child);
        let (stdout, stderr) = self.collect(&mut child)?;
        let status = child.wait()?;
        forwarding.stop();
        match status.code() {
            Some(code) => Ok(Record { stdout, stderr, code }),
            None => Err(Unfinished::Signalled(signal_of(status))),
        }
    }

    /// Both streams to their ends, each on a thread of its own.
    fn collect(&self, child: &mut Child) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        thread::scope(|scope| {
            let errors = scope.spawn(|| keep(stderr, (!self.quiet).then(io::stderr)));
            let output = keep(stdout, (!self.quiet).then(io::stdout));
            let errors = errors.join().unwrap_or_else(|_| Ok(Vec::new()));
            Ok((output?, errors?))
        })
    }
}

/// Everything that comes out of `pipe`, passed on to `listener` at once. A
/// listener that has heard enough does not keep the output from being
/// remembered.
fn keep(pipe: Option<impl Read>, mut listener: Option<impl Write>) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else { return Ok(kept) };
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = match pipe.read(&mut buffer) {
            Ok(0) => return Ok(kept),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        kept.extend_from_slice(&buffer[..length]);
        if let Some(stream) = &mut listener {
            let passed = stream.write_all(&buffer[..length]).and_then(|()| stream.flush());
            if passed.is_err() {
                listener = None;
            }
        }
    }
}

/// As shells say it: 127 for a command that is not there, 126 for one that
/// cannot be run.
fn not_started(program: &OsStr, error: &io::Error) -> Failure {
    let code = if error.kind() == ErrorKind::NotFound { 127 } else { 126 };
    Failure::from(format!("cannot run `{}`: {error}", program.display())).with_code(code)
}

#[cfg(unix)]
fn signal_of(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;

    status.signal().and_then(|signal| u8::try_from(signal).ok()).unwrap_or(0)
}

#[cfg(not(unix))]
fn signal_of(_status: ExitStatus) -> u8 {
    0
}

#[cfg(unix)]
use unix::Signals;

#[cfg(unix)]
mod unix {
    use std::io::{self, IsTerminal};
    use std::process::Child;
    use std::thread;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
    use signal_hook::iterator::{Handle, Signals as Caught};

    /// Signals that are meant for the command.
    pub(super) struct Signals(Caught);

    /// They are passed on until this is stopped.
    pub(super) struct Forwarding(Handle);

    impl Signals {
        pub(super) fn catch() -> io::Result<Self> {
            Caught::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2]).map(Self)
        }

        pub(super) fn forward_to(mut self, child: &Child) -> Forwarding {
            let handle = self.0.handle();
            let child = i32::try_from(child.id()).map(Pid::from_raw);
            // A terminal sends these to the whole group: the command has them.
            let has_terminal = io::stdin().is_terminal();
            thread::spawn(move || {
                for signal in &mut self.0 {
                    let sent_by_terminal = has_terminal && matches!(signal, SIGINT | SIGQUIT);
                    if let (Ok(child), Ok(signal), false) =
                        (child, Signal::try_from(signal), sent_by_terminal)
                    {
                        // It may just have ended.
                        let _ = kill(child, signal);
                    }
                }
            });
            Forwarding(handle)
        }
    }

    impl Forwarding {
        pub(super) fn stop(self) {
            self.0.close();
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn catch() -> io::Result<Self> {
        Ok(Self)
    }

    fn forward_to(self, _child: &Child) -> Self {
        self
    }

    fn stop(self) {}
}
