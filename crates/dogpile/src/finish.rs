//! Work that goes on when its caller leaves.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Work that nobody waits for.
pub(crate) type Orphan = Pin<Box<dyn Future<Output = ()> + Send>>;

/// `work`, which is brought to its end by `adopt` if this is dropped before.
pub(crate) fn to_the_end<F>(work: F, adopt: fn(Orphan)) -> ToTheEnd<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    ToTheEnd { work: Some(Box::pin(work)), adopt }
}

pub(crate) struct ToTheEnd<T: Send + 'static> {
    work: Option<Pin<Box<dyn Future<Output = T> + Send + 'static>>>,
    adopt: fn(Orphan),
}

impl<T: Send + 'static> Future for ToTheEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // Taken out meanwhile: what has panicked does not go on.
        let Some(mut work) = self.work.take() else { return Poll::Pending };
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for ToTheEnd<T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            (self.adopt)(Box::pin(async { drop(work.await) }));
        }
    }
}
