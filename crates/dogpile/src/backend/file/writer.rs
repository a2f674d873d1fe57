//! The thread that writes: one per opened file, so that no task ever waits for
//! another process's transaction on its executor's thread. What is asked of it
//! while it is busy becomes one transaction.

use std::panic::{AssertUnwindSafe, catch_unwind};
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

/// Why work was not done.
enum Failure {
    /// Another process has the file locked, and waiting did not help.
    Locked,
    Fault(BackendError),
}

/// The way to the thread, which starts with the first request and ends when
/// this is dropped, with all done that it was asked.
pub(super) struct Writer {
    requests: OnceLock<Sender<Request>>,
    /// Until the thread takes it: one that cannot be started leaves it to the next.
    worker: Arc<Mutex<Option<Worker>>>,
}

impl Writer {
    pub(super) fn new(options: Arc<Options>, place: Arc<Place>, locks: Locks) -> Self {
        let worker = Worker { options, place, locks, connection: None, purged: f64::MIN };
        Self { requests: OnceLock::new(), worker: Arc::new(Mutex::new(Some(worker))) }
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
            self.start(thread::Builder::new())?;
        }
        self.requests.get().ok_or_else(gone)?.send(request).map_err(|_| gone())
    }

    fn start(&self, thread: thread::Builder) -> Outcome {
        let waiting = self.worker.lock();
        if waiting.is_none() || self.requests.get().is_some() {
            return Ok(());
        }
        let (requests, receiver) = mpsc::channel();
        let place = self.worker.clone();
        let serve = move || {
            let worker = place.lock().take();
            if let Some(worker) = worker {
                worker.serve(&receiver);
            }
        };
        thread.name("dogpile-file".into()).spawn(serve).map_err(|error| {
            BackendError::unavailable(format!("the cache file's writer cannot be started: {error}"))
        })?;
        // Nobody else sets it while the worker is locked.
        let _ = self.requests.set(requests);
        Ok(())
    }

    /// Makes `changes`, all or none. Once begun it happens, waited for or not.
    pub(super) async fn write(&self, changes: Vec<Change>) -> Outcome {
        let (done, outcome) = oneshot::channel();
        self.send(Request::Write { changes, done })?;
        outcome.await.map_err(|_| panicked())?
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
        answer.await.map_err(|_| panicked())?
    }
}

fn gone() -> BackendError {
    BackendError::unavailable("the cache file's writer has ended")
}

