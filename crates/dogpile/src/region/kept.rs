//! Values that were created while the store was away: this process has them until it is back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::sync::Mutex;
use crate::value::Entry;

/// Entries that could not be stored, by the keys under which they would be.
///
/// It is used only where the store does not answer for a key. As soon as it has answered for that,
/// what is kept is forgotten: what is there may be newer. A store that answers, and takes no
/// changes, has nothing newer but what it shows.
pub(crate) struct Kept {
    values: Mutex<Values>,
    /// Spares everybody else the lock.
    are_any: AtomicBool,
    /// The time for which a value is kept; none is if it is zero.
    time: Duration,
    /// The last change was refused as any other would have been.
    are_changes_refused: AtomicBool,
}

#[derive(Default)]
struct Values {
    entries: HashMap<String, Entry>,
    /// The moment of the last one.
    newest: Timestamp,
    /// The last search for those whose time had ended.
    swept: Timestamp,
}

impl Kept {
    pub(crate) const USUAL_TIME: Duration = Duration::from_secs(10);

    /// Further values are not kept.
    const MOST: usize = 10_000;

    /// Between two searches for room, in seconds.
    const PAUSE: f64 = 1.0;

    pub(crate) fn new(time: Duration) -> Self {
        let (are_any, are_changes_refused) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { values: Mutex::default(), are_any, time, are_changes_refused }
    }

    /// Notes whether the store takes changes.
    pub(crate) fn note_changes(&self, are_refused: bool) {
        if self.are_changes_refused.load(Ordering::Relaxed) != are_refused {
            self.are_changes_refused.store(are_refused, Ordering::Relaxed);
        }
    }

    /// The store has answered for the key, with a value of this begin or none. Returns what
    /// is kept if that is newer, and could not be stored since no changes are taken; else
    /// it is forgotten.
    pub(crate) fn instead_of(
        &self,
        key: &str,
        begun: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Entry> {
        if self.are_changes_refused.load(Ordering::Relaxed) {
            let is_newer = |kept: &Entry| begun.is_none_or(|begun| begun <= kept.metadata.begun);
            if let Some(kept) = self.at(key, now).filter(is_newer) {
                return Some(kept);
            }
        }
        self.forget(key, now);
        None
    }

    pub(crate) fn time(&self) -> Duration {
        self.time
    }

    /// Are there any? For those who look at each key.
    #[inline]
    pub(crate) fn are_any(&self) -> bool {
        self.are_any.load(Ordering::Acquire)
    }

    /// Keeps a value that was created `now`, if it `is_current`. Who changes a key forgets what is
    /// kept after that has ceased to be true.
    pub(crate) fn keep(
        &self,
        key: &str,
        entry: Entry,
        now: Timestamp,
        is_current: impl FnOnce() -> bool,
    ) {
        if self.time.is_zero() {
            return;
        }
        let mut values = self.values.lock();
        if values.entries.len() >= Self::MOST && (now - values.swept).abs() > Self::PAUSE {
            values.swept = now;
            values.entries.retain(|_, entry| self.is_young(entry, now));
        }
        let has_room = values.entries.len() < Self::MOST || values.entries.contains_key(key);
        if has_room && is_current() {
            values.newest = now;
            values.entries.insert(key.to_owned(), entry);
            self.are_any.store(true, Ordering::Release);
        }
    }

    /// Returns what is kept for `key`.
    pub(crate) fn at(&self, key: &str, now: Timestamp) -> Option<Entry> {
        if !self.are_any() {
            return None;
        }
        self.values.lock().entries.get(key).filter(|entry| self.is_young(entry, now)).cloned()
    }

    /// The store has answered for the key, or the key was changed.
    pub(crate) fn forget(&self, key: &str, now: Timestamp) {
        if !self.are_any() {
            return;
        }
        let mut values = self.values.lock();
        values.entries.remove(key);
        // The time of all others has ended: there is nothing to look for any more.
        if (now - values.newest).abs() > self.time.as_secs_f64() {
            values.entries = HashMap::new();
        }
        if values.entries.is_empty() {
            self.are_any.store(false, Ordering::Release);
        }
    }

    /// All keys were changed.
    pub(crate) fn forget_all(&self) {
        if self.are_any() {
            let mut values = self.values.lock();
            values.entries = HashMap::new();
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

    fn keep(kept: &Kept, key: &str, now: Timestamp) {
        kept.keep(key, Entry::sharing(Object::new(1_u8), now), now, || true);
    }

    #[test]
    fn it_has_room_for_so_many() {
        let kept = Kept::new(Duration::from_secs(10));
        (0..Kept::MOST).for_each(|key| keep(&kept, &key.to_string(), 100.0));
        keep(&kept, "one more", 101.0);
        assert!(kept.at("one more", 101.0).is_none() && kept.at("7", 101.0).is_some());
        keep(&kept, "7", 101.0);
        assert!(kept.at("7", 110.5).is_some() && kept.at("8", 110.5).is_none());
        keep(&kept, "one more", 111.0);
        assert!(kept.at("one more", 111.0).is_some(), "the old ones have gone");
        kept.forget_all();
        assert!(kept.at("one more", 111.0).is_none());
    }

    #[test]
    fn none_is_kept_for_no_time_or_that_is_out_of_date() {
        let kept = Kept::new(Duration::ZERO);
        keep(&kept, "k", 100.0);
        assert!(kept.at("k", 100.0).is_none());
        let kept = Kept::new(Duration::from_secs(10));
        kept.keep("k", Entry::sharing(Object::new(1_u8), 100.0), 100.0, || false);
        assert!(!kept.are_any());
    }

    #[test]
    fn it_is_used_beside_a_store_that_takes_no_changes() {
        let kept = Kept::new(Duration::from_secs(10));
        keep(&kept, "k", 100.0);
        kept.note_changes(true);
        assert!(kept.instead_of("k", None, 105.0).is_some());
        assert!(kept.instead_of("k", Some(90.0), 105.0).is_some());
        assert!(kept.instead_of("k", Some(101.0), 105.0).is_none(), "another is newer");
        assert!(kept.at("k", 105.0).is_none());
        keep(&kept, "k", 105.0);
        assert!(kept.instead_of("k", None, 116.0).is_none(), "its time has ended");
        keep(&kept, "k", 116.0);
        kept.note_changes(false);
        assert!(kept.instead_of("k", None, 116.0).is_none());
    }

    #[test]
    fn what_is_left_goes_when_its_time_has_ended() {
        let kept = Kept::new(Duration::from_secs(10));
        ["a", "b", "c"].iter().for_each(|key| keep(&kept, key, 100.0));
        kept.forget("a", 105.0);
        assert!(kept.at("a", 105.0).is_none() && kept.at("b", 105.0).is_some());
        kept.forget("another", 111.0);
        assert!(!kept.are_any());
    }
}
