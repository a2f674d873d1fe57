//! Whether a scope was ever entered: what regions without one ask on each call.

use std::sync::atomic::{AtomicBool, Ordering};

static USED: AtomicBool = AtomicBool::new(false);

/// Notes that a scope is entered.
pub(super) fn note() {
    USED.store(true, Ordering::Relaxed);
}

/// Was there ever a scope in this process?
#[inline]
pub(crate) fn was_used() -> bool {
    USED.load(Ordering::Relaxed)
}