fn panicked() -> BackendError {
    BackendError::other("the cache file's writer panicked")
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
                self.or_drop(|worker| worker.write(writes));
            }
            if let Some(Request::Other(work)) = next {
                self.or_drop(work);
            }
        }
    }

    /// Does `work`. If it panics, its connection may be within a transaction and is closed:
    /// what is asked next has nothing to do with it.
    fn or_drop<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(|| work(self)));
        if done.is_err() {
            self.connection = None;
        }
        done.ok()
    }

    /// All of `writes` as one transaction; where that fails, each as its own,
    /// so that one caller's failure is not another's. A file that stays locked
    /// is everybody's failure: waiting for it once is enough.
    fn write(&mut self, writes: Vec<Write>) {
        let all: Vec<&[Change]> = writes.iter().map(|(changes, _)| &changes[..]).collect();
        let mut stored = self.store(&all);
        let each = writes.len() > 1 && matches!(stored, Err(Failure::Fault(_)));
        for (changes, done) in writes {
            if each && !matches!(stored, Err(Failure::Locked)) {
                stored = self.store(&[&changes]);
            }
            let outcome = match stored {
                Err(Failure::Locked) => Err(Failure::Locked),
                _ => std::mem::replace(&mut stored, Ok(())),
            };
            // Whoever asked may be gone.
            let _ = done.send(outcome.map_err(|failure| self.fault(failure)));
        }
        if stored.is_ok() {
            self.tidy();
        }
    }

    fn store(&mut self, writes: &[&[Change]]) -> Result<(), Failure> {
        let options = self.options.clone();
        self.attempt(|connection| {
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

    fn run<T>(
        &mut self,
        work: impl FnMut(&Connection) -> Result<T, Trouble>,
    ) -> Result<T, BackendError> {
        self.attempt(work).map_err(|failure| self.fault(failure))
    }

    /// Does `work`; opens the file before if need be, and once more where it
    /// turns out to be damaged or another.
    fn attempt<T>(
        &mut self,
        mut work: impl FnMut(&Connection) -> Result<T, Trouble>,
    ) -> Result<T, Failure> {
        let mut last = String::new();
        for _ in 0..TRIES {
            let tried = self.or_drop(|worker| worker.connection().and_then(&mut work));
            match tried.unwrap_or_else(|| Err(Trouble::Fault(panicked()))) {
                Ok(done) => return Ok(done),
                Err(Trouble::Damaged(why)) => {
                    self.recover(&why).map_err(Failure::Fault)?;
                    last = why;
                }
                Err(Trouble::Replaced) => {
                    self.connection = None;
                    "another file was put in its place".clone_into(&mut last);
                }
                Err(Trouble::Busy) => return Err(Failure::Locked),
                Err(Trouble::Fault(fault)) => return Err(Failure::Fault(fault)),
            }
        }
        let path = self.place.path.display();
        let message = format!("`{path}` failed {TRIES} times in a row: {last}");
        Err(Failure::Fault(BackendError::unavailable(message)))
    }

    fn fault(&self, failure: Failure) -> BackendError {
        let (path, limit) = (self.place.path.display(), self.options.busy_timeout);
        let locked = || format!("`{path}` was locked by another process for {limit:?}");
        match failure {
            Failure::Locked => BackendError::unavailable(locked()),
            Failure::Fault(fault) => fault,
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Backend, File};
    use crate::value::Entry;

    fn file() -> (tempfile::TempDir, File) {
        let directory = tempfile::TempDir::new().unwrap();
        let file = File::open(directory.path().join("cache.db")).unwrap();
        (directory, file)
    }

    async fn is_stored(file: &File, key: &str) -> bool {
        file.get(key).await.unwrap().is_some()
    }

    #[tokio::test]
    async fn a_panic_fails_its_own_request_only() {
        let (_directory, file) = file();
        let broken = file.0.writer.ask(|connection| {
            connection.execute_batch("BEGIN IMMEDIATE; DELETE FROM Dict")?;
            if connection.is_autocommit() { Ok(()) } else { panic!("on purpose") }
        });
        let fault = broken.await.unwrap_err();
        assert!(fault.to_string().contains("panicked"), "{fault}");
        file.set("k", Entry::bytes("v", 1.0)).await.unwrap();
        assert!(is_stored(&file, "k").await);
        // After the answer, too.
        let late = file.0.writer.ask_and(|_| Ok(()), |_| panic!("on purpose"));
        late.await.unwrap();
        file.delete("k").await.unwrap();
        assert!(!is_stored(&file, "k").await);
    }

    /// Holds the writer up until it is told to go on, so that what is asked meanwhile
    /// becomes one batch.
    fn hold_up(file: &File) -> mpsc::Sender<()> {
        let (go, wait) = mpsc::channel();
        let request = Request::Other(Box::new(move |_| wait.recv().unwrap_or_default()));
        file.0.writer.send(request).unwrap();
        go
    }

    /// Polls each of `futures` once and then waits for all, in their order.
    async fn in_one_batch<F: Future>(file: &File, futures: Vec<F>) -> Vec<F::Output> {
        let go = hold_up(file);
        let go = async move { go.send(()).unwrap() };
        futures_util::future::join(futures_util::future::join_all(futures), go).await.0
    }

    #[tokio::test]
    async fn writes_that_find_the_file_locked_wait_for_it_once() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("cache.db");
        let limit = std::time::Duration::from_millis(50);
        let file = File::builder(&path).busy_timeout(limit).open().unwrap();
        file.set("before", Entry::bytes("v", 1.0)).await.unwrap();
        let other = std::sync::Mutex::new(Connection::open(&path).unwrap());
        other.lock().unwrap().execute_batch("BEGIN IMMEDIATE").unwrap();
        let write = async |n: usize| {
            let written = file.set(&format!("k{n}"), Entry::bytes("v", 1.0)).await;
            // The first to fail frees the file for whoever tries once more.
            let other = other.lock().unwrap();
            if !other.is_autocommit() {
                other.execute_batch("ROLLBACK").unwrap();
            }
            written
        };
        let written = in_one_batch(&file, (0..40).map(write).collect()).await;
        for outcome in written {
            let fault = outcome.unwrap_err();
            assert!(fault.to_string().contains("locked by another"), "{fault}");
        }
        file.set("after", Entry::bytes("v", 1.0)).await.unwrap();
    }

    #[tokio::test]
    async fn a_thread_that_cannot_be_started_is_started_by_the_next_request() {
        let (_directory, file) = file();
        // More than there is of the address space.
        let impossible = thread::Builder::new().stack_size(1 << 60);
        let fault = file.0.writer.start(impossible).unwrap_err();
        assert!(fault.to_string().contains("cannot be started"), "{fault}");
        file.set("k", Entry::bytes("v", 1.0)).await.unwrap();
        assert!(is_stored(&file, "k").await);
    }
}
