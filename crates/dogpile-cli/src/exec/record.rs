//! What is remembered of a run.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

/// A finished run: everything it wrote, byte by byte, and its exit code.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(with = "serde_bytes")]
    pub(crate) stdout: Vec<u8>,
    #[serde(with = "serde_bytes")]
    pub(crate) stderr: Vec<u8>,
    pub(crate) code: i32,
}

impl Record {
    pub(super) fn is_ok(&self) -> bool {
        self.code == 0
    }

    /// The code as a process can end with it.
    pub(super) fn code(&self) -> u8 {
        u8::try_from(self.code & 0xff).unwrap_or(u8::MAX)
    }

    /// Writes it all again.
    pub(super) fn replay(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(&self.stdout)?;
        out.flush()?;
        io::stderr().lock().write_all(&self.stderr)
    }
}
