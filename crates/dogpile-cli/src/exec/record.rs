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
}

impl Record {
    /// May it be remembered? Failures may, where that is asked for.
    pub(super) fn may_be_kept(&self, keeps_failures: bool) -> bool {
        !self.is_cut && (self.code == 0 || keeps_failures)
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
