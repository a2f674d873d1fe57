//! The failure of a command: a message, and the code that the process
//! ends with.

use std::error::Error;
use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::inspect::lines;

/// Any failure of a command.
#[derive(Debug)]
pub(crate) struct CommandError {
    source: Box<dyn Error + Send + Sync>,
    code: Option<u8>,
}

/// The exit code after a usage error, as clap has it.
const USAGE: u8 = 2;

impl CommandError {
    /// The command was called wrongly.
    pub(crate) fn usage(message: &str) -> Self {
        Self::from(message.to_owned()).with_code(USAGE)
    }

    /// The same, ending with `code` if it has none yet.
    pub(crate) fn with_code(self, code: u8) -> Self {
        Self { code: self.code.or(Some(code)), ..self }
    }

    /// Tells the user, and says how to end.
    pub(crate) fn report(&self) -> ExitCode {
        if self.is_broken_pipe() {
            // Whoever read our output has read enough.
            return ExitCode::SUCCESS;
        }
        // It may quote a server.
        let message = lines(&self.source.to_string());
        // Nobody is left to be told if even this fails.
        let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("dogpile: {message}\n"));
        self.code.map_or(ExitCode::FAILURE, ExitCode::from)
    }

    fn is_broken_pipe(&self) -> bool {
        let error = self.source.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for CommandError {
    fn from(error: E) -> Self {
        Self { source: error.into(), code: None }
    }
}
