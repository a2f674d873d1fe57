//! The orderly end of a process: what goes on in the background is given up, or waited for.
//!
//! Whoever keeps something that outlives a call [registers](register) it as a [`Part`].

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::delay::Delay;
use crate::process::{PerProcess, generation};
use crate::tally::Tally;

/// Something that has to be ended before the process is.
pub(crate) trait Part: Send + Sync {
    /// Takes on nothing more, and begins to give up what there is. Idempotent.
    fn close(self: Arc<Self>);

    /// Waits until everything is given up.
    fn closed(self: Arc<Self>) -> Ending;
}

pub(crate) type Ending = Pin<Box<dyn Future<Output = ()> + Send>>;

static PARTS: PerProcess<Mutex<Vec<Weak<dyn Part>>>> = PerProcess::new();

fn parts() -> MutexGuard<'static, Vec<Weak<dyn Part>>> {
    PARTS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has `part` ended by [`shutdown`], as long as it is there.
#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) fn register<P: Part + 'static>(part: &Arc<P>) {
    let part: Weak<dyn Part> = Arc::downgrade(&(part.clone() as Arc<dyn Part>));
    let mut parts = parts();
    parts.retain(|part| part.strong_count() > 0);
    parts.push(part);
}

/// The creations in the background, of all regions.
static BACKGROUND: PerProcess<Tally> = PerProcess::new();

fn background() -> &'static Tally {
    BACKGROUND.get_or_init(Tally::new)
}

/// An owner of a count of the creations in the background of this process.
pub(crate) trait Counts: Send + Sync {
    fn background(&self) -> &Tally;
}

/// Stands for a creation in the background of this generation's process until it is dropped: it
/// is counted here and by its owner.
pub(crate) struct Counted {
    generation: u32,
    owner: Arc<dyn Counts>,
}

impl Counted {
    pub(crate) fn new(owner: Arc<dyn Counts>) -> Self {
        background().begin();
        owner.background().begin();
        Self { generation: generation(), owner }
    }
}

thread_local! {
    /// The owners of the jobs around the running code, by their addresses.
    static JOBS: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

fn address<C: Counts + ?Sized>(owner: &Arc<C>) -> usize {
    Arc::as_ptr(owner).cast::<()>().addr()
}

/// Returns the number of this owner's jobs around the running code. Whoever waits there for jobs
/// would wait for these in vain.
pub(crate) fn jobs_around<C: Counts>(owner: &Arc<C>) -> usize {
    JOBS.with_borrow(|jobs| jobs.iter().filter(|job| **job == address(owner)).count())
}

fn all_jobs_around() -> usize {
    JOBS.with_borrow(Vec::len)
}

/// The code that runs is that of a job, until this is dropped.
pub(crate) struct InJob;

impl Counted {
    /// Says that this job runs on this thread from now on.
    pub(crate) fn enter(&self) -> InJob {
        // Where the thread ends, there is nobody left to be told.
        let _ = JOBS.try_with(|jobs| jobs.borrow_mut().push(address(&self.owner)));
        InJob
    }
}

impl Drop for InJob {
    fn drop(&mut self) {
        let _ = JOBS.try_with(|jobs| {
            jobs.borrow_mut().pop();
        });
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.generation == generation() {
            background().end();
            self.owner.background().end();
        }
    }
}

/// The share of the limit in which creations in the background may end and be stored. The
/// rest is for giving up what is held.
const FOR_BACKGROUND: f64 = 0.75;

/// A longer limit is as good as none.
const LONGEST: Duration = Duration::from_secs(24 * 365 * 3_600);

/// Waits for creations in the background, and gives up the locks on servers that this process
/// holds, so that other processes need not wait for the rest of their leases. Returns whether
/// all that was done within `limit`.
///
/// Creations that go on in the background have three quarters of `limit` to end and to be
/// stored: those of all regions of the process.
///
/// Call it as the last thing before the process ends: after SIGTERM, when nobody is served
/// any more. It concerns every open backend of the process:
///
/// - Creations that are still going on lose their locks. Their own callers get what they
///   create; it is not stored.
/// - From this call on, no lock is taken. Calls that find no fresh value run their creators
///   and store nothing; a lock that is asked for by itself is an error. Backends that are
///   opened later are not concerned.
/// - Releases that are under way are sent and answered.
///
/// If a server is away, its locks remain and the answer is false. They end by themselves
/// with their leases, 30 seconds after their last renewal by default. So do those of a
/// process that ends without this: by a return from `main`, by `std::process::exit` or by a
/// signal. Locks in files are given up by the kernel, whatever way the process ends.
///
/// Cancel safe: what was begun goes on in the background.
///
/// ```
/// use std::time::Duration;
///
/// # pollster::block_on(async {
/// if !dogpile::shutdown(Duration::from_secs(5)).await {
///     eprintln!("some locks of this process remain until their leases end");
/// }
/// # });
/// ```
pub async fn shutdown(limit: Duration) -> bool {
    let limit = limit.min(LONGEST);
    let (began, own) = (Instant::now(), all_jobs_around());
    let has_ended = ends_within(limit.mul_f64(FOR_BACKGROUND), background().at_most(own)).await;
    let parts: Vec<Arc<dyn Part>> = parts().iter().filter_map(Weak::upgrade).collect();
    for part in &parts {
        part.clone().close();
    }
    let closed = async {
        for part in parts {
            part.closed().await;
        }
    };
    let is_given_up = ends_within(limit.saturating_sub(began.elapsed()), closed).await;
    has_ended && is_given_up
}

/// Waits for `work`. Returns whether it has ended within `limit`.
pub(crate) async fn ends_within(limit: Duration, work: impl Future<Output = ()>) -> bool {
    let mut work = pin!(work);
    let mut timer = Delay::new(limit);
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(true),
        Poll::Pending => Pin::new(&mut timer).poll(cx).map(|()| false),
    })
    .await
}
