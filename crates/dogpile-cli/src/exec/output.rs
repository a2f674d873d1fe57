//! Passing output on to whoever reads ours: in one way, whether the command runs or its
//! output is replayed.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::FAILED;

/// The exit code of a process that SIGPIPE has killed, as shells say it.
const BROKEN_PIPE: u8 = 128 + 13;

/// Standard output and standard error of this process.
#[derive(Default)]
pub(super) struct Output {
    stdout: Stream,
    stderr: Stream,
}

/// One of them, as far as it can be written to.
#[derive(Default)]
pub(super) struct Stream(Mutex<Option<io::Error>>);

impl Output {
    /// Passes on what the command wrote to its standard output.
    pub(super) fn out(&self, bytes: &[u8]) {
        self.stdout.pass(bytes, io::stdout);
    }

    /// Passes on what the command wrote to its standard error.
    pub(super) fn err(&self, bytes: &[u8]) {
        self.stderr.pass(bytes, io::stderr);
    }

    /// Returns what to end with after a command that ended with `code`. What could not be
    /// written is told, unless its reader has just read enough.
    pub(super) fn end(&self, code: u8) -> ExitCode {
        let mut code = code;
        for (stream, name) in [(&self.stdout, "output"), (&self.stderr, "error")] {
            let failed = stream.failed();
            let Some(error) = &*failed else { continue };
            let own = if error.kind() == ErrorKind::BrokenPipe {
                BROKEN_PIPE
            } else {
                let line = format!("dogpile: cannot write to standard {name}: {error}\n");
                // Nobody is left to be told if even this fails.
                let _ = io::stderr().write_all(line.as_bytes());
                FAILED
            };
            code = if code == 0 { own } else { code };
        }
        ExitCode::from(code)
    }
}

impl Stream {
    /// Writes `bytes`, unless earlier ones could not be written: the command goes on, and
    /// its output is remembered all the same.
    fn pass<W: Write>(&self, bytes: &[u8], to: fn() -> W) {
        let mut failed = self.failed();
        if failed.is_none() {
            let mut to = to();
            *failed = to.write_all(bytes).and_then(|()| to.flush()).err();
        }
    }

    fn failed(&self) -> MutexGuard<'_, Option<io::Error>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
