//! Creations that failed a moment ago: for a while none is attempted again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::clock::Timestamp;
use crate::sync::Mutex;

/// When the creations of keys failed, as far as this process knows.
///
/// The stored value says the same to all processes. This is for the time until it does, and for
/// stores that do not take it.
#[derive(Default)]
pub(crate) struct FailedCreations {
    moments: Mutex<HashMap<String, Timestamp>>,
    /// Spares everybody else the lock.
    are_any: AtomicBool,
}

impl FailedCreations {
    /// Others are given up: their callers try again too soon.
    const MOST: usize = 10_000;

    pub(crate) fn note(&self, key: &str, now: Timestamp) {
        let mut moments = self.moments.lock();
        if moments.len() >= Self::MOST {
            moments.clear();
        }
        moments.insert(key.to_owned(), now);
        self.are_any.store(true, Ordering::Release);
    }

    /// Returns when the last creation of `key` failed, if it did.
    pub(crate) fn at(&self, key: &str) -> Option<Timestamp> {
        if !self.are_any.load(Ordering::Acquire) {
            return None;
        }
        self.moments.lock().get(key).copied()
    }

    /// A creation of `key` has succeeded.
    pub(crate) fn forget(&self, key: &str) {
        if self.are_any.load(Ordering::Acquire) {
            let mut moments = self.moments.lock();
            moments.remove(key);
            self.are_any.store(!moments.is_empty(), Ordering::Release);
        }
    }
}
