//! Waiting for a moment on any executor, or none: one thread of the process's wakes those
//! who wait. It starts with the first of them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{PerProcess, first_number};

/// A future that ends after a time.
#[must_use = "nothing waits before it is polled"]
pub(crate) struct Delay {
    /// None if that is further away than moments can be.
    until: Option<Instant>,
    /// Its number among waiters, if it has one: no other has it in this process or its parent.
    number: Option<u64>,
}

impl Delay {
    pub(crate) fn new(time: Duration) -> Self {
        Self { until: Instant::now().checked_add(time), number: None }
    }
}

impl Future for Delay {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(until) = self.until else { return Poll::Pending };
        if until <= Instant::now() {
            return Poll::Ready(());
        }
        match Timer::of_this_process().enter(until, self.number, cx.waker()) {
            Some(number) => self.number = Some(number),
            // There is no thread to be had: its caller looks again and again.
            None => cx.waker().wake_by_ref(),
        }
        Poll::Pending
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            // Its waker is dropped after the lock.
            let _waker = Timer::of_this_process().lock().leave(number);
        }
    }
}

/// The wakers that wait for a moment.
struct Timer {
    state: Mutex<State>,
    /// There is an earlier moment than before.
    news: Condvar,
}

struct State {
    waiting: HashMap<u64, Waker>,
    /// The moments of those that wait, and of some that have left.
    moments: BinaryHeap<Reverse<(Instant, u64)>>,
    next: u64,
    has_thread: bool,
}

impl State {
    fn leave(&mut self, number: u64) -> Option<Waker> {
        const FEW: usize = 1_000;
        let left = self.waiting.remove(&number);
        if self.moments.len() > FEW + 2 * self.waiting.len() {
            let Self { waiting, moments, .. } = self;
            moments.retain(|Reverse((_, number))| waiting.contains_key(number));
        }
        left
    }

    /// Takes out the waker of somebody whose moment has come, or returns the next moment.
    fn take_due(&mut self, now: Instant) -> Result<Waker, Option<Instant>> {
        while let Some(&Reverse((until, number))) = self.moments.peek() {
            if until > now && self.waiting.contains_key(&number) {
                return Err(Some(until));
            }
            self.moments.pop();
            if let Some(waker) = self.waiting.remove(&number) {
                return Ok(waker);
            }
        }
        Err(None)
    }
}

static TIMER: PerProcess<Timer> = PerProcess::new();

impl Timer {
    fn of_this_process() -> &'static Self {
        TIMER.get_or_init(|| Self {
            state: Mutex::new(State {
                waiting: HashMap::new(),
                moments: BinaryHeap::new(),
                next: first_number(),
                has_thread: false,
            }),
            news: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `waker` woken at `until`, in place of the one that had its `number`. `None` if there
    /// is nobody to do that.
    fn enter(&'static self, until: Instant, number: Option<u64>, waker: &Waker) -> Option<u64> {
        let mut state = self.lock();
        if !state.has_thread {
            let thread = thread::Builder::new().name("dogpile-timer".into());
            thread.spawn(|| self.serve()).ok()?;
            state.has_thread = true;
        }
        let number = number.unwrap_or_else(|| {
            state.next += 1;
            state.next
        });
        let replaced = state.waiting.insert(number, waker.clone());
        if replaced.is_none() {
            state.moments.push(Reverse((until, number)));
        }
        let first = state.moments.peek();
        let is_first = first.is_some_and(|Reverse((_, first))| *first == number);
        drop(state);
        if is_first {
            self.news.notify_one();
        }
        drop(replaced);
        Some(number)
    }

    fn serve(&self) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let next = match state.take_due(now) {
                Ok(waker) => {
                    drop(state);
                    waker.wake();
                    state = self.lock();
                    continue;
                }
                Err(next) => next,
            };
            state = match next.map(|next| next.saturating_duration_since(now)) {
                Some(left) => {
                    let waited = self.news.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.news.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    #[test]
    fn an_earlier_moment_is_not_kept_by_a_later_one() {
        let mut long = Delay::new(LONG);
        let polled = Pin::new(&mut long).poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        for milliseconds in [2, 1, 0] {
            pollster::block_on(Delay::new(Duration::from_millis(milliseconds)));
        }
        assert!(Pin::new(&mut long).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }

    #[test]
    fn a_delay_that_is_dropped_leaves_nothing() {
        let mut long = Delay::new(LONG);
        let _ = Pin::new(&mut long).poll(&mut Context::from_waker(Waker::noop()));
        let number = long.number.unwrap();
        let is_waiting = || Timer::of_this_process().lock().waiting.contains_key(&number);
        assert!(is_waiting());
        drop(long);
        assert!(!is_waiting());
    }

    #[test]
    fn moments_of_those_that_left_are_cleared_away() {
        let poll = |delay: &mut Delay| {
            Pin::new(delay).poll(&mut Context::from_waker(Waker::noop())).is_pending()
        };
        for _ in 0..20 {
            let mut long: Vec<Delay> = (0..1_000).map(|_| Delay::new(LONG)).collect();
            assert!(long.iter_mut().all(poll));
        }
        let state = Timer::of_this_process().lock();
        assert!(state.moments.len() < 5_000, "{} moments", state.moments.len());
    }
}
