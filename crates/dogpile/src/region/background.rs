//! Creation in the background: who runs it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::Region;
use super::kind::Kind;
use crate::bridge::{beside_others, block_on};
use crate::finish::Orphan;
use crate::shutdown::{Counted, Counts as _, ends_within, jobs_around};
use crate::sync::Mutex;
use crate::tally::Tally;

/// Runs the creations of [background](crate::Entry::get_or_create_in_background) calls. It is only
/// ever given one where a stale value exists, which the caller has already.
///
/// Any `Fn(Job)` is one.
pub trait Runner: Send + Sync + 'static {
    /// Sees to it that `job` is run, and returns at once.
    fn run(&self, job: Job);
}

impl<F: Fn(Job) + Send + Sync + 'static> Runner for F {
    fn run(&self, job: Job) {
        self(job);
    }
}

/// A creation on its way to the background: a future that creates, stores and
/// gives the key up. It may be run on any task or thread. Dropping it, before
/// or while it runs, gives the key up to the next caller.
///
/// Until it runs, the key is not withheld from anybody: a caller who would have to wait for
/// it, since there is no value any more, takes the key over, and a change of the key in this
/// process takes it away. A job that has lost its keys ends without calling its creator.
#[must_use = "a job does nothing until it is polled, and gives its keys up when it is dropped"]
pub struct Job {
    pub(crate) region: String,
    pub(crate) keys: Vec<String>,
    pub(crate) work: Pin<Box<dyn Future<Output = ()> + Send>>,
    pub(crate) counted: Counted,
}

impl Job {
    /// The name of the region it is for.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The keys it creates.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Runs it on this thread to its end.
    pub fn run(self) {
        // Refused only where waiting would never end; the key is given up.
        let _ = block_on(beside_others(self));
    }
}

impl Future for Job {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let _inside = self.counted.enter();
        self.work.as_mut().poll(cx)
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("region", &self.region).finish_non_exhaustive()
    }
}

/// The runner of a region that was given none: a task of the tokio runtime
/// that the call came from, a thread of its own outside of one.
#[derive(Debug, Clone, Copy, Default)]
pub struct DefaultRunner;

impl Runner for DefaultRunner {
    fn run(&self, job: Job) {
        // Without a thread the job is dropped, and the next caller creates.
        spawn("dogpile-creation", Box::pin(job));
    }
}

impl<K: Kind> Region<K> {
    /// Waits until the creations of this region that go on in the background have ended and are
    /// stored. Returns whether that was within `limit`.
    ///
    /// Their jobs go on if not. Called by the creator of one of them, it waits for the others. At the end of a process, [`shutdown`](crate::shutdown()) waits for
    /// those of all regions, and gives up locks.
    ///
    /// Cancel safe.
    pub async fn drain(&self, limit: Duration) -> bool {
        let state = self.state();
        let shared = state.shared();
        let own = jobs_around(shared);
        ends_within(limit, shared.background().at_most(own)).await
    }
}

/// The end of a job, on its way to a caller who may wait for it.
pub(super) struct Report<R>(Arc<Reported<R>>);

struct Reported<R> {
    result: Mutex<Option<R>>,
    going_on: Tally,
}

/// Returns what tells of a job's end, and who is told: `None`, if the other was dropped before.
pub(super) fn report<R>() -> (Report<R>, impl Future<Output = Option<R>>) {
    let reported = Arc::new(Reported { result: Mutex::new(None), going_on: Tally::new() });
    reported.going_on.begin();
    let report = Report(reported.clone());
    let told = async move {
        reported.going_on.zero().await;
        reported.result.lock().take()
    };
    (report, told)
}

impl<R> Report<R> {
    pub(super) fn tell(self, result: R) {
        *self.0.result.lock() = Some(result);
    }
}

impl<R> Drop for Report<R> {
    fn drop(&mut self) {
        self.0.going_on.end();
    }
}

/// Runs `work` as a task of the tokio runtime that this is called from, or else on a thread
/// of that name. Without a thread it is dropped.
pub(crate) fn spawn(thread: &str, work: Orphan) {
    #[cfg(feature = "tokio")]
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(work);
        return;
    }
    let thread = std::thread::Builder::new().name(thread.to_owned());
    // Waiting is refused on a runtime's thread only.
    let _ = thread.spawn(move || drop(block_on(beside_others(work))));
}
