//! The way to the worker that writes. It has a thread, one per opened file, so that no task ever waits
//! for another process's transaction on its executor's thread. What is asked of it
//! while it is busy becomes one transaction. A caller who blocks does its own transaction where the
//! worker is idle: to wake the thread, and to be woken by it, takes longer.

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
use crate::backend::turns::Turns;
use crate::bridge;
use crate::sync::Mutex;

/// The way to the worker, and to its thread, which starts with the first request and ends when
/// this is dropped, with all done that it was asked.
pub(super) struct Writer {
    /// Dropped before `requests`: so the thread, if there is one, is the last to have it, and closes the file.
    turns: Arc<Turns<Worker>>,
    requests: OnceLock<Sender<Request>>,
    starting: Mutex<()>,
}

impl Writer {
    pub(super) fn new(options: Arc<Options>, place: Arc<Place>, locks: Option<Locks>) -> Self {
        let turns = Arc::new(Turns::new(Worker::new(options, place, locks)));
        Self { turns, requests: OnceLock::new(), starting: Mutex::default() }
    }

    /// Opens the file on this thread, makes it and repairs it if need be.
    pub(super) fn open_now(&self) -> Outcome {
        self.turns.take().run(|_| Ok(()))
    }

    fn send(&self, request: Request) -> Outcome {
        self.turns.expect_one();
        self.hand_over(request).inspect_err(|_| self.turns.done(1))
    }

    fn hand_over(&self, request: Request) -> Outcome {
        if self.requests.get().is_none() {
            self.start(thread::Builder::new())?;
        }
        self.requests.get().ok_or_else(gone)?.send(request).map_err(|_| gone())
    }

    /// Starts the thread. One that cannot be started is started by the next request.
    fn start(&self, thread: thread::Builder) -> Outcome {
        let _alone = self.starting.lock();
        if self.requests.get().is_some() {
            return Ok(());
        }
        let (requests, receiver) = mpsc::channel();
        let turns = self.turns.clone();
        let serve = move || Worker::serve(turns, &receiver);
        thread.name("dogpile-file".into()).spawn(serve).map_err(|error| {
            BackendError::unavailable(format!("the cache file's writer cannot be started: {error}"))
        })?;
        // Nobody else sets it meanwhile.
        let _ = self.requests.set(requests);
        Ok(())
    }

    /// Does `step`, all of it or nothing. Once begun it happens, waited for or not.
    pub(super) async fn join<S: Step>(&self, mut step: S) -> Result<S::Done, BackendError> {
        if bridge::is_blocking().await
            && let Some(outcome) = self.join_now(&mut step)
        {
            return outcome.map(|()| step.done());
        }
        let (joint, answer) = joint::ask(step);
        self.send(Request::Joint(joint))?;
        answer.await.map_err(|_| panicked())?
    }

