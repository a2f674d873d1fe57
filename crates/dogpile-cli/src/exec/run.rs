//! Running the command.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::collect;
use super::output::Output;
use super::record::Record;
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
}

/// Why there is no output to remember.
pub(super) enum Unfinished {
    /// A signal ended the command.
    Signalled(u8),
    /// It was not started, or the cache failed.
    Other(CommandError),
}

impl<E: Into<CommandError>> From<E> for Unfinished {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

impl Run<'_> {
    pub(super) fn to_its_end(&self) -> Result<Record, Unfinished> {
        let [program, arguments @ ..] = self.command else {
            return Err(CommandError::usage("there is no command: give one after `--`").into());
        };
        let signals = Signals::catch()?;
        let child = self.spawn(program, arguments);
        if child.is_err() {
            signals.stop_passing();
        }
        let mut child = child.map_err(|error| not_started(program, &error))?;
        signals.pass_to(&child);
        let ended = || signals.stop_passing();
        let collected = collect::follow(&mut child, self.output, self.max_output, ended)?;
        let collect::Collected { stdout, stderr, is_cut, status } = collected;
        match status.code() {
            Some(code) => Ok(Record { stdout, stderr, code, is_cut }),
            None => Err(Unfinished::Signalled(signal_of(status))),
        }
    }

    /// Starts the command, as a shell and `nice` do: what is no program, but text, is a
    /// script for `sh`.
    fn spawn(&self, program: &OsStr, arguments: &[OsString]) -> io::Result<Child> {
        let spawn = |command: &mut Command| {
            command.args(arguments).envs(self.env.clone());
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

    fn pass_to(&self, _child: &Child) {}

    fn stop_passing(&self) {}
}
