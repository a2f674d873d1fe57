//! Values that have a time to live.
//!
//! A value that is gone before its end was removed by somebody; after it, it has ended by
//! itself. A server says how long a value has left, and that is counted from when the answer is
//! read: so what counts as ended here has ended there.

use std::time::{Duration, Instant};

/// The life of a value, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Life(Option<Instant>);

impl Life {
    /// The life of a value that stays, or of which nothing is known.
    #[cfg(feature = "redis")]
    pub(crate) const fn unknown() -> Self {
        Self(None)
    }

    /// The life of a value that has `left` at most, from now on.
    pub(crate) fn of(left: Duration) -> Self {
        Self(Instant::now().checked_add(left))
    }

    /// Has it ended for certain?
    pub(crate) fn has_ended(self) -> bool {
        self.0.is_some_and(|end| Instant::now() > end)
    }
}
