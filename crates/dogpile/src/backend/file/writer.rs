//! The thread that writes: one per opened file, so that no task ever waits for
//! another process's transaction on its executor's thread. What is asked of it
//! while it is busy becomes one transaction.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;

use bytes::Bytes;
use futures_channel::oneshot;
use rusqlite::Connection;

use super::database::{self, Trouble};
use super::locks::Locks;
use super::place::Place;
use super::{Damage, Options};
use crate::backend::BackendError;
use crate::clock::Timestamp;
use crate::log;
use crate::sync::Mutex;

/// A change to one entry.
#[derive(Debug)]
pub(super) enum Change {
    Put { key: Box<str>, frame: Bytes },
    Delete { key: Box<str> },
}

type Outcome = Result<(), BackendError>;

enum Request {
    /// Changes that happen together or not at all.
    Write { changes: Vec<Change>, done: oneshot::Sender<Outcome> },
    /// Anything else that needs the writer's connection.
    Other(Box<dyn FnOnce(&mut Worker) + Send>),
}

/// The way to the thread, which starts with the first request and ends when
/// this is dropped, with all done that it was asked.
pub(super) struct Writer {
    requests: OnceLock<Sender<Request>>,
    /// Until the thread starts.
    worker: Mutex<Option<Worker>>,
}

impl Writer {
    pub(super) fn new(options: Arc<Options>, place: Arc<Place>, locks: Locks) -> Self {
        let worker = Worker { options, place, locks, connection: None, purged: f64::MIN };
        Self { requests: OnceLock::new(), worker: Mutex::new(Some(worker)) }
    }

    /// Opens the file on this thread, makes it and repairs it if need be.
    pub(super) fn open_now(&self) -> Outcome {
        match &mut *self.worker.lock() {
            Some(worker) => worker.run(|_| Ok(())),
            None => Ok(()),
        }
    }

    fn send(&self, request: Request) -> Outcome {
        if self.requests.get().is_none() {
            self.start()?;
        }
        self.requests.get().ok_or_else(gone)?.send(request).map_err(|_| gone())
    }

    fn start(&self) -> Outcome {
        let mut waiting = self.worker.lock();
        let Some(worker) = waiting.take() else { return Ok(()) };
        let (requests, receiver) = mpsc::channel();
        let thread = thread::Builder::new().name("dogpile-file".into());
        // A worker whose thread cannot be started is lost with its closure.
        let started = thread.spawn(move || worker.serve(&receiver));
        started.map_err(BackendError::unavailable)?;
        // Nobody else sets it: the worker can be taken once.
        let _ = self.requests.set(requests);
        Ok(())
    }

    /// Makes `changes`, all or none. Once begun it happens, waited for or not.
    pub(super) async fn write(&self, changes: Vec<Change>) -> Outcome {
        let (done, outcome) = oneshot::channel();
        self.send(Request::Write { changes, done })?;
        outcome.await.map_err(|_| gone())?
    }

    /// Does `work` on the writer's connection.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, BackendError> {
        self.ask_and(work, |_| {}).await
    }

    /// The same for `work` that changes entries. Once begun it happens, waited for or
    /// not.
    #[cfg(feature = "collections")]
    pub(super) async fn change<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, BackendError> {
        self.ask_and(work, Worker::tidy).await
    }

    /// Does `work`, and `then` something that nobody waits for.
    async fn ask_and<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> Result<T, Trouble> + Send + 'static,
        then: impl FnOnce(&mut Worker) + Send + 'static,
    ) -> Result<T, BackendError> {
        let (done, answer) = oneshot::channel();
        let request = move |worker: &mut Worker| {
            let _ = done.send(worker.run(work));
            then(worker);
        };
        self.send(Request::Other(Box::new(request)))?;
        answer.await.map_err(|_| gone())?
    }
}

fn gone() -> BackendError {
    BackendError::unavailable("the cache file's writer has ended")
}

/// As many requests as one transaction takes.
const MOST_AT_ONCE: usize = 256;

/// How often damage or replacement is followed by another try.
const TRIES: usize = 3;

struct Worker {
    options: Arc<Options>,
    place: Arc<Place>,
    locks: Locks,
    connection: Option<Connection>,
    /// When what is past the maximum age was last looked for.
    purged: Timestamp,
}

type Write = (Vec<Change>, oneshot::Sender<Outcome>);

