//! Running the command.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
#[cfg(unix)]
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::WAITED;
use super::collect::{self, Collected, Streams};
#[cfg(unix)]
pub(super) use super::limit::Deadline;
use super::output::Output;
use super::record::{Ending, Record};
#[cfg(unix)]
use super::script;
#[cfg(unix)]
use super::signals::Signals;
use crate::error::CommandError;

/// A command on its way.
pub(super) struct Run<'a> {
    pub(super) command: &'a [OsString],
    /// Variables that the command gets beyond those of this process.
    pub(super) env: Option<(&'static str, String)>,
    /// The reader of its output; none if that is only kept.
    pub(super) output: Option<&'a Output>,
    /// As much of its output is kept.
    pub(super) max_output: u64,
    /// Its output is held back as long as that is kept.
    pub(super) is_held: bool,
    /// It may run for so long.
    pub(super) timeout: Option<Duration>,
}

/// A command that has ended.
pub(super) struct Ended {
    pub(super) record: Record,
    /// Its output was held back, to its end.
    pub(super) is_held: bool,
    /// Somebody has sent it, or this process, a signal to end.
    pub(super) is_interrupted: bool,
}

impl Run<'_> {
    pub(super) fn to_its_end(&self) -> Result<Ended, CommandError> {
        let [program, arguments @ ..] = self.command else {
            return Err(CommandError::usage("there is no command: give one after `--`"));
        };
        let signals = Signals::catch()?;
        let until = self.timeout.and_then(|limit| Instant::now().checked_add(limit));
        let child = self.spawn(program, arguments);
        if child.is_err() {
            signals.stop_passing();
        }
        let mut child = child.map_err(|error| not_started(program, &error))?;
        signals.pass_to(&child, self.timeout.is_some());
        let ended = || signals.stop_passing();
        let streams = Streams::new(self.output, self.max_output, self.is_held);
        let deadline = Deadline::of(&child, until);
        let collected = collect::follow(&mut child, streams, deadline, ended)?;
        let Collected { stdout, stderr, is_cut, is_held, has_timed_out, status } = collected;
        let (code, ending) = match status.code() {
            _ if has_timed_out => (i32::from(WAITED), Ending::TimedOut),
            Some(code) => (code, Ending::Exited),
            None => {
                let signal = signal_of(status);
                (i32::from(128_u8.wrapping_add(signal)), Ending::Signalled(signal))
            }
        };
        let record = Record { stdout, stderr, code, is_cut, ending };
        let is_interrupted = signals.is_interrupted() || record.ending.is_by_terminal();
        Ok(Ended { record, is_held, is_interrupted })
    }

    /// Starts the command, as a shell and `nice` do: what is no program, but text, is a
    /// script for `sh`.
    fn spawn(&self, program: &OsStr, arguments: &[OsString]) -> io::Result<Child> {
        let spawn = |command: &mut Command| {
            command.args(arguments).envs(self.env.clone());
            #[cfg(unix)]
            if self.timeout.is_some() {
                command.process_group(0);
            }
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
        };
        let spawned = spawn(&mut Command::new(program));
        #[cfg(unix)]
        if let Err(error) = &spawned
            && let Some(script) = script::refused(program, error)
        {
            return spawn(Command::new("/bin/sh").arg(script));
        }
        spawned
    }
}

/// As shells say it: 127 for a command that is not there, 126 for one that
/// cannot be run.
fn not_started(program: &OsStr, error: &io::Error) -> CommandError {
    let code = if error.kind() == ErrorKind::NotFound { 127 } else { 126 };
    CommandError::from(format!("cannot run `{}`: {error}", program.display())).with_code(code)
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

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn catch() -> io::Result<Self> {
        Ok(Self)
    }

    fn pass_to(&self, _child: &Child, _leads: bool) {}

    fn stop_passing(&self) {}

    fn is_interrupted(&self) -> bool {
        false
    }
}

/// There is none.
#[cfg(not(unix))]
pub(super) enum Deadline {}

#[cfg(not(unix))]
impl Deadline {
    fn of(_command: &Child, _until: Option<Instant>) -> Option<Self> {
        None
    }

    pub(super) fn watch(&self, _end: &std::sync::mpsc::Receiver<()>) -> bool {
        match *self {}
    }
}
