//! The reason why stored bytes are no value: [`Malformed`].

use std::fmt;
use std::sync::Arc;

use super::Bytes;

/// The reason why stored bytes cannot be read as a value.
#[derive(Clone, PartialEq, Eq)]
pub struct Malformed {
    why: Arc<str>,
    /// The stored bytes, where they are all that is known.
    pub(super) frame: Option<Bytes>,
}

impl Malformed {
    /// Says `why`, in a few words that hold no part of the value.
    pub fn new(why: &str) -> Self {
        Self { why: why.into(), frame: None }
    }

    #[cfg(feature = "serialized")]
    pub(super) fn of(self, frame: Bytes) -> Self {
        Self { frame: Some(frame), ..self }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// Shows the reason, never the bytes: they may be secret.
impl fmt::Debug for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Malformed").field(&self.why).finish()
    }
}

impl std::error::Error for Malformed {}
