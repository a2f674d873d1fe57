//! Changes of keys that a backend has not taken: the keys are deleted as soon as it does.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sync::Mutex;

/// The keys, as they are stored, that are to be deleted.
#[derive(Default)]
pub(crate) struct Owed {
    deletions: Mutex<Deletions>,
    /// Spares everybody else the lock.
    are_any: AtomicBool,
}

#[derive(Default)]
struct Deletions {
    keys: HashSet<String>,
    /// Those of the attempt that is going on.
    tried: HashSet<String>,
    /// The process in which somebody is at it.
    paying: Option<u32>,
}

/// The answer to a further debt.
pub(super) enum Debt {
    /// It is remembered, and somebody is at it.
    Noted,
    /// The same, and nobody is at it yet: the caller is to see to that.
    First,
    /// There are too many.
    Refused,
}

/// More keys are not remembered.
const MOST: usize = 10_000;

impl Owed {
    /// Are there any? For those who look at each key.
    #[inline]
    pub(crate) fn are_any(&self) -> bool {
        self.are_any.load(Ordering::Acquire)
    }

    /// Is what is stored under `key` older than a change of it?
    pub(crate) fn has(&self, key: &str) -> bool {
        if !self.are_any() {
            return false;
        }
        let deletions = self.deletions.lock();
        deletions.keys.contains(key) || deletions.tried.contains(key)
    }

    /// Returns the number of keys.
    pub(crate) fn count(&self) -> usize {
        if !self.are_any() {
            return 0;
        }
        let deletions = self.deletions.lock();
        deletions.keys.len() + deletions.tried.len()
    }

    /// Remembers `key`, for the process with this number.
    pub(super) fn owe(&self, key: &str, process: u32) -> Debt {
        let mut deletions = self.deletions.lock();
        let has_room = deletions.keys.len() + deletions.tried.len() < MOST;
        if has_room {
            deletions.keys.insert(key.to_owned());
            self.are_any.store(true, Ordering::Release);
        } else if !deletions.keys.contains(key) {
            return Debt::Refused;
        }
        let is_first = deletions.paying.replace(process) != Some(process);
        if is_first { Debt::First } else { Debt::Noted }
    }

    /// Forgets `key`: what is stored under it was replaced or removed by now.
    pub(crate) fn forgive(&self, key: &str) {
        if self.are_any() {
            let mut deletions = self.deletions.lock();
            deletions.keys.remove(key);
            deletions.tried.remove(key);
        }
    }

    /// Returns all keys, for an attempt.
    pub(super) fn try_all(&self) -> Vec<String> {
        let mut deletions = self.deletions.lock();
        let Deletions { keys, tried, .. } = &mut *deletions;
        tried.extend(keys.drain());
        tried.iter().cloned().collect()
    }

    /// The attempt has succeeded. Returns whether nothing is left to be done.
    pub(super) fn paid(&self) -> bool {
        let mut deletions = self.deletions.lock();
        deletions.tried.clear();
        let is_over = deletions.keys.is_empty();
        if is_over {
            deletions.paying = None;
            self.are_any.store(false, Ordering::Release);
        }
        is_over
    }

    /// Takes back the keys of an attempt that will not go on.
    pub(super) fn give_back(&self) {
        let mut deletions = self.deletions.lock();
        let Deletions { keys, tried, .. } = &mut *deletions;
        keys.extend(tried.drain());
        deletions.paying = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_an_attempt_count_as_remembered() {
        let owed = Owed::default();
        let owe = |key: &str| !matches!(owed.owe(key, 1), Debt::Refused);
        assert!((0..MOST).all(|key| owe(&key.to_string())));
        assert!(!owe("one more") && owe("0"));
        assert_eq!(owed.try_all().len(), MOST);
        assert!(!owe("one more") && owed.has("0") && !owed.has("one more"));
        owed.give_back();
        assert!(!owe("one more") && owe("0"));
        assert_eq!(owed.count(), MOST);
        owed.forgive("0");
        assert!(owe("one more") && !owed.has("0"));
        owed.try_all();
        assert!(owed.paid() && !owed.are_any() && owed.count() == 0);
    }

    #[test]
    fn one_sees_to_it_in_each_process() {
        let owed = Owed::default();
        assert!(matches!(owed.owe("a", 1), Debt::First));
        assert!(matches!(owed.owe("b", 1), Debt::Noted));
        assert!(matches!(owed.owe("c", 2), Debt::First));
        owed.give_back();
        assert!(matches!(owed.owe("a", 2), Debt::First));
        owed.try_all();
        owed.owe("d", 2);
        assert!(!owed.paid(), "one has come meanwhile");
    }
}
