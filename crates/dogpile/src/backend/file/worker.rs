//! The worker that writes: what it does with what is asked of it, on a thread of its own or on
//! that of a caller.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rusqlite::Connection;

use super::builder::{Damage, Options};
use super::database;
use super::error::FileError;
use super::forked::{self, Permission};
use super::joint::{Joint, Step};
use super::lock_file::Locks;
use super::place::Place;
use super::{ours, schema};
use crate::backend::BackendError;
use crate::backend::turns::Turns;
use crate::clock::Timestamp;
use crate::log;

pub(super) type Outcome = Result<(), BackendError>;

pub(super) enum Request {
    /// A step that shares a transaction with others of its kind.
    Joint(Box<dyn Joint>),
    /// Anything else that needs the writer's connection.
    Other(Box<dyn FnOnce(&mut Worker) + Send>),
    /// A caller has written by itself, and there is something to tidy up. Nobody waits for that.
    Tidy,
}

/// Steps with what came of them.
type Done = Vec<(Box<dyn Joint>, Outcome)>;

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
    pub(super) is_untidy: bool,
}

impl Worker {
    pub(super) fn new(options: Arc<Options>, place: Arc<Place>, locks: Option<Locks>) -> Self {
        Self { options, place, locks, connection: None, purged: f64::MIN, is_untidy: false }
    }

    /// Serves requests as long as anybody can make some.
    pub(super) fn serve(turns: Arc<Turns<Self>>, requests: &Receiver<Request>) {
        let mut is_untidy = false;
        while let Some(first) = Self::next(&turns, requests, is_untidy) {
            // A caller may have the worker, and more is asked for meanwhile.
            let mut worker = turns.take();
            let (steps, other) = gather(first, requests);
            let count = steps.len();
            let done = worker.or_drop(|worker| worker.write(steps)).unwrap_or_default();
            turns.done(count);
            is_untidy = worker.is_untidy;
            // Whoever is answered finds it idle.
            drop(worker);
            settle(done);
            if let Some(Request::Other(work)) = other {
                let mut worker = turns.take();
                worker.or_drop(work);
                turns.done(1);
                is_untidy = worker.is_untidy;
            }
        }
        let _working = forked::permission().map(Permission::begin_alone);
        drop(turns);
    }

    /// Waits for what is asked next; `None` if nobody can ask any more. Tidies up before that
    /// is done, or once nothing was asked for a moment: whoever was just answered may fork now,
    /// which is not to happen in the middle of something.
    fn next(turns: &Turns<Self>, requests: &Receiver<Request>, is_untidy: bool) -> Option<Request> {
        let next = if is_untidy { requests.recv_timeout(QUIET).ok() } else { None };
        if is_untidy {
            turns.take().or_drop(Self::tidy);
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
    fn write(&mut self, mut steps: Vec<Box<dyn Joint>>) -> Done {
        if steps.is_empty() {
            return Vec::new();
        }
        let mut done = self.apply(&mut steps);
        let each = steps.len() > 1 && matches!(done, Err(WriteError::Backend(_)));
        let mut with_outcomes = Vec::with_capacity(steps.len());
        for mut step in steps {
            if each && !matches!(done, Err(WriteError::Locked)) {
                done = self.apply(std::slice::from_mut(&mut step));
            }
            let outcome = match done {
                Err(WriteError::Locked) => Err(WriteError::Locked),
                _ => std::mem::replace(&mut done, Ok(())),
            };
            with_outcomes.push((step, outcome.map_err(|failure| self.backend_error(failure))));
        }
        if done.is_ok() {
            self.tidy_later();
        }
        with_outcomes
    }

    fn apply(&mut self, steps: &mut [Box<dyn Joint>]) -> Result<(), WriteError> {
        let options = self.options.clone();
        self.attempt(|connection| {
            transact(connection, &options, |connection| {
                steps.iter_mut().try_for_each(|step| step.apply(connection))
            })
        })
    }

    /// Does `step` on its caller's thread, if that takes neither waiting nor opening nor repair. `None` if it
    /// does: then nothing is done.
    pub(super) fn apply_now(&mut self, step: &mut impl Step) -> Option<Outcome> {
        let _working = forked::permission().ok()?.begin_alone();
        if self.locks.is_none() || !self.place.is_current() {
            return None;
        }
        let tried = self.or_drop(|worker| worker.try_apply(step));
        match tried.unwrap_or_else(|| Err(FileError::Backend(panicked()))) {
            Ok(has_room) => {
                self.is_untidy |=
                    has_room || self.purges(self.options.clock.coarse_now()).is_some();
                Some(Ok(()))
            }
            Err(FileError::Backend(error)) => Some(Err(error)),
            Err(FileError::Busy | FileError::Damaged(_) | FileError::Replaced) => None,
        }
    }

    /// Does `step` on the connection that there is, unless another process has the file locked. Returns whether
    /// there is [room](database::has_room) to give back.
    fn try_apply(&self, step: &mut impl Step) -> Result<bool, FileError> {
        let connection = self.connection.as_ref().ok_or(FileError::Replaced)?;
        let mut has_room = false;
        connection.busy_timeout(Duration::ZERO)?;
        let applied = transact(connection, &self.options, |connection| {
            step.apply(connection)?;
            has_room = database::has_room(connection)?;
            Ok(())
        });
        connection.busy_timeout(self.options.busy_timeout)?;
        applied.map(|()| has_room)
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
        if let Some(age) = self.purges(now) {
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

    /// Returns the age from which entries are to be purged, if it is time for that.
    fn purges(&self, now: Timestamp) -> Option<Duration> {
        self.options.retention.filter(|age| {
            let interval = (age.as_secs_f64() / 16.0).min(60.0);
            !(self.purged..self.purged + interval).contains(&now)
        })
    }
}

/// Returns the steps that were asked for up to the first request of another kind, and that.
fn gather(first: Request, requests: &Receiver<Request>) -> (Vec<Box<dyn Joint>>, Option<Request>) {
    let mut steps = Vec::new();
    let mut next = Some(first);
    while let Some(Request::Joint(step)) = next {
        steps.push(step);
        let more = steps.len() < MOST_AT_ONCE;
        next = more.then(|| requests.try_recv().ok()).flatten();
    }
    (steps, next)
}

/// Tells callers what came of their steps.
fn settle(done: Done) {
    for (step, outcome) in done {
        // One that panics is not another's.
        let _ = catch_unwind(AssertUnwindSafe(|| step.settle(outcome)));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _working = forked::permission().map(Permission::begin);
        self.connection = None;
    }
}

/// Does `steps` as one transaction, and keeps the entries within their bounds.
fn transact(
    connection: &Connection,
    options: &Options,
    steps: impl FnOnce(&Connection) -> Result<(), FileError>,
) -> Result<(), FileError> {
    database::transaction(connection, |connection| {
        steps(connection)?;
        keep_within(connection, options, &|_| false).map(drop)
    })
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
