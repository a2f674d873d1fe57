//! The thread that writes: what it does with what is asked of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rusqlite::Connection;

use super::builder::{Damage, Options};
use super::database;
use super::error::FileError;
use super::forked::{self, Permission};
use super::joint::Joint;
use super::lock_file::Locks;
use super::place::Place;
use super::{ours, schema};
use crate::backend::BackendError;
use crate::clock::Timestamp;
use crate::log;

pub(super) type Outcome = Result<(), BackendError>;

pub(super) enum Request {
    /// A step that shares a transaction with others of its kind.
    Joint(Box<dyn Joint>),
    /// Anything else that needs the writer's connection.
    Other(Box<dyn FnOnce(&mut Worker) + Send>),
}

/// Why work was not done.
pub(super) enum WriteError {
    /// Another process has the file locked, and waiting did not help.
    Locked,
    Backend(BackendError),
}

pub(super) fn panicked() -> BackendError {
    BackendError::other("the cache file's writer panicked")
}

/// As many requests as one transaction takes.
const MOST_AT_ONCE: usize = 256;

/// Tidying up waits until nothing was asked for so long.
const QUIET: Duration = Duration::from_millis(5);

/// The number of times that damage or replacement is followed by another try.
const TRIES: usize = 3;

pub(super) struct Worker {
    options: Arc<Options>,
    place: Arc<Place>,
    /// None where it only looks.
    locks: Option<Locks>,
    connection: Option<Connection>,
    /// When what is past the maximum age was last looked for.
    purged: Timestamp,
    /// Something was written, and not tidied up after.
    is_untidy: bool,
}

impl Worker {
    pub(super) fn new(options: Arc<Options>, place: Arc<Place>, locks: Option<Locks>) -> Self {
        Self { options, place, locks, connection: None, purged: f64::MIN, is_untidy: false }
    }

    pub(super) fn serve(mut self, requests: &Receiver<Request>) {
        while let Some(first) = self.next(requests) {
            let mut together = Vec::new();
            let mut next = Some(first);
            while let Some(Request::Joint(step)) = next {
                together.push(step);
                let more = together.len() < MOST_AT_ONCE;
                next = more.then(|| requests.try_recv().ok()).flatten();
            }
            if !together.is_empty() {
                self.or_drop(|worker| worker.write(together));
            }
            if let Some(Request::Other(work)) = next {
                self.or_drop(work);
            }
        }
        let _working = forked::permission().map(Permission::begin_alone);
        drop(self);
    }

    /// Waits for what is asked next; `None` if nobody can ask any more. Tidies up before that
    /// is done, or once nothing was asked for a moment: whoever was just answered may fork now,
    /// which is not to happen in the middle of something.
    fn next(&mut self, requests: &Receiver<Request>) -> Option<Request> {
        let next = if self.is_untidy { requests.recv_timeout(QUIET).ok() } else { None };
        if self.is_untidy {
            self.or_drop(Self::tidy);
        }
        next.or_else(|| requests.recv().ok())
    }

    /// Has the file tidied up when there is time.
    pub(super) fn tidy_later(&mut self) {
        self.is_untidy = true;
    }

