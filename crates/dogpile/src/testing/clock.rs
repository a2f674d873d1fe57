//! A clock that stands still until a test moves it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};

/// A clock moved by hand. Clones are the same clock.
///
/// In a [`Scope`](super::Scope) regions have one; others are given it when they are configured.
///
/// ```
/// use std::time::Duration;
/// use dogpile::{Config, Region, backend::Memory};
/// use dogpile::testing::ManualClock;
///
/// let clock = ManualClock::new();
/// let region = Region::new("r");
/// let config = Config::new(Memory::new(10)).expiration(Duration::from_secs(60));
/// region.configure(config.clock(clock.clone()))?;
///
/// region.blocking().set("k", &1)?;
/// clock.advance(Duration::from_secs(61));
/// assert_eq!(region.blocking().get::<i32>("k")?, None);
/// # Ok::<(), dogpile::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    now: Timestamp,
    sleepers: Vec<Waker>,
}

impl ManualClock {
    /// Returns a clock that shows some time in November 2025.
    pub fn new() -> Self {
        Self::at(1_763_700_000.25)
    }

    /// Returns a clock that shows `now`, in epoch seconds.
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(State { now, sleepers: Vec::new() })))
    }

    /// Moves the clock forward, and wakes the sleepers whose time has come.
    pub fn advance(&self, by: Duration) {
        self.set(self.now() + by.as_secs_f64());
    }

    /// Sets the clock, forward or back.
    pub fn set(&self, now: Timestamp) {
        let sleepers = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.now = now;
            std::mem::take(&mut state.sleepers)
        };
        sleepers.into_iter().for_each(Waker::wake);
    }

    /// Returns how many tasks are sleeping by this clock.
    pub fn sleepers(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sleepers.len()
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).now
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let clock = self.clone();
        let until = self.now() + duration.as_secs_f64();
        Box::pin(poll_fn(move |cx| {
            let mut state = clock.0.lock().unwrap_or_else(PoisonError::into_inner);
            if state.now >= until {
                return Poll::Ready(());
            }
            if !state.sleepers.iter().any(|waker| waker.will_wake(cx.waker())) {
                state.sleepers.push(cx.waker().clone());
            }
            Poll::Pending
        }))
    }
}
