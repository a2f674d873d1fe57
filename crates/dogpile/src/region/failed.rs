//! Creations that failed a moment ago: for a while none is attempted again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::lock::keyed::Handed;
use crate::sync::Mutex;

/// A creation that failed.
struct Failure {
    at: Timestamp,
    /// Its error, for those who share it, and the time for which it is given.
    remembered: Option<(Handed, Duration)>,
}

/// The creations that failed, as far as this process knows.
///
/// The stored value says the same to all processes. This is for the time until it does, and for
/// stores that do not take it.
#[derive(Default)]
pub(crate) struct FailedCreations {
    failures: Mutex<HashMap<String, Failure>>,
    /// Spares everybody else the lock.
    are_any: AtomicBool,
}

impl FailedCreations {
    /// Others are given up: their callers try again too soon.
    const MOST: usize = 10_000;

    /// Notes a failure, and an error that is remembered for the time beside it.
    pub(crate) fn note(&self, key: &str, at: Timestamp, remembered: Option<(Handed, Duration)>) {
        let mut failures = self.failures.lock();
        if failures.len() >= Self::MOST {
            failures.clear();
        }
        failures.insert(key.to_owned(), Failure { at, remembered });
        self.are_any.store(true, Ordering::Release);
    }

    /// Returns when the last creation of `key` failed, if it did.
    pub(crate) fn at(&self, key: &str) -> Option<Timestamp> {
        if !self.are_any.load(Ordering::Acquire) {
            return None;
        }
        self.failures.lock().get(key).map(|failure| failure.at)
    }

    /// Returns the error of the last creation of `key`, if it failed and that is remembered, and
    /// the moment of it.
    pub(crate) fn remembered(&self, key: &str, now: Timestamp) -> Option<(Handed, Timestamp)> {
        if !self.are_any.load(Ordering::Acquire) {
            return None;
        }
        let failures = self.failures.lock();
        let Failure { at, remembered } = failures.get(key)?;
        let (error, time) = remembered.as_ref()?;
        // A clock that was set back must not prolong it.
        ((now - at).abs() < time.as_secs_f64()).then(|| (error.clone(), *at))
    }

    /// There is a value of `key` that was created at `ct`: what failed before says nothing of it.
    pub(crate) fn forget_before(&self, key: &str, ct: Timestamp) {
        if self.at(key).is_some_and(|at| at < ct) {
            self.forget(key);
        }
    }

    /// A creation of `key` has succeeded.
    pub(crate) fn forget(&self, key: &str) {
        if self.are_any.load(Ordering::Acquire) {
            let mut failures = self.failures.lock();
            failures.remove(key);
            self.are_any.store(!failures.is_empty(), Ordering::Release);
        }
    }
}