impl Worker {
    fn serve(mut self, requests: &Receiver<Request>) {
        while let Ok(first) = requests.recv() {
            let mut writes = Vec::new();
            let mut next = Some(first);
            while let Some(Request::Write { changes, done }) = next {
                writes.push((changes, done));
                let more = writes.len() < MOST_AT_ONCE;
                next = more.then(|| requests.try_recv().ok()).flatten();
            }
            if !writes.is_empty() {
                self.write(writes);
            }
            if let Some(Request::Other(work)) = next {
                work(&mut self);
            }
        }
    }

    /// All of `writes` as one transaction; where that fails, each as its own,
    /// so that one caller's failure is not another's.
    fn write(&mut self, writes: Vec<Write>) {
        let all: Vec<&[Change]> = writes.iter().map(|(changes, _)| &changes[..]).collect();
        let mut stored = self.store(&all);
        let alone = writes.len() == 1;
        for (changes, done) in writes {
            let outcome = match &stored {
                Ok(()) => Ok(()),
                Err(_) if alone => std::mem::replace(&mut stored, Ok(())),
                Err(_) => self.store(&[&changes]),
            };
            // Whoever asked may be gone.
            let _ = done.send(outcome);
        }
        self.tidy();
    }

    fn store(&mut self, writes: &[&[Change]]) -> Outcome {
        let options = self.options.clone();
        self.run(|connection| {
            database::transaction(connection, |connection| {
                for change in writes.iter().copied().flatten() {
                    match change {
                        Change::Put { key, frame } => database::put(connection, key, frame)?,
                        Change::Delete { key } => database::delete(connection, key)?,
                    }
                }
                keep_within(connection, &options, &|_| false).map(drop)
            })
        })
    }

    /// Does `work`; opens the file before if need be, and once more where it
    /// turns out to be damaged or another.
    fn run<T>(
        &mut self,
        mut work: impl FnMut(&Connection) -> Result<T, Trouble>,
    ) -> Result<T, BackendError> {
        let mut last = String::new();
        for _ in 0..TRIES {
            match self.connection().and_then(&mut work) {
                Ok(done) => return Ok(done),
                Err(Trouble::Damaged(why)) => {
                    self.recover(&why)?;
                    last = why;
                }
                Err(Trouble::Replaced) => {
                    self.connection = None;
                    "another file was put in its place".clone_into(&mut last);
                }
                Err(Trouble::Busy) => return Err(self.kept_locked()),
                Err(Trouble::Fault(fault)) => return Err(fault),
            }
        }
        let path = self.place.path.display();
        Err(BackendError::unavailable(format!("`{path}` failed {TRIES} times in a row: {last}")))
    }

    fn kept_locked(&self) -> BackendError {
        let (path, limit) = (self.place.path.display(), self.options.busy_timeout);
        BackendError::unavailable(format!("`{path}` was locked by another process for {limit:?}"))
    }

    fn connection(&mut self) -> Result<&Connection, Trouble> {
        if self.connection.is_some() && !self.place.is_current() {
            self.connection = None;
        }
        if self.connection.is_none() {
            let timeout = self.options.busy_timeout;
            self.connection = Some(self.place.open(|path| database::open(path, timeout))?);
        }
        self.connection.as_ref().ok_or(Trouble::Replaced)
    }

    /// Makes room for a new file, unless another process did so already.
    fn recover(&mut self, why: &str) -> Outcome {
        let path = self.place.path.display();
        if self.options.on_damage == Damage::Refuse {
            return Err(BackendError::unavailable(format!(
                "`{path}` is damaged ({why}): remove it, or open it with `Damage::MoveAside`"
            )));
        }
        self.connection = None;
        let place = &self.place;
        let moved = self.locks.alone(|| place.is_current().then(|| place.move_aside()))?;
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

    /// What nobody waits for: purges by age, gives free pages back. What fails
    /// here is tried again after the next write.
    fn tidy(&mut self) {
        const AT_ONCE: usize = 1_000;
        let now = self.options.clock.coarse_now();
        let due = self.options.max_age.filter(|age| {
            let interval = (age.as_secs_f64() / 16.0).min(60.0);
            !(self.purged..self.purged + interval).contains(&now)
        });
        if let Some(age) = due {
            let before = now - age.as_secs_f64();
            let purge = |c: &Connection| database::purge(c, before, AT_ONCE);
            if let Ok(purged) = self.run(|c| database::transaction(c, purge))
                && purged < AT_ONCE
            {
                self.purged = now;
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
) -> Result<bool, Trouble> {
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
            database::recount(connection)?;
            counted = true;
        }
    }
}
