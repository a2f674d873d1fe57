//! A count of what goes on, and the wish to be told when all of it, or all but a few, has ended.

use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// A count with the wakers of those that wait until it is low enough.
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
        let waiting = std::mem::take(&mut counting.waiting);
        drop(counting);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Waits until nothing goes on.
    pub(crate) async fn zero(&self) {
        self.at_most(0).await;
    }

    /// Waits until no more than so many go on.
    pub(crate) async fn at_most(&self, left: usize) {
        poll_fn(|cx| {
            let mut counting = self.counting();
            if counting.going_on <= left {
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
