//! What this process holds on the servers of a backend, and what it is giving up.
//!
//! What is given up without anybody waiting for it (a dropped lease, a claim whose
//! answer was lost) goes into a queue, which one task per backend works off. While a
//! server is away the task retries, for as long as the lease may last there.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::{Notify, watch};

use super::io::{self, AbortOnDrop};
use super::lease::Leases;
use crate::shutdown::{Ending, Part};
use crate::sync::Mutex;

/// The books of one backend.
pub(crate) struct Ledger<G> {
    state: Mutex<State<G>>,
    /// How many claims and releases are under way.
    under_way: watch::Sender<usize>,
    /// Something new is in the queue.
    news: Notify,
}

struct State<G> {
    entered: u64,
    held: HashMap<u64, Entered<G>>,
    queue: VecDeque<Release<G>>,
    /// What could not be released at the last attempt.
    failed: Vec<Release<G>>,
    /// There is a task that works the queue off.
    is_worked_off: bool,
    /// The process ends: nothing more is taken.
    is_closed: bool,
}

/// A lock that is held, and renewed until this is dropped.
struct Entered<G> {
    grip: Arc<G>,
    _renewal: Option<AbortOnDrop<()>>,
}

/// A lock to be released.
struct Release<G> {
    grip: Arc<G>,
    /// Its lease has certainly ended by then.
    until: Instant,
}

/// The longest queue. It fills up only while a server is away: then failing claims, most
/// of which have locked nothing, must not pile up.
const LONGEST_QUEUE: usize = 4_096;

/// So many releases are sent together.
const BATCH: usize = 256;

/// Between attempts to release what could not be released.
const PAUSE: Duration = Duration::from_millis(200);

impl<G> Ledger<G> {
    pub(crate) fn new() -> Self {
        let state = State {
            entered: 0,
            held: HashMap::new(),
            queue: VecDeque::new(),
            failed: Vec::new(),
            is_worked_off: false,
            is_closed: false,
        };
        Self { state: Mutex::new(state), under_way: watch::Sender::new(0), news: Notify::new() }
    }

    /// Enters a lock that was taken; `None` once the books are closed.
    pub(super) fn enter(&self, grip: Arc<G>, renewal: Option<AbortOnDrop<()>>) -> Option<u64> {
        let mut state = self.state.lock();
        if state.is_closed {
            return None;
        }
        state.entered += 1;
        let number = state.entered;
        state.held.insert(number, Entered { grip, _renewal: renewal });
        Some(number)
    }

    /// Strikes a lock out; false if it was before.
    pub(super) fn strike_out(&self, number: u64) -> bool {
        let entered = self.state.lock().held.remove(&number);
        entered.is_some()
    }

    /// Nothing can be entered any more: what was is to be released.
    fn close(&self) -> Vec<Arc<G>> {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.held.drain().map(|(_, entered)| entered.grip).collect()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }

    /// Puts a release into the queue; true if nobody works that off yet.
    fn queue(&self, release: Release<G>) -> bool {
        let mut state = self.state.lock();
        if state.queue.len() + state.failed.len() >= LONGEST_QUEUE {
            return false;
        }
        state.queue.push_back(release);
        let is_first = !std::mem::replace(&mut state.is_worked_off, true);
        drop(state);
        self.begin(1);
        self.news.notify_one();
        is_first
    }

    /// What is to be released next.
    fn next(&self) -> Next<G> {
        let mut state = self.state.lock();
        let count = state.queue.len().min(BATCH);
        if count > 0 {
            return Next::Batch(state.queue.drain(..count).collect());
        }
        if !state.failed.is_empty() {
            return Next::Later;
        }
        state.is_worked_off = false;
        Next::Nothing
    }

    fn note_failed(&self, releases: Vec<Release<G>>) {
        self.state.lock().failed.extend(releases);
    }

    fn retry_failed(&self) {
        let mut state = self.state.lock();
        let failed = std::mem::take(&mut state.failed);
        state.queue.extend(failed);
    }

    /// Nobody can work the queue off.
    fn clear(&self) {
        let mut state = self.state.lock();
        state.is_worked_off = false;
        let count = state.queue.len();
        state.queue.clear();
        drop(state);
        self.end(count);
    }

    fn begin(&self, count: usize) {
        self.under_way.send_modify(|under_way| *under_way += count);
    }

    fn end(&self, count: usize) {
        self.under_way.send_modify(|under_way| *under_way -= count);
    }
}

enum Next<G> {
    Batch(Vec<Release<G>>),
    /// Only what has just failed.
    Later,
    Nothing,
}

/// A claim that is under way.
pub(super) struct UnderWay<L: Leases>(Arc<L>);

impl<L: Leases> UnderWay<L> {
    pub(super) fn new(leases: &Arc<L>) -> Self {
        leases.ledger().begin(1);
        Self(leases.clone())
    }
}

impl<L: Leases> Drop for UnderWay<L> {
    fn drop(&mut self) {
        self.0.ledger().end(1);
    }
}

/// Releases a lock in the background.
pub(super) fn release<L: Leases>(leases: &Arc<L>, grip: Arc<L::Grip>) {
    let until = Instant::now().checked_add(leases.terms().lease);
    let until = until.unwrap_or_else(|| Instant::now() + Duration::from_hours(24));
    let nobody_works = leases.ledger().queue(Release { grip, until });
    if nobody_works && io::spawn(work_off(leases.clone())).is_err() {
        leases.ledger().clear();
    }
}

/// Releases what is in the queue, until it is empty.
async fn work_off<L: Leases>(leases: Arc<L>) {
    let ledger = leases.ledger();
    loop {
        match ledger.next() {
            Next::Nothing => return,
            Next::Later => {
                if tokio::time::timeout(PAUSE, ledger.news.notified()).await.is_err() {
                    ledger.retry_failed();
                }
            }
            Next::Batch(batch) => {
                let count = batch.len();
                let released = join_all(batch.iter().map(|one| leases.release(&one.grip))).await;
                let now = Instant::now();
                let failed: Vec<_> = batch
                    .into_iter()
                    .zip(released)
                    .filter(|(one, released)| released.is_err() && now < one.until)
                    .map(|(one, _)| one)
                    .collect();
                let done = count - failed.len();
                ledger.note_failed(failed);
                ledger.end(done);
            }
        }
    }
}

/// A backend's part in the end of the process: it gives up the locks that it holds.
impl<L: Leases> Part for L {
    fn close(self: Arc<Self>) {
        for grip in self.ledger().close() {
            release(&self, grip);
        }
    }

    fn closed(self: Arc<Self>) -> Ending {
        Box::pin(async move {
            let mut under_way = self.ledger().under_way.subscribe();
            // The sender is in the ledger.
            let _ = under_way.wait_for(|count| *count == 0).await;
        })
    }
}