    /// Does `step` on this thread, if the worker is idle and need not wait for anything.
    fn join_now(&self, step: &mut impl Step) -> Option<Outcome> {
        let mut worker = self.turns.take_idle()?;
        let was_tidy = !worker.is_untidy;
        let outcome = worker.apply_now(step)?;
        if was_tidy && worker.is_untidy {
            worker.is_untidy = self.hand_over(Request::Tidy).is_ok();
        }
        Some(outcome)
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
    use std::time::{Duration, Instant};

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

    /// A step that tells which thread did it.
    struct Noted(Option<thread::ThreadId>);

    impl Step for Noted {
        type Done = Option<thread::ThreadId>;

        fn apply(&mut self, _connection: &Connection) -> Result<(), FileError> {
            self.0 = Some(thread::current().id());
            Ok(())
        }

        fn done(self) -> Option<thread::ThreadId> {
            self.0
        }
    }

    /// Is a step of a blocking caller's done on its own thread?
    fn is_done_here(file: &File) -> bool {
        let noted = bridge::block_on(file.shared().unwrap().writer.join(Noted(None)));
        noted.unwrap().unwrap() == Some(thread::current().id())
    }

    fn has_thread(file: &File) -> bool {
        file.shared().unwrap().writer.requests.get().is_some()
    }

    #[test]
    fn a_blocking_caller_needs_no_thread_where_the_worker_is_idle() {
        let (_directory, file) = file();
        let region = crate::Region::new("blocking");
        region.configure(crate::Config::new(file.clone())).unwrap();
        let blocking = region.blocking();
        blocking.set("k", &1).unwrap();
        blocking.delete("k").unwrap();
        blocking.set_multi([("m", &5), ("n", &6)]).unwrap();
        assert_eq!(blocking.get_or_create("k", || 2), 2);
        assert_eq!(blocking.get("k").unwrap(), Some(2));
        assert_eq!(blocking.try_get_or_create("failed", || Err::<i32, _>("no")), Err("no"));
        assert!(is_done_here(&file));
        assert!(!has_thread(&file));
    }

    #[test]
    fn a_tasks_thread_does_not_write() {
        let (_directory, file) = file();
        let noted = || file.shared().unwrap().writer.join(Noted(None));
        let here = Some(thread::current().id());
        assert_ne!(pollster::block_on(noted()).unwrap(), here);
        // Also if its executor runs in a blocking call.
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let nested = bridge::block_on(async {
            let blocking = noted().await;
            assert!(is_done_here(&file));
            (runtime.block_on(noted()), blocking)
        });
        let (task, blocking) = nested.unwrap();
        assert_ne!(task.unwrap(), here);
        assert_eq!(blocking.unwrap(), here);
        // A blocking call that may not wait is refused before anything is done.
        let refused = runtime.block_on(async { bridge::block_on(file.delete("k")).is_err() });
        assert!(refused);
        let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        let in_place = runtime.block_on(async {
            let file = file.clone();
            tokio::spawn(async move { (is_done_here(&file), file.delete("k").await) }).await
        });
        let (in_place, deleted) = in_place.unwrap();
        assert!(in_place);
        deleted.unwrap();
    }

    #[test]
    fn a_blocking_caller_overtakes_nothing_that_was_asked_before() {
        // Each time with a worker that could be had at once, and a thread that is yet to be started.
        for _ in 0..10 {
            let (_directory, file) = file();
            let entry = |text: &str| Entry::bytes(text.to_owned(), 1.0);
            let sent = futures_util::FutureExt::now_or_never(file.set("k", entry("first")));
            assert!(sent.is_none(), "nobody waits for it");
            bridge::block_on(file.set("k", entry("second"))).unwrap().unwrap();
            let stored = pollster::block_on(file.get("k")).unwrap().unwrap();
            assert_eq!(stored.to_frame(), entry("second").to_frame());
        }
        // As long as something is on its way.
        let (_directory, file) = file();
        let turns = &file.shared().unwrap().writer.turns;
        turns.expect_one();
        assert!(!is_done_here(&file));
        turns.done(1);
        assert!(is_done_here(&file));
    }

    #[test]
    fn callers_who_come_in_a_crowd_share_transactions() {
        let (_directory, file) = file();
        let both = [(); 2].map(|()| file.delete("k"));
        let deleted = pollster::block_on(in_one_batch(&file, both.into()));
        assert!(deleted.iter().all(Result::is_ok));
        assert!(!is_done_here(&file));
        wait_until(|| is_done_here(&file));
    }

    fn wait_until(mut is_so: impl FnMut() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < Duration::from_secs(30), "it does not come to that");
            thread::yield_now();
        }
    }

    /// A file that somebody else has begun to write to.
    fn locked(busy_timeout: Duration) -> (tempfile::TempDir, File, Connection) {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("cache.db");
        let file = File::builder(&path).busy_timeout(busy_timeout).open().unwrap();
        assert!(is_done_here(&file));
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        (directory, file, other)
    }

    #[test]
    fn a_blocking_caller_who_finds_the_file_locked_leaves_it_to_the_thread() {
        let (_directory, file, other) = locked(Duration::from_hours(1));
        let caller = {
            let file = file.clone();
            thread::spawn(move || bridge::block_on(file.delete("k")).unwrap())
        };
        wait_until(|| has_thread(&file));
        other.execute_batch("ROLLBACK").unwrap();
        caller.join().unwrap().unwrap();
        wait_until(|| is_done_here(&file));
    }

    #[test]
    fn the_thread_waits_for_a_locked_file_although_callers_do_not() {
        let limit = Duration::from_millis(50);
        let (_directory, file, _other) = locked(limit);
        let began = Instant::now();
        let error = bridge::block_on(file.delete("k")).unwrap().unwrap_err();
        assert!(error.to_string().contains("locked by another"), "{error}");
        assert!(began.elapsed() >= limit);
    }

    /// A step that panics in the middle of its transaction.
    struct Panics;

    impl Step for Panics {
        type Done = ();

        fn apply(&mut self, connection: &Connection) -> Result<(), FileError> {
            connection.execute("DELETE FROM Dict", [])?;
            if connection.is_autocommit() { Ok(()) } else { panic!("on purpose") }
        }

        fn done(self) {}
    }

    #[test]
    fn a_panic_of_a_blocking_callers_step_fails_that_only() {
        let (_directory, file) = file();
        let set = |key| bridge::block_on(file.set(key, Entry::bytes("v", 1.0))).unwrap();
        set("before").unwrap();
        let panicked = bridge::block_on(file.shared().unwrap().writer.join(Panics)).unwrap();
        assert!(panicked.unwrap_err().to_string().contains("panicked"));
        assert!(!has_thread(&file));
        set("after").unwrap();
        for key in ["before", "after"] {
            assert!(pollster::block_on(is_stored(&file, key)), "{key}");
        }
        let refused = bridge::block_on(file.shared().unwrap().writer.join(Refused)).unwrap();
        assert!(refused.is_err());
        wait_until(|| is_done_here(&file));
    }

    #[test]
    fn a_file_that_was_replaced_is_opened_by_the_thread() {
        let (directory, file) = file();
        let set = |key| bridge::block_on(file.set(key, Entry::bytes("v", 1.0))).unwrap();
        set("before").unwrap();
        for suffix in ["", "-wal", "-shm"] {
            std::fs::remove_file(directory.path().join(format!("cache.db{suffix}"))).unwrap();
        }
        set("after").unwrap();
        assert!(has_thread(&file));
        let again = File::open(file.path()).unwrap();
        assert!(pollster::block_on(is_stored(&again, "after")));
        assert!(!pollster::block_on(is_stored(&again, "before")));
    }

    #[test]
    fn what_blocking_callers_leave_is_tidied_up() {
        let (_directory, file) = file();
        let pages = |name: &str| {
            let connection = Connection::open(file.path()).unwrap();
            super::super::database::pragma::<i64>(&connection, name).unwrap()
        };
        let keys: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        for key in &keys {
            let entry = Entry::bytes("x".repeat(10_000), 1.0);
            bridge::block_on(file.set(key, entry)).unwrap().unwrap();
        }
        assert!(!has_thread(&file), "there is nothing to tidy up");
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        bridge::block_on(file.delete_multi(&keys)).unwrap().unwrap();
        assert!(has_thread(&file));
        wait_until(|| {
            bridge::block_on(file.delete("none")).unwrap().unwrap();
            pages("page_count") < 150
        });
    }

    #[test]
    fn what_is_too_old_goes_when_blocking_callers_write() {
        let directory = tempfile::TempDir::new().unwrap();
        let file = File::builder(directory.path().join("cache.db"));
        let file = file.retention(Duration::from_secs(60)).open().unwrap();
        bridge::block_on(file.set("old", Entry::bytes("v", 1.0))).unwrap().unwrap();
        wait_until(|| !pollster::block_on(is_stored(&file, "old")));
    }
}
