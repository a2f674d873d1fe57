//! Work that goes on when its caller leaves.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::io;

/// `work`, which the I/O thread brings to its end if this is dropped before.
pub(crate) fn to_the_end<F>(work: F) -> ToTheEnd<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    ToTheEnd(Some(Box::pin(work)))
}

pub(crate) struct ToTheEnd<T: Send + 'static>(
    Option<Pin<Box<dyn Future<Output = T> + Send + 'static>>>,
);

impl<T: Send + 'static> Future for ToTheEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        // Taken out meanwhile: what has panicked does not go on.
        let Some(mut work) = self.0.take() else { return Poll::Pending };
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() {
            self.0 = Some(work);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for ToTheEnd<T> {
    fn drop(&mut self) {
        if let Some(work) = self.0.take() {
            // Without the thread nothing can be sent anyway.
            let _ = io::spawn(work);
        }
    }
}
