//! The numbers of a file's states: one number for all connections of this process.
//!
//! SQLite gives each connection a number of its own, which is another one when any other connection has
//! committed something. So a connection whose number has changed begins a new state here, before
//! anybody else can use it. Then whoever finds its number unchanged comes after that, and nobody
//! finds the same state before and after a change. A connection that was not asked before does not
//! know, and begins a new state too.

use crate::process::first_number;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The number of the present state. In a process that was forked there are others than in its parent.
#[derive(Debug)]
pub(super) struct States(AtomicU64);

impl States {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(first_number()))
    }

    /// Returns the number of the present state, in which a connection that has `seen` one number of
    /// its own has the number `now`.
    pub(super) fn number(&self, seen: &mut Option<i64>, now: i64) -> u64 {
        if seen.replace(now) == Some(now) {
            return self.0.load(Ordering::Acquire);
        }
        self.0.fetch_add(1, Ordering::AcqRel) + 1
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_any_connection_sees_begins_a_new_state() {
        let states = States::new();
        let (mut one, mut other) = (None, None);
        let first = states.number(&mut one, 1);
        assert!(first > 0);
        assert_eq!(states.number(&mut one, 1), first);
        let second = states.number(&mut other, 7);
        assert!(second > first, "it was not asked before");
        assert_eq!(states.number(&mut one, 1), second);
        let third = states.number(&mut one, 2);
        assert!(third > second);
        assert!(states.number(&mut other, 8) > third, "perhaps that is another change");
    }
}
