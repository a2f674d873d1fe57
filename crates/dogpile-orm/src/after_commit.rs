//! Work to be done once a transaction is committed.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::thread;

use dogpile::__scope::{carried, carried_blocking};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

enum Work {
    Async(Pin<Box<dyn Future<Output = ()> + Send>>),
    Blocking(Box<dyn FnOnce() + Send>),
}

impl Work {
    /// The same work in the scope of the test that it comes from, if it does.
    fn in_scope(self) -> Self {
        match self {
            Self::Async(work) => Self::Async(carried(work)),
            Self::Blocking(work) => Self::Blocking(carried_blocking(work)),
        }
    }
}

/// Work that waits for a commit: refreshing what the transaction has changed.
///
/// The transactions of [`sqlx`](crate::sqlx), [`sea_orm`](crate::sea_orm),
/// [`diesel`](crate::diesel) and [`diesel_async`](crate::diesel_async) each carry one.
/// Dropping it, as a rollback does, drops the work.
#[derive(Default)]
#[must_use = "what is dropped never happens"]
pub struct AfterCommit(Vec<Work>);

impl AfterCommit {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has `work` done after the commit. It may borrow nothing of the transaction: it
    /// needs a connection of its own. What it comes to is dropped; of an error, or a
    /// panic, the consequence is that old rows live until they expire. (A refresh that
    /// fails is logged and counted by its region. A deletion that is to be done as soon as the
    /// cache can be reached is
    /// [`Entry::delete_in_background`](dogpile::region::Entry::delete_in_background).)
    pub fn add<F>(&mut self, work: F)
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.0.push(Work::Async(Box::pin(async { drop(work.await) })));
    }

    /// The same for work that blocks.
    pub fn add_blocking<T>(&mut self, work: impl FnOnce() -> T + Send + 'static) {
        self.0.push(Work::Blocking(Box::new(|| drop(work()))));
    }

    /// Returns the number of works that wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// It is committed: does the work in its order, in the background, on the caller's tokio runtime;
    /// where there is none, on a thread of its own, where async work that needs tokio
    /// cannot be done.
    pub fn committed(self) {
        drop(self.start());
    }

    /// The same, and waits until it is done. Dropping the future does not stop the work.
    pub async fn committed_and_done(self) {
        // An error means that the runtime, and the work with it, has ended.
        let _ = self.start().await;
    }

    /// Tells when it is done.
    fn start(self) -> oneshot::Receiver<()> {
        let (done, is_done) = oneshot::channel();
        let all: Vec<Work> = self.0.into_iter().map(Work::in_scope).collect();
        match Handle::try_current() {
            _ if all.is_empty() => drop(done.send(())),
            Ok(runtime) => drop(runtime.spawn(async {
                in_turn(all).await;
                done.send(())
            })),
            Err(_) => on_a_thread(all, done),
        }
        is_done
    }
}

/// Each as a task of its own: a panic of one is no reason to drop the next.
async fn in_turn(all: Vec<Work>) {
    for work in all {
        let _ = match work {
            Work::Async(work) => tokio::spawn(work).await,
            Work::Blocking(work) => tokio::task::spawn_blocking(work).await,
        };
    }
}

/// If there can be no thread, the work is dropped: as if the process had died.
fn on_a_thread(all: Vec<Work>, done: oneshot::Sender<()>) {
    let run = |work| match work {
        Work::Async(work) => pollster::block_on(work),
        Work::Blocking(work) => work(),
    };
    let thread = thread::Builder::new().name("dogpile-after-commit".into());
    drop(thread.spawn(move || {
        for work in all {
            let _ = catch_unwind(AssertUnwindSafe(|| run(work)));
        }
        done.send(())
    }));
}

impl fmt::Debug for AfterCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AfterCommit").field("len", &self.len()).finish_non_exhaustive()
    }
}
