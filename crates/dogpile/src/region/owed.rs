//! Deletions that a backend has refused: they are retried until it takes them.

use std::collections::HashSet;

use crate::sync::Mutex;

/// The keys, as they are stored, that are to be deleted.
#[derive(Default)]
pub(crate) struct Owed(pub(super) Mutex<Deletions>);

#[derive(Default)]
pub(super) struct Deletions {
    pub(super) keys: HashSet<String>,
    /// The number of keys in the attempt that is going on: they count as remembered.
    pub(super) tried: usize,
    /// The process in which somebody is at it.
    pub(super) paying: Option<u32>,
}

/// More keys are not remembered.
const MOST: usize = 10_000;

impl Deletions {
    /// Remembers `key`; false if there are too many.
    pub(super) fn owe(&mut self, key: &str) -> bool {
        let has_room = self.keys.len() + self.tried < MOST;
        if has_room {
            self.keys.insert(key.to_owned());
        }
        has_room || self.keys.contains(key)
    }

    /// Moves all keys into the attempt `tried`.
    pub(super) fn try_all(&mut self, tried: &mut HashSet<String>) {
        tried.extend(self.keys.drain());
        self.tried = tried.len();
    }

    /// Takes back the keys of an attempt that will not go on.
    pub(super) fn give_back(&mut self, tried: &mut HashSet<String>) {
        self.keys.extend(tried.drain());
        self.tried = 0;
        self.paying = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_an_attempt_count_as_remembered() {
        let (mut owed, mut tried) = (Deletions::default(), HashSet::new());
        assert!((0..MOST).all(|key| owed.owe(&key.to_string())));
        assert!(!owed.owe("one more") && owed.owe("0"));
        owed.try_all(&mut tried);
        assert!(!owed.owe("one more"));
        owed.give_back(&mut tried);
        assert!(!owed.owe("one more") && owed.owe("0"));
        assert_eq!(owed.keys.len(), MOST);
    }
}
