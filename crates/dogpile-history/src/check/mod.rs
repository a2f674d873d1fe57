//! Checks the log of a run against the promises: pure functions.
//!
//! - `history`: the records of all processes, put together;
//! - `reads`: nobody who asks after a change is given an older value;
//! - `creations`: nobody creates what somebody else is creating;
//! - `waits`: nobody waits for longer than there is something to wait for.

mod creations;
mod history;
mod reads;
mod waits;

use std::time::Duration;

pub use history::{Creation, Disturbance, Halt, History, Operation};

use crate::clock::{Moment, milliseconds};

/// The terms that are known beforehand.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// The time after a disturbance in which locks may still end before their time.
    pub aftermath: Duration,
    /// The time that a change that was cancelled or failed may still be on its way.
    pub on_its_way: Duration,
    /// The time between a claim and the begin of its creator, at most.
    pub claimed_within: Duration,
    /// A process that was halted for so long may have lost its locks.
    pub lease: Duration,
}

/// The findings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// The number of keys that were read.
    pub reads: u64,
    /// The number of changes.
    pub changes: u64,
    /// The number of them that were cancelled or failed.
    pub unknown_changes: u64,
    /// The number of creations that began.
    pub creations: u64,
    /// The number of times that somebody who asked after a change was given an older value.
    pub old_reads: u64,
    /// Of how many keys an older value was there when everything was over.
    pub old_reads_permanent: u64,
    /// The longest time after a change at which an older value was given, in nanoseconds.
    pub longest_old: u64,
    /// The number of times that a process was given a value older than a change of its own.
    pub old_reads_own: u64,
    /// The longest time after such a change at which that happened, in nanoseconds.
    pub longest_old_own: u64,
    /// The number of keys that near tiers answered.
    pub near_hits: u64,
    /// The number of times that an older value was given because a failover had lost a change.
    pub lost_in_failover: u64,
    /// The number of times that the value of another key was given.
    pub wrong_keys: u64,
    /// The number of times that a creation began while another of the same key ran, for no reason.
    pub overlaps: u64,
    /// The number of times that it did because a disturbance had ended the other's lock.
    pub overlaps_excused: u64,
    /// The longest time that a call took without creating or waiting for a creation, in
    /// nanoseconds.
    pub longest_wait: u64,
    /// The number of calls that never ended.
    pub unended: u64,
    /// The first few of what was found, in words.
    pub examples: Vec<String>,
}

/// Each check tells so many examples.
const EXAMPLES: usize = 4;

/// Checks `history`.
pub fn check(history: &History, terms: &Terms) -> Findings {
    let mut findings = Findings { near_hits: history.near_hits, ..Findings::default() };
    reads::check(history, &mut findings);
    creations::check(history, terms, &mut findings);
    waits::check(history, &mut findings);
    findings
}

/// Adds an example to what a check has told, unless it has told enough.
struct Telling(usize);

impl Telling {
    fn new() -> Self {
        Self(EXAMPLES)
    }

    fn tell(&mut self, findings: &mut Findings, example: impl FnOnce() -> String) {
        if self.0 > 0 {
            self.0 -= 1;
            findings.examples.push(example());
        }
    }
}

/// A moment as it is told: milliseconds since the run began.
fn told(history: &History, moment: Moment) -> String {
    format!("{:.3} ms", milliseconds(moment.saturating_sub(history.began)))
}

#[cfg(test)]
mod tests;