    /// Does `work`. If it panics, its connection may be within a transaction and is closed:
    /// what is asked next has nothing to do with it.
    fn or_drop<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(|| work(self)));
        if done.is_err() {
            let _working = forked::permission().map(Permission::begin);
            self.connection = None;
        }
        done.ok()
    }

    /// Does all `steps` in one transaction; where that fails, each in its own,
    /// so that one caller's failure is not another's. A file that stays locked
    /// is everybody's failure: waiting for it once is enough.
    fn write(&mut self, mut steps: Vec<Box<dyn Joint>>) {
        let mut done = self.apply(&mut steps);
        let each = steps.len() > 1 && matches!(done, Err(WriteError::Backend(_)));
        for mut step in steps {
            if each && !matches!(done, Err(WriteError::Locked)) {
                done = self.apply(std::slice::from_mut(&mut step));
            }
            let outcome = match done {
                Err(WriteError::Locked) => Err(WriteError::Locked),
                _ => std::mem::replace(&mut done, Ok(())),
            };
            step.settle(outcome.map_err(|failure| self.backend_error(failure)));
        }
        if done.is_ok() {
            self.tidy_later();
        }
    }

    fn apply(&mut self, steps: &mut [Box<dyn Joint>]) -> Result<(), WriteError> {
        let options = self.options.clone();
        self.attempt(|connection| {
            database::transaction(connection, |connection| {
                for step in &mut *steps {
                    step.apply(connection)?;
                }
                keep_within(connection, &options, &|_| false).map(drop)
            })
        })
    }

    pub(super) fn run<T>(
        &mut self,
        work: impl FnMut(&Connection) -> Result<T, FileError>,
    ) -> Result<T, BackendError> {
        self.attempt(work).map_err(|failure| self.backend_error(failure))
    }

    /// Does `work`; opens the file before if need be, and once more where it
    /// turns out to be damaged or another.
    fn attempt<T>(
        &mut self,
        mut work: impl FnMut(&Connection) -> Result<T, FileError>,
    ) -> Result<T, WriteError> {
        // Ended before anybody is answered, who may fork then.
        let _working = forked::permission().map_err(WriteError::Backend)?.begin_alone();
        let mut last = String::new();
        for _ in 0..TRIES {
            let tried = self.or_drop(|worker| worker.connection().and_then(&mut work));
            match tried.unwrap_or_else(|| Err(FileError::Backend(panicked()))) {
                Ok(done) => return Ok(done),
                Err(FileError::Damaged(why)) => {
                    self.recover(&why).map_err(WriteError::Backend)?;
                    last = why;
                }
                Err(FileError::Replaced) => {
                    self.connection = None;
                    "another file was put in its place".clone_into(&mut last);
                }
                Err(FileError::Busy) => return Err(WriteError::Locked),
                Err(FileError::Backend(error)) => return Err(WriteError::Backend(error)),
            }
        }
        let path = self.place.path.display();
        let message = format!("`{path}` failed {TRIES} times in a row: {last}");
        Err(WriteError::Backend(BackendError::unavailable(message)))
    }

    fn backend_error(&self, failure: WriteError) -> BackendError {
        let (path, limit) = (self.place.path.display(), self.options.busy_timeout);
        let locked = || format!("`{path}` was locked by another process for {limit:?}");
        match failure {
            WriteError::Locked => BackendError::unavailable(locked()),
            WriteError::Backend(error) => error,
        }
    }

    fn connection(&mut self) -> Result<&Connection, FileError> {
        let only_looks = self.locks.is_none();
        // What others wrote since the last look may not be seen by its connection.
        if self.connection.is_some() && (only_looks || !self.place.is_current()) {
            self.connection = None;
        }
        if self.connection.is_none() {
            let (timeout, mode) = (self.options.busy_timeout, self.options.mode);
            if let Some(locks) = &self.locks {
                ours::refuse_others(&self.place.path, |number| Ok(locks.are_of(number)))
                    .map_err(FileError::Backend)?;
            }
            self.connection = Some(self.place.open(|path| {
                if only_looks {
                    ours::look(path).map(|(connection, _)| connection)
                } else {
                    schema::open(path, timeout, mode)
                }
            })?);
            if let Some(locks) = &self.locks {
                locks.note_database(self.place.number());
            }
        }
        self.connection.as_ref().ok_or(FileError::Replaced)
    }

    /// Makes room for a new file, unless another process did so already.
    fn recover(&mut self, why: &str) -> Outcome {
        let path = self.place.path.display();
        if self.locks.as_ref().is_some_and(|locks| !locks.are_of(self.place.number())) {
            return Err(ours::not_a_cache(&self.place.path, why));
        }
        let (Some(locks), Damage::MoveAside) = (&self.locks, self.options.on_damage) else {
            return Err(BackendError::unavailable(format!(
                "`{path}` is damaged ({why}): remove it, or open it with `Damage::MoveAside`"
            )));
        };
        self.connection = None;
        let place = &self.place;
        let moved = locks.alone(|| place.is_current().then(|| place.move_aside()))?;
        match moved {
            None => Ok(()),
            Some(Ok(aside)) => {
                log::file_moved_aside(&self.place.path, &aside, why);
                Ok(())
            }
            Some(Err(error)) => Err(BackendError::unavailable(format!(
                "`{path}` is damaged ({why}) and cannot be moved aside: {error}"
            ))),
        }
    }

    /// Purges by age and gives free pages back. Nobody waits for it, and a failure
    /// here is tried again after the next write.
    fn tidy(&mut self) {
        const AT_ONCE: usize = 1_000;
        self.is_untidy = false;
        let now = self.options.clock.coarse_now();
        let due = self.options.retention.filter(|age| {
            let interval = (age.as_secs_f64() / 16.0).min(60.0);
            !(self.purged..self.purged + interval).contains(&now)
        });
        if let Some(age) = due {
            let before = now - age.as_secs_f64();
            let purge = |c: &Connection| database::purge(c, before, AT_ONCE);
            match self.run(|c| database::transaction(c, purge)) {
                Ok(purged) if purged < AT_ONCE => self.purged = now,
                Ok(_) => {}
                // What keeps this from being done keeps the rest as well.
                Err(_) => return,
            }
        }
        let _ = self.run(database::shrink);
    }
}

/// Evicts until the entries are within their bounds, from the oldest on, but none that
/// are `spared`; false if that is not enough.
pub(super) fn keep_within(
    connection: &Connection,
    options: &Options,
    spared: &dyn Fn(&[u8]) -> bool,
) -> Result<bool, FileError> {
    let mut counted = false;
    loop {
        let size = database::size(connection)?;
        let too_many = options.max_entries.map_or(0, |most| size.entries.saturating_sub(most));
        let too_large = size.bytes.saturating_sub(options.max_bytes);
        let average = (size.bytes / size.entries.max(1)).max(1);
        let evict = too_many.max(too_large.div_ceil(average));
        if evict == 0 || counted {
            return Ok(evict == 0);
        }
        if database::evict(connection, evict, spared)? == 0 {
            schema::recount(connection)?;
            counted = true;
        }
    }
}
