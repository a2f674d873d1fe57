//! The locks that this process holds on the servers of a backend, and those that it is giving up.
//!
//! What is given up without anybody waiting for it (a dropped lease, a claim whose
//! answer was lost) goes into a queue, which one task per backend works off. While a
//! server is away the task retries, for as long as the lease may last there.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::io::AbortOnDrop;
use crate::sync::Mutex;

/// The books of one backend.
pub(crate) struct Ledger<G> {
    state: Mutex<State<G>>,
    /// The number of claims and releases that are under way.
    pub(super) under_way: watch::Sender<usize>,
    /// Something new is in the queue.
    pub(super) news: Notify,
}

struct State<G> {
    entered: u64,
    held: HashMap<u64, Entered<G>>,
    queue: VecDeque<Release<G>>,
    /// Releases that failed at the last attempt.
    failed: Vec<Release<G>>,
    /// There is a task that works the queue off.
    is_worked_off: bool,
    /// There is a task that extends the leases of what is held.
    is_renewed: bool,
    /// The process ends: nothing more is taken.
    is_closed: bool,
}

/// A lock that is held.
struct Entered<G> {
    token: Arc<G>,
    /// The moment to extend its lease; `None` while that is under way, and once it is lost.
    due: Option<Instant>,
    /// It is not extended after that; `None`: that is too far away to be told.
    until: Option<Instant>,
    /// The work that extends it, which ends when this is dropped.
    extending: Option<AbortOnDrop<()>>,
}

/// The number of a lock that was entered.
pub(super) struct Number {
    pub(super) number: u64,
    /// Nobody extends leases yet.
    pub(super) is_first: bool,
}

/// A lock to be released.
pub(super) struct Release<G> {
    pub(super) token: Arc<G>,
    /// Its lease has certainly ended by then.
    pub(super) until: Instant,
}

/// The longest queue. It fills up only while a server is away: then failing claims, most
/// of which have locked nothing, must not pile up.
pub(super) const LONGEST_QUEUE: usize = 4_096;

/// So many releases are sent together.
pub(super) const BATCH: usize = 256;

impl<G> Ledger<G> {
    pub(crate) fn new() -> Self {
        let state = State {
            entered: 0,
            held: HashMap::new(),
            queue: VecDeque::new(),
            failed: Vec::new(),
            is_worked_off: false,
            is_renewed: false,
            is_closed: false,
        };
        Self { state: Mutex::new(state), under_way: watch::Sender::new(0), news: Notify::new() }
    }

    /// Enters a lock that was taken now, whose lease is to be extended after each `period`, and not
    /// for longer than `longest`; `None` once the books are closed.
    pub(super) fn enter(
        &self,
        token: Arc<G>,
        period: Duration,
        longest: Duration,
    ) -> Option<Number> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.is_closed {
            return None;
        }
        state.entered += 1;
        let number = state.entered;
        let (due, until) = (now.checked_add(period), now.checked_add(longest));
        state.held.insert(number, Entered { token, due, until, extending: None });
        let is_first = !std::mem::replace(&mut state.is_renewed, true);
        Some(Number { number, is_first })
    }

    /// Takes out the locks whose leases are to be extended by `then`. `None`: none is held, and nobody
    /// extends leases from now on.
    pub(super) fn due(&self, then: Instant) -> Option<Vec<(u64, Arc<G>)>> {
        let mut state = self.state.lock();
        if state.held.is_empty() {
            state.is_renewed = false;
            // The room of many is not kept.
            state.held = HashMap::new();
            return None;
        }
        let mut found = Vec::new();
        for (number, entered) in &mut state.held {
            if entered.due.is_some_and(|due| due <= then) {
                entered.due = None;
                if entered.until.is_none_or(|until| then < until) {
                    found.push((*number, entered.token.clone()));
                }
            }
        }
        Some(found)
    }

    /// The lease of a lock is being extended by this work, which ends with the lock.
    pub(super) fn extending(&self, number: u64, work: AbortOnDrop<()>) {
        if let Some(entered) = self.state.lock().held.get_mut(&number) {
            entered.extending = Some(work);
        }
    }

    /// The lease of a lock may have been extended, and is to be again at `due`.
    pub(super) fn extended(&self, number: u64, due: Option<Instant>) {
        if let Some(entered) = self.state.lock().held.get_mut(&number) {
            entered.due = due;
        }
    }

    #[cfg(test)]
    pub(super) fn is_renewed(&self) -> bool {
        self.state.lock().is_renewed
    }

    /// Nobody can extend leases.
    pub(super) fn end_renewals(&self) {
        self.state.lock().is_renewed = false;
    }

    /// Strikes a lock out; false if it was before.
    pub(super) fn strike_out(&self, number: u64) -> bool {
        let entered = self.state.lock().held.remove(&number);
        entered.is_some()
    }

    /// Nothing can be entered any more: what was is to be released.
    pub(super) fn close(&self) -> Vec<Arc<G>> {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.held.drain().map(|(_, entered)| entered.token).collect()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }

    /// Puts a release into the queue; true if nobody works that off yet.
    pub(super) fn queue(&self, release: Release<G>) -> bool {
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

    /// Returns the releases to carry out next.
    pub(super) fn next(&self) -> Next<G> {
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

    pub(super) fn note_failed(&self, releases: Vec<Release<G>>) {
        self.state.lock().failed.extend(releases);
    }

    pub(super) fn retry_failed(&self) {
        let mut state = self.state.lock();
        let failed = std::mem::take(&mut state.failed);
        state.queue.extend(failed);
    }

    /// Nobody can work the queue off.
    pub(super) fn clear(&self) {
        let mut state = self.state.lock();
        state.is_worked_off = false;
        let count = state.queue.len();
        state.queue.clear();
        drop(state);
        self.end(count);
    }

    pub(super) fn begin(&self, count: usize) {
        self.under_way.send_modify(|under_way| *under_way += count);
    }

    pub(super) fn end(&self, count: usize) {
        self.under_way.send_modify(|under_way| *under_way -= count);
    }
}

pub(super) enum Next<G> {
    Batch(Vec<Release<G>>),
    /// Only what has just failed.
    Later,
    Nothing,
}
