//! The bridge from blocking callers to the engine: polls a future once, which is all that
//! a hit in memory takes, and parks the thread only when there is something to wait
//! for.
//!
//! A request of such a caller may be carried out on its thread, and take a while: [`is_blocking`] tells.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// Returns the waker of a blocking call's first look. It wakes nobody: a call that is not over then
/// is polled again at once, by a thread that may [block](poll_blocking).
pub fn first_look() -> &'static Waker {
    static FIRST_LOOK: LazyLock<Waker> = LazyLock::new(|| Waker::from(Arc::new(Nobody)));
    &FIRST_LOOK
}

struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

thread_local! {
    /// The waker of the innermost call that this thread blocks for.
    static BLOCKING: Cell<Option<*const ()>> = const { Cell::new(None) };
}

/// Polls by `poll`, on a thread that does nothing else until it is woken by `waker`.
pub fn poll_blocking<T>(waker: &Waker, poll: impl FnOnce(&mut Context<'_>) -> T) -> T {
    while_blocking_for(Some(waker.data()), || poll(&mut Context::from_waker(waker)))
}

/// Awaits a future of a user's. Others may go on within it meanwhile, so none blocks the thread.
pub(crate) fn beside_others<F: Future + Unpin>(mut future: F) -> impl Future<Output = F::Output> {
    poll_fn(move |context| while_blocking_for(None, || Pin::new(&mut future).poll(context)))
}

fn while_blocking_for<T>(call: Option<*const ()>, poll: impl FnOnce() -> T) -> T {
    struct Before(Option<*const ()>);

    impl Drop for Before {
        fn drop(&mut self) {
            BLOCKING.set(self.0);
        }
    }

    let _before = Before(BLOCKING.replace(call));
    poll()
}

/// Returns whether the thread that polls this may be blocked. A task may not, also on a thread that
/// runs its executor within a blocking call: it has another waker.
#[cfg(any(feature = "file", feature = "redis"))]
pub(crate) async fn is_blocking() -> bool {
    poll_fn(|cx| {
        if cx.waker().will_wake(first_look()) {
            return Poll::Pending;
        }
        Poll::Ready(BLOCKING.get() == Some(cx.waker().data()))
    })
    .await
}

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
    if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(first_look())) {
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
    loop {
        if poll_blocking(&waker, |context| future.as_mut().poll(context)).is_ready() {
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
            if !cx.waker().will_wake(first_look())
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
    #[cfg(feature = "file")]
    #[test]
    fn a_blocking_call_may_block_and_what_it_runs_for_others_may_not() {
        assert!(!pollster::block_on(is_blocking()));
        let seen = block_on(async {
            let others = beside_others(Box::pin(is_blocking())).await;
            (is_blocking().await, others, pollster::block_on(is_blocking()), is_blocking().await)
        });
        assert_eq!(seen.unwrap(), (true, false, false, true));
    }

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
                if !cx.waker().will_wake(first_look())
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
