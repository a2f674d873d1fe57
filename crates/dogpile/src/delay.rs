//! Waiting for a moment on any executor, or none: one thread of the process's wakes those
//! who wait. It starts with the first of them.

use std::collections::BTreeMap;
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
    /// Its place among waiters, if it has one.
    place: Option<Place>,
}

/// A moment, and a number that no other has in this process or its parent.
type Place = (Instant, u64);

impl Delay {
    pub(crate) fn new(time: Duration) -> Self {
        Self { until: Instant::now().checked_add(time), place: None }
    }
}

impl Future for Delay {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(until) = self.until else { return Poll::Pending };
        if until <= Instant::now() {
            return Poll::Ready(());
        }
        match Timer::of_this_process().enter(until, self.place, cx.waker()) {
            Some(place) => self.place = Some(place),
            // There is no thread to be had: its caller looks again and again.
            None => cx.waker().wake_by_ref(),
        }
        Poll::Pending
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            // Its waker is dropped after the lock.
            let _waker = Timer::of_this_process().lock().waiting.remove(&place);
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
    waiting: BTreeMap<Place, Waker>,
    next: u64,
    has_thread: bool,
}

static TIMER: PerProcess<Timer> = PerProcess::new();

impl Timer {
    fn of_this_process() -> &'static Self {
        TIMER.get_or_init(|| Self {
            state: Mutex::new(State {
                waiting: BTreeMap::new(),
                next: first_number(),
                has_thread: false,
            }),
            news: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `waker` woken at `until`, in place of what was at its `place`. `None` if there is
    /// nobody to do that.
    fn enter(&'static self, until: Instant, place: Option<Place>, waker: &Waker) -> Option<Place> {
        let mut state = self.lock();
        if !state.has_thread {
            let thread = thread::Builder::new().name("dogpile-timer".into());
            thread.spawn(|| self.serve()).ok()?;
            state.has_thread = true;
        }
        let place = place.unwrap_or_else(|| {
            state.next += 1;
            (until, state.next)
        });
        let replaced = state.waiting.insert(place, waker.clone());
        let is_first = state.waiting.first_key_value().is_some_and(|(first, _)| *first == place);
        drop(state);
        if is_first {
            self.news.notify_one();
        }
        drop(replaced);
        Some(place)
    }

    fn serve(&self) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let later = state.waiting.split_off(&(now, u64::MAX));
            let due = std::mem::replace(&mut state.waiting, later);
            if !due.is_empty() {
                drop(state);
                due.into_values().for_each(Waker::wake);
                state = self.lock();
                continue;
            }
            let next = state.waiting.first_key_value().map(|((until, _), _)| *until);
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
        let place = long.place.unwrap();
        let is_waiting = || Timer::of_this_process().lock().waiting.contains_key(&place);
        assert!(is_waiting());
        drop(long);
        assert!(!is_waiting());
    }
}
