//! Calls that are driven by hand, on a clock that is.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Polls `call` until nothing goes on any more.
pub(crate) async fn settle<F: Future>(call: &mut Pin<Box<F>>) -> Poll<F::Output> {
    for _ in 0..20 {
        let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if polled.is_ready() {
            return polled;
        }
        tokio::task::yield_now().await;
    }
    Poll::Pending
}
