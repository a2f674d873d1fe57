//! Values that were created while the store was away: this process has them until it is back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::core::Timestamped;
use crate::clock::Timestamp;
use crate::sync::Mutex;
use crate::value::Entry;

/// What could not be stored, by the keys under which it would be.
///
/// It is used only where the store does not answer. As soon as that answers again all of it is
/// forgotten: what is there then may be newer.
pub(crate) struct Kept {
    entries: Mutex<HashMap<String, Entry>>,
    /// Spares everybody else the lock.
    are_any: AtomicBool,
    /// The time for which a value is kept; none is if it is zero.
    time: Duration,
}

impl Kept {
    pub(crate) const USUAL_TIME: Duration = Duration::from_secs(10);

    /// Further values are not kept.
    const MOST: usize = 10_000;

    pub(crate) fn new(time: Duration) -> Self {
        Self { entries: Mutex::default(), are_any: AtomicBool::new(false), time }
    }

    pub(crate) fn time(&self) -> Duration {
        self.time
    }

    /// Keeps a value that was created `now`.
    pub(crate) fn keep(&self, key: &str, created: &Timestamped, now: Timestamp) {
        if self.time.is_zero() {
            return;
        }
        let mut entries = self.entries.lock();
        if entries.len() >= Self::MOST {
            entries.retain(|_, entry| self.is_young(entry, now));
        }
        if entries.len() < Self::MOST || entries.contains_key(key) {
            entries.insert(key.to_owned(), Entry::sharing(created.value.clone(), created.ct));
            self.are_any.store(true, Ordering::Release);
        }
    }

    /// Returns what is kept for `key`.
    pub(crate) fn at(&self, key: &str, now: Timestamp) -> Option<Entry> {
        if !self.are_any.load(Ordering::Acquire) {
            return None;
        }
        self.entries.lock().get(key).filter(|entry| self.is_young(entry, now)).cloned()
    }

    /// The key was changed, or what is kept for it is out of date.
    pub(crate) fn forget(&self, key: &str) {
        if self.are_any.load(Ordering::Acquire) {
            self.entries.lock().remove(key);
        }
    }

    /// The store has answered, or all keys were changed.
    pub(crate) fn forget_all(&self) {
        if self.are_any.load(Ordering::Acquire) {
            let mut entries = self.entries.lock();
            entries.clear();
            self.are_any.store(false, Ordering::Release);
        }
    }

    fn is_young(&self, entry: &Entry, now: Timestamp) -> bool {
        // A clock that was set back must not keep it for longer.
        (now - entry.metadata.ct).abs() <= self.time.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Object;

    fn created(ct: Timestamp) -> Timestamped {
        Timestamped { value: Object::new(1_u8), ct }
    }

    #[test]
    fn it_has_room_for_so_many() {
        let kept = Kept::new(Duration::from_secs(10));
        (0..Kept::MOST).for_each(|key| kept.keep(&key.to_string(), &created(100.0), 100.0));
        kept.keep("one more", &created(101.0), 101.0);
        assert!(kept.at("one more", 101.0).is_none() && kept.at("7", 101.0).is_some());
        kept.keep("7", &created(101.0), 101.0);
        assert!(kept.at("7", 110.5).is_some() && kept.at("8", 110.5).is_none());
        kept.keep("one more", &created(111.0), 111.0);
        assert!(kept.at("one more", 111.0).is_some(), "the old ones have gone");
        kept.forget_all();
        assert!(kept.at("one more", 111.0).is_none());
    }

    #[test]
    fn none_is_kept_for_no_time() {
        let kept = Kept::new(Duration::ZERO);
        kept.keep("k", &created(100.0), 100.0);
        assert!(kept.at("k", 100.0).is_none());
    }
}
