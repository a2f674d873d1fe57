//! The way to the thread that writes: one per opened file, so that no task ever waits for
//! another process's transaction on its executor's thread. What is asked of it
//! while it is busy becomes one transaction.

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;

use futures_channel::oneshot;
use rusqlite::Connection;

use super::builder::Options;
use super::error::FileError;
use super::joint::{self, Step};
use super::lock_file::Locks;
use super::place::Place;
use super::worker::{Outcome, Request, Worker, panicked};
use crate::backend::BackendError;
use crate::sync::Mutex;

/// The way to the thread, which starts with the first request and ends when
/// this is dropped, with all done that it was asked.
pub(super) struct Writer {
    requests: OnceLock<Sender<Request>>,
    /// Until the thread takes it: one that cannot be started leaves it to the next.
    worker: Arc<Mutex<Option<Worker>>>,
}

impl Writer {
    pub(super) fn new(options: Arc<Options>, place: Arc<Place>, locks: Option<Locks>) -> Self {
        let worker = Worker::new(options, place, locks);
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

    /// Does `step`, all of it or nothing. Once begun it happens, waited for or not.
    pub(super) async fn join<S: Step>(&self, step: S) -> Result<S::Done, BackendError> {
        let (joint, answer) = joint::ask(step);
        self.send(Request::Joint(joint))?;
        answer.await.map_err(|_| panicked())?
    }

    /// Does `work` on the writer's connection.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, BackendError> {
        self.ask_and(work, |_| {}).await
    }

    /// The same for `work` that changes entries. Once begun it happens, waited for or
    /// not.
    #[cfg(feature = "collections")]
    pub(super) async fn change<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, BackendError> {
        self.ask_and(work, Worker::tidy_later).await
    }

