//! The bridge from blocking callers to the engine: polls a future once, which
//! is all that a hit in memory takes, and parks the thread only when there is
//! really something to wait for.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// The call would have to wait on the very thread that what it waits for runs
/// on.
#[derive(Debug)]
pub(crate) struct Starved;

/// Runs `future` to its end on this thread.
///
/// On a worker of a multi-thread runtime the worker's other tasks move on to
/// another thread first. On the thread of a current-thread runtime (or in a
/// `LocalSet`) nothing could move on, so there waiting is refused.
pub(crate) fn block_on<F: Future>(future: F) -> Result<F::Output, Starved> {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => wait_for(future),
    }
}

#[cfg(feature = "tokio")]
fn wait_for<F: Future>(future: Pin<&mut F>) -> Result<F::Output, Starved> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Ok(park_until_done(future));
    }
    if !blocking_is_allowed() {
        return Err(Starved);
    }
    Ok(tokio::task::block_in_place(|| park_until_done(future)))
}

/// Whether `block_in_place` would go well can only be found out by trying:
/// besides runtime workers there are the runtime's blocking threads, where it
/// does, and local sets, where it does not.
#[cfg(feature = "tokio")]
pub(crate) fn blocking_is_allowed() -> bool {
    use tokio::runtime::{Handle, RuntimeFlavor};

    let current_thread =
        |runtime: Handle| matches!(runtime.runtime_flavor(), RuntimeFlavor::CurrentThread);
    match Handle::try_current() {
        Err(_) => true,
        // The trial's panic could not be caught.
        Ok(runtime) if cfg!(panic = "abort") => !current_thread(runtime),
        Ok(_) => std::panic::catch_unwind(|| tokio::task::block_in_place(|| ())).is_ok(),
    }
}

#[cfg(not(feature = "tokio"))]
fn wait_for<F: Future>(future: Pin<&mut F>) -> Result<F::Output, Starved> {
    Ok(park_until_done(future))
}

#[cfg(not(feature = "tokio"))]
pub(crate) fn blocking_is_allowed() -> bool {
    true
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn park_until_done<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            // A wake-up before this is kept by the thread's token.
            Poll::Pending => thread::park(),
        }
    }
}
