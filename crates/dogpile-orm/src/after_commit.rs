//! What is to happen once a transaction is committed.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::thread;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Work that waits for a commit: refreshing what the transaction has changed.
///
/// The transactions of [`sqlx`](crate::sqlx), [`sea_orm`](crate::sea_orm) and
/// [`diesel`](crate::diesel) each carry one. Dropping it, as a rollback does, drops the
/// work.
#[derive(Default)]
#[must_use = "what is dropped never happens"]
pub struct AfterCommit(Vec<Work>);

impl AfterCommit {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has `work` done after the commit. It may borrow nothing of the transaction: it
    /// needs a connection of its own. What it comes to is dropped; of an error, the
    /// consequence is that old rows live until they expire.
    pub fn add<F>(&mut self, work: F)
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.0.push(Box::pin(async { drop(work.await) }));
    }

    /// The same for work that blocks.
    pub fn add_blocking<T>(&mut self, work: impl FnOnce() -> T + Send + 'static) {
        self.0.push(Box::pin(async { drop(work()) }));
    }

    /// How much work is waiting.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// It is committed: does the work in its order, behind: as a task of the caller's
    /// tokio runtime, or on a thread of its own where there is none.
    pub fn committed(self) {
        if self.is_empty() {
            return;
        }
        let all = async {
            for work in self.0 {
                work.await;
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(all)),
            Err(_) => on_a_thread(all),
        }
    }

    /// The same on a thread of its own, for work that blocks.
    pub fn committed_blocking(self) {
        if !self.is_empty() {
            on_a_thread(async {
                for work in self.0 {
                    work.await;
                }
            });
        }
    }
}

/// If there can be no thread, the work is dropped: as if the process had died.
fn on_a_thread(work: impl Future<Output = ()> + Send + 'static) {
    let thread = thread::Builder::new().name("dogpile-after-commit".into());
    drop(thread.spawn(|| pollster::block_on(work)));
}

impl fmt::Debug for AfterCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AfterCommit").field("len", &self.len()).finish_non_exhaustive()
    }
}
