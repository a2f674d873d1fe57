//! The records of all processes, put together.

use std::collections::HashMap;

use crate::clock::{Moment, now};
use crate::record::{Answer, Id, Kind, Outcome, Record, process_of};

/// A call.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Its number.
    pub id: Id,
    /// Its kind.
    pub kind: Kind,
    /// When it began.
    pub begin: Moment,
    /// When it ended, if it did: it did not if its process was killed, or if it never ends.
    pub end: Option<Moment>,
    /// The outcome.
    pub outcome: Outcome,
    /// Its keys, for a change each with the version that it is about.
    pub keys: Vec<(usize, u64)>,
    /// The returned values.
    pub answers: Vec<Answer>,
}

impl Operation {
    /// Returns whether it is a change.
    pub fn is_change(&self) -> bool {
        matches!(self.kind, Kind::Hard | Kind::Soft)
    }

    /// Returns whether it is a change that is known to have happened.
    pub fn has_changed(&self) -> bool {
        self.is_change() && self.end.is_some() && self.outcome == Outcome::Done
    }
}

/// A creator's run.
#[derive(Debug, Clone)]
pub struct Creation {
    /// Its number.
    pub id: Id,
    /// The operation that it is a part of.
    pub operation: Id,
    /// The key.
    pub key: usize,
    /// When it began.
    pub begin: Moment,
    /// When it ended, or its process was killed.
    pub end: Moment,
    /// The version that it read.
    pub version: u64,
}

/// Something that may end locks before their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disturbance {
    /// The only process that it concerns, if it does not concern all.
    pub process: Option<u64>,
    /// When it began.
    pub begin: Moment,
    /// When it ended.
    pub end: Moment,
}

/// A time in which a process did not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Halt {
    /// The process.
    pub process: u64,
    /// When it began.
    pub begin: Moment,
    /// When it ended.
    pub end: Moment,
}

/// Everything that happened in a run.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The calls.
    pub operations: Vec<Operation>,
    /// The creations.
    pub creations: Vec<Creation>,
    /// The disturbances of processes and servers.
    pub disturbances: Vec<Disturbance>,
    /// When processes did not run.
    pub halts: Vec<Halt>,
    /// The number of keys that near tiers answered, in processes that ended by themselves.
    pub near_hits: u64,
    /// When each master was dead whose replica took over: changes that began before may be
    /// lost.
    pub failovers: Vec<Moment>,
    /// When each process was killed that was killed.
    pub killed: HashMap<u64, Moment>,
    /// When it began.
    pub began: Moment,
    /// When it ended.
    pub ended: Moment,
}

impl History {
    /// Begins a history.
    pub fn new() -> Self {
        Self { began: now(), ..Self::default() }
    }

    /// Adds the log of `process`.
    pub fn add(&mut self, process: u64, records: Vec<Record>) {
        let killed = self.killed.get(&process).copied();
        let last = killed.unwrap_or(self.ended);
        let (mut operations, mut creations) = (HashMap::new(), HashMap::new());
        for record in records {
            match record {
                Record::Begun { operation: id, kind, begin, keys } => {
                    operations.insert(id, self.operations.len());
                    let (outcome, answers) = (Outcome::Cancelled, Vec::new());
                    self.operations.push(Operation {
                        id,
                        kind,
                        begin,
                        end: None,
                        outcome,
                        keys,
                        answers,
                    });
                }
                Record::Ended { operation, end, outcome, answers } => {
                    if let Some(&index) = operations.get(&operation) {
                        let ended = &mut self.operations[index];
                        (ended.end, ended.outcome, ended.answers) = (Some(end), outcome, answers);
                    }
                }
                Record::Creating { creation: id, operation, key, begin, version } => {
                    creations.insert(id, self.creations.len());
                    self.creations.push(Creation { id, operation, key, begin, end: last, version });
                }
                Record::Created { creation, end } => {
                    if let Some(&index) = creations.get(&creation) {
                        self.creations[index].end = end;
                    }
                }
                Record::NearHits(count) => self.near_hits += count,
                Record::Halted { begin, end } => self.halts.push(Halt { process, begin, end }),
            }
        }
    }

    /// Returns when `operation` was over: its end, or that of its process, or of the run.
    pub fn end_of(&self, operation: &Operation) -> Moment {
        let killed = || self.killed.get(&process_of(operation.id)).copied();
        operation.end.or_else(killed).unwrap_or(self.ended)
    }
}