    /// Does `work`, and `then` something that nobody waits for.
    async fn ask_and<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> Result<T, FileError> + Send + 'static,
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

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use super::*;
    use crate::backend::{Backend, ClaimMode, Claimed, Commit, File, Seen, Wanted};
    use crate::lock::{KeyedLock as _, Lease};
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
        let broken = file.shared().unwrap().writer.ask(|connection| {
            connection.execute_batch("BEGIN IMMEDIATE; DELETE FROM Dict")?;
            if connection.is_autocommit() { Ok(()) } else { panic!("on purpose") }
        });
        let error = broken.await.unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
        file.set("k", Entry::bytes("v", 1.0)).await.unwrap();
        assert!(is_stored(&file, "k").await);
        // After the answer, too.
        let late = file.shared().unwrap().writer.ask_and(|_| Ok(()), |_| panic!("on purpose"));
        late.await.unwrap();
        file.delete("k").await.unwrap();
        assert!(!is_stored(&file, "k").await);
    }

    /// Holds the writer up until it is told to go on, so that what is asked meanwhile
    /// becomes one batch.
    fn hold_up(file: &File) -> mpsc::Sender<()> {
        let (go, wait) = mpsc::channel();
        let request = Request::Other(Box::new(move |_| wait.recv().unwrap_or_default()));
        file.shared().unwrap().writer.send(request).unwrap();
        go
    }

    /// Polls each of `futures` once and then waits for all, in their order.
    async fn in_one_batch<F: Future>(file: &File, futures: Vec<F>) -> Vec<F::Output> {
        let go = hold_up(file);
        let go = async move { go.send(()).unwrap() };
        futures_util::future::join(futures_util::future::join_all(futures), go).await.0
    }

    /// A step that fails, for its caller.
    struct Refused;

    impl Step for Refused {
        type Done = ();

        fn apply(&mut self, _connection: &Connection) -> Result<(), FileError> {
            Err(FileError::Backend(BackendError::refused("no")))
        }

        fn done(self) {}
    }

    async fn claimed(file: &File, key: &str) -> Lease {
        let wanted = Wanted::new(key, ClaimMode::Create(Seen::Nothing));
        match file.claim(vec![wanted]).await.unwrap().pop() {
            Some(Claimed::Won(lease)) => lease,
            other => panic!("{other:?}"),
        }
    }

    async fn committed(file: &File, key: &str, lease: Lease) -> bool {
        let entry = Some(Entry::bytes("created", 2.0));
        file.commit(vec![Commit { key, entry, lease }]).await.unwrap() == [true]
    }

    #[tokio::test]
    async fn those_who_share_a_transaction_have_outcomes_of_their_own() {
        for fails in [false, true] {
            let (_directory, file) = file();
            let [deleted, whole] = [claimed(&file, "deleted").await, claimed(&file, "whole").await];
            let file = &file;
            let steps: Vec<Pin<Box<dyn Future<Output = bool>>>> = vec![
                Box::pin(async { file.set("set", Entry::bytes("v", 1.0)).await.is_ok() }),
                Box::pin(async { file.delete("deleted").await.is_ok() }),
                Box::pin(committed(file, "deleted", deleted)),
                Box::pin(committed(file, "whole", whole)),
                Box::pin(async {
                    !fails || file.shared().unwrap().writer.join(Refused).await.is_ok()
                }),
                Box::pin(async {
                    let lease = claimed(file, "claimed").await;
                    committed(file, "claimed", lease).await
                }),
            ];
            let done = in_one_batch(file, steps).await;
            assert_eq!(done, [true, true, false, true, !fails, true]);
            for (key, is) in [("set", true), ("deleted", false), ("whole", true), ("claimed", true)]
            {
                assert_eq!(is_stored(file, key).await, is, "{key}");
            }
        }
    }

    #[tokio::test]
    async fn a_claim_that_nobody_waits_for_frees_its_key() {
        let (_directory, file) = file();
        let go = hold_up(&file);
        let claim = file.claim(vec![Wanted::new("k", ClaimMode::Create(Seen::Nothing))]);
        assert!(futures_util::FutureExt::now_or_never(claim).is_none());
        let mutex = file.mutex().unwrap();
        assert!(mutex.is_locked("k").await.unwrap(), "it is being claimed");
        go.send(()).unwrap();
        while mutex.is_locked("k").await.unwrap() {
            drop(mutex.wait("k").await.unwrap());
        }
        let lease = claimed(&file, "k").await;
        assert!(committed(&file, "k", lease).await);
    }

    #[tokio::test]
    async fn a_refused_value_keeps_no_other_from_being_stored() {
        let (directory, _) = file();
        let file = File::builder(directory.path().join("small.db")).max_bytes(1_000);
        let file = file.open().unwrap();
        let mut changes = Vec::new();
        for (key, length) in [("large", 2_000), ("small", 2)] {
            let (entry, lease) = (Entry::bytes("x".repeat(length), 1.0), claimed(&file, key).await);
            changes.push(Commit { key, entry: Some(entry), lease });
        }
        let error = file.commit(changes).await.unwrap_err();
        assert!(error.to_string().contains("max_bytes"), "{error}");
        assert!(is_stored(&file, "small").await && !is_stored(&file, "large").await);
        assert!(!file.mutex().unwrap().is_locked("large").await.unwrap());
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
            let error = outcome.unwrap_err();
            assert!(error.to_string().contains("locked by another"), "{error}");
        }
        file.set("after", Entry::bytes("v", 1.0)).await.unwrap();
    }

    #[tokio::test]
    async fn a_thread_that_cannot_be_started_is_started_by_the_next_request() {
        let (_directory, file) = file();
        // More than there is of the address space.
        let impossible = thread::Builder::new().stack_size(1 << 60);
        let error = file.shared().unwrap().writer.start(impossible).unwrap_err();
        assert!(error.to_string().contains("cannot be started"), "{error}");
        file.set("k", Entry::bytes("v", 1.0)).await.unwrap();
        assert!(is_stored(&file, "k").await);
    }
}
