//! A count of what goes on, and the wish to be told when all of it has ended.

use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// A count with the wakers of those that wait until it is zero.
#[derive(Debug)]
pub(crate) struct Tally(Mutex<Counting>);

#[derive(Debug)]
struct Counting {
    going_on: usize,
    waiting: Vec<Waker>,
}

impl Tally {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Counting { going_on: 0, waiting: Vec::new() }))
    }

    pub(crate) fn begin(&self) {
        self.counting().going_on += 1;
    }

    pub(crate) fn end(&self) {
        let mut counting = self.counting();
        counting.going_on -= 1;
        let is_zero = counting.going_on == 0;
        let waiting = if is_zero { std::mem::take(&mut counting.waiting) } else { Vec::new() };
        drop(counting);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Waits until nothing goes on.
    pub(crate) async fn zero(&self) {
        poll_fn(|cx| {
            let mut counting = self.counting();
            if counting.going_on == 0 {
                return Poll::Ready(());
            }
            counting.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn counting(&self) -> MutexGuard<'_, Counting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
