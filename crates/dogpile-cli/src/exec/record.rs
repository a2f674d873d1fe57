//! The record of a run.

use serde::{Deserialize, Serialize};

use super::output::Output;

/// A finished run: everything it wrote, byte by byte, and its exit code.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(with = "serde_bytes")]
    pub(crate) stdout: Vec<u8>,
    #[serde(with = "serde_bytes")]
    pub(crate) stderr: Vec<u8>,
    pub(crate) code: i32,
    /// The output was larger than what is kept: it was passed on, and is not here.
    #[serde(skip)]
    pub(crate) is_cut: bool,
    #[serde(skip)]
    pub(crate) ending: Ending,
}

/// The ways in which a command ends.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By itself, with a code.
    #[default]
    Exited,
    Signalled(u8),
    TimedOut,
}

impl Ending {
    /// Was it ended by a signal that only terminals send, to all processes at once?
    pub(super) fn is_by_terminal(self) -> bool {
        const SIGINT: u8 = 2;
        const SIGQUIT: u8 = 3;
        matches!(self, Self::Signalled(SIGINT | SIGQUIT))
    }
}

impl Record {
    /// May it be remembered? Failures may, where that is asked for.
    pub(super) fn may_be_kept(&self, keeps_failures: bool) -> bool {
        !self.is_cut && !self.is_failure(keeps_failures)
    }

    /// Has the command failed, where some failures are remembered?
    pub(super) fn is_failure(&self, keeps_failures: bool) -> bool {
        self.ending != Ending::Exited || (self.code != 0 && !keeps_failures)
    }

    /// The code as a process can end with it.
    pub(super) fn code(&self) -> u8 {
        u8::try_from(self.code & 0xff).unwrap_or(u8::MAX)
    }

    /// Writes it all again.
    pub(super) fn replay(&self, output: &Output) {
        output.out(&self.stdout);
        output.err(&self.stderr);
    }
}
