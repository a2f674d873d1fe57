//! Writing down operations and creations, also those that are dropped half way.

use std::sync::atomic::{AtomicU64, Ordering};

use super::calls::Worker;
use crate::clock::{Moment, now};
use crate::record::{Answer, Id, Kind, Outcome, Record, Row};

/// Gives operations and creations their numbers.
#[derive(Debug)]
pub(super) struct Numbers {
    process: u64,
    next: AtomicU64,
}

impl Numbers {
    pub(super) fn of(process: u64) -> Self {
        Self { process, next: AtomicU64::new(1) }
    }

    pub(super) fn next(&self) -> Id {
        self.process << 32 | self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// An operation that has begun. Dropped before its end, it counts as cancelled.
pub(super) struct Operation<'w> {
    worker: &'w Worker,
    pub(super) id: Id,
    has_ended: bool,
}

impl<'w> Operation<'w> {
    /// Writes down that an operation began at `begin`.
    pub(super) fn begin(
        worker: &'w Worker,
        kind: Kind,
        begin: Moment,
        keys: Vec<(usize, u64)>,
    ) -> Self {
        let id = worker.numbers.next();
        worker.log.write(&Record::Begun { operation: id, kind, begin, keys });
        Self { worker, id, has_ended: false }
    }

    /// Writes down that it has ended, with these answers or an error.
    pub(super) fn end<E>(self, result: Result<Vec<Answer>, E>) {
        let end = now();
        match result {
            Ok(answers) => self.write(end, Outcome::Done, answers),
            Err(_) => self.write(end, Outcome::Failed, Vec::new()),
        }
    }

    /// Writes down that its caller gives it up, after it was asked for.
    pub(super) fn give_up(self) {
        self.write(now(), Outcome::HandedOver, Vec::new());
    }

    fn write(mut self, end: Moment, outcome: Outcome, answers: Vec<Answer>) {
        self.has_ended = true;
        self.worker.log.write(&Record::Ended { operation: self.id, end, outcome, answers });
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            let (operation, end) = (self.id, now());
            let outcome = Outcome::Cancelled;
            self.worker.log.write(&Record::Ended { operation, end, outcome, answers: Vec::new() });
        }
    }
}

/// A creator that runs. It ends when this is dropped.
pub(super) struct Creating<'w> {
    worker: &'w Worker,
    row: Row,
}

impl<'w> Creating<'w> {
    /// Writes down that a creator began at `begin`, and which version it read.
    pub(super) fn begin(
        worker: &'w Worker,
        operation: Id,
        key: usize,
        begin: Moment,
        version: u64,
    ) -> Self {
        let creation = worker.numbers.next();
        worker.log.write(&Record::Creating { creation, operation, key, begin, version });
        Self { worker, row: Row { key, version, by: creation } }
    }

    /// Returns the created value. The creator ends with it.
    pub(super) fn end(self) -> Row {
        self.row
    }
}

impl Drop for Creating<'_> {
    fn drop(&mut self) {
        self.worker.log.write(&Record::Created { creation: self.row.by, end: now() });
    }
}
