//! The part of a near tier that hears of changes, and ends copies.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bound::Bound;
use super::store::Copies;
use crate::backend::Follower;
use crate::clock::ticks;
use crate::stats::Count;

/// The region, as its tier sees it.
pub(crate) trait Observer: Send + Sync {
    fn count(&self, what: Count);

    /// There are so many copies, and what is proved is so old.
    fn measured(&self, copies: usize, age: Duration);

    /// Nobody tells of changes, although the backend is one that does.
    fn is_unfollowed(&self);

    /// These keys were changed through a tier that another one has replaced.
    fn changed_late(&self, _keys: &[&str]) {}
}

/// The part that hears of changes.
pub(super) struct News {
    pub(super) bound: Bound,
    pub(super) copies: Copies,
    pub(super) hasher: RandomState,
    pub(super) interval: Duration,
    /// It wants to be told of all keys that begin so.
    pub(super) prefix: Option<String>,
    pub(super) observer: Arc<dyn Observer>,
}

impl News {
    pub(super) fn stripe(&self, told_as: &str) -> u32 {
        self.bound.stripe(self.hasher.hash_one(told_as))
    }

    pub(super) fn count(&self, what: Count) {
        self.observer.count(what);
    }

    pub(super) fn age(&self) -> Option<Duration> {
        let in_step = self.bound.last_in_step();
        let age = ticks::now().saturating_sub(in_step);
        (in_step > 0).then(|| Duration::from_nanos(age))
    }

    pub(super) fn measure(&self) {
        self.observer.measured(self.copies.len(), self.age().unwrap_or_default());
    }

    pub(super) fn end(&self, key: &str, told_as: &str) -> bool {
        self.bound.change(self.stripe(told_as));
        self.copies.remove(key)
    }
}

impl Follower for News {
    fn changed(&self, key: &str) {
        // What a proxy calls otherwise is found out of date when it is asked for.
        if self.end(key, key) {
            self.count(Count::NearChanged);
        }
    }

    fn all_changed(&self) {
        self.bound.change_all();
        self.copies.clear();
        self.count(Count::NearFlushed);
    }

    fn lost(&self) {
        self.bound.lose();
        self.count(Count::NearLost);
    }

    fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    fn interval(&self) -> Duration {
        self.interval
    }

    fn in_step(&self, moment: Instant) {
        self.bound.in_step(ticks::of(moment));
        self.measure();
    }
}
