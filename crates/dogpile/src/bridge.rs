//! The bridge from blocking callers to the engine: polls a future once, which is all that
//! a hit in memory takes, and parks the thread only when there is something to wait
//! for.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// The call would have to wait on the very thread that what it waits for runs
/// on.
#[derive(Debug)]
pub(crate) struct Starved;

thread_local! {
    /// This thread polls for a caller that has nothing else to do.
    static WAITS: Cell<bool> = const { Cell::new(false) };
}

/// Polls `future` for a caller whose thread does nothing else until it is done.
pub(crate) fn poll_waiting<F: Future + ?Sized>(
    future: Pin<&mut F>,
    context: &mut Context<'_>,
) -> Poll<F::Output> {
    poll_as(true, future, context)
}

/// Awaits a future of a user's. Others may go on within it meanwhile, so none blocks the thread.
pub(crate) fn beside_others<F: Future + Unpin>(mut future: F) -> impl Future<Output = F::Output> {
    poll_fn(move |context| poll_as(false, Pin::new(&mut future), context))
}

fn poll_as<F: Future + ?Sized>(
    waits: bool,
    future: Pin<&mut F>,
    context: &mut Context<'_>,
) -> Poll<F::Output> {
    struct Before(bool);

    impl Drop for Before {
        fn drop(&mut self) {
            WAITS.set(self.0);
        }
    }

    let _before = Before(WAITS.replace(waits));
    future.poll(context)
}

/// May what is polled on this thread block it for a moment? Nothing else can go on here: neither a
/// task of a runtime nor anything but the future that the caller waits for.
#[cfg(feature = "redis")]
pub(crate) fn may_block() -> bool {
    WAITS.get() && tokio::runtime::Handle::try_current().is_err()
}

/// Runs `future` to its end on this thread.
///
/// On a worker of a multi-thread runtime the worker's other tasks move on to
/// another thread first. On the thread of a current-thread runtime (or in a
/// `LocalSet`) nothing could move on, so there waiting is refused.
pub(crate) fn block_on<F: Future>(future: F) -> Result<F::Output, Starved> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    if let Poll::Ready(output) = poll_waiting(future.as_mut(), &mut context) {
        return Ok(output);
    }
    let mut output = None;
    wait_for(pin!(async { output = Some(future.await) }))?;
    output.ok_or(Starved)
}

#[cfg(feature = "tokio")]
fn wait_for(future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), Starved> {
    if tokio::runtime::Handle::try_current().is_err() {
        park_until_done(future);
    } else if blocking_is_allowed() {
        tokio::task::block_in_place(|| park_until_done(future));
    } else {
        return Err(Starved);
    }
    Ok(())
}

/// `block_in_place` cannot be asked whether it would go well. It can only be tried:
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
#[expect(clippy::unnecessary_wraps, reason = "with a runtime it can be refused")]
fn wait_for(future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), Starved> {
    park_until_done(future);
    Ok(())
}

#[cfg(not(feature = "tokio"))]
pub(crate) fn blocking_is_allowed() -> bool {
    true
}

/// The wake-up of one call.
///
/// A thread has a single token to be unparked by. Calls may be nested on it, and the inner
/// one takes the token that was meant for the outer one: so each call has a flag besides.
struct Alarm {
    thread: Thread,
    rung: AtomicBool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

pub(crate) fn park_until_done(mut future: Pin<&mut dyn Future<Output = ()>>) {
    let alarm = Arc::new(Alarm { thread: thread::current(), rung: AtomicBool::new(false) });
    let waker = Waker::from(alarm.clone());
    let mut context = Context::from_waker(&waker);
    loop {
        if poll_waiting(future.as_mut(), &mut context).is_ready() {
            return;
        }
        while !alarm.rung.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// Pending until `wake` has been called with its waker.
    fn woken_by(wake: impl FnOnce(Waker) + Send + 'static) -> impl Future<Output = ()> {
        let (mut wake, woken) = (Some(wake), Arc::new(AtomicBool::new(false)));
        poll_fn(move |cx| {
            if woken.load(Ordering::SeqCst) {
                return Poll::Ready(());
            }
            // The first look of a blocking call has no waker worth waking.
            if !cx.waker().will_wake(Waker::noop())
                && let Some(wake) = wake.take()
            {
                let (woken, waker) = (woken.clone(), cx.waker().clone());
                thread::spawn(move || {
                    woken.store(true, Ordering::SeqCst);
                    wake(waker);
                });
            }
            Poll::Pending
        })
    }

    /// The outer call is woken while the inner one is parked on the same thread.
    #[test]
    fn a_nested_call_leaves_the_outer_ones_wake_up_alone() {
        let (done, ended) = mpsc::channel();
        thread::spawn(move || {
            let (parked, inner_is_parked) = mpsc::channel();
            let (went, outer_is_woken) = mpsc::channel();
            let outer = woken_by(move |waker| {
                inner_is_parked.recv().unwrap();
                waker.wake();
                went.send(()).unwrap();
            });
            let mut outer = Box::pin(outer);
            let mut inner = Some(woken_by(move |waker| {
                parked.send(()).unwrap();
                outer_is_woken.recv().unwrap();
                waker.wake();
            }));
            let both = poll_fn(move |cx| {
                let polled = outer.as_mut().poll(cx);
                if !cx.waker().will_wake(Waker::noop())
                    && let Some(inner) = inner.take()
                {
                    block_on(inner).unwrap();
                }
                polled
            });
            block_on(both).unwrap();
            done.send(()).unwrap();
        });
        ended.recv_timeout(Duration::from_secs(30)).expect("the outer call sleeps for ever");
    }
}
