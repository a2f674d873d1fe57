//! Which keys the code that is running now is creating.
//!
//! A creator that asks for its own key would wait for itself for ever. While
//! a creator's future is polled, its keys stand on a stack of this thread; a
//! call that is about to wait for one of them finds it there. What a creator
//! spawns onto another task is not seen.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::sync::thread_local;

/// The keys of one creation, and the lock they belong to.
#[derive(Debug)]
pub(crate) struct Creation {
    /// Tells locks apart: the address of what belongs to one of them alone.
    pub(crate) owner: usize,
    pub(crate) keys: Vec<String>,
}

thread_local! {
    static RUNNING: RefCell<Vec<Arc<Creation>>> = const { RefCell::new(Vec::new()) };
}

/// Does the running code create anything?
pub(crate) fn is_any_running() -> bool {
    RUNNING.with(|running| !running.borrow().is_empty())
}

/// Returns the number of creations of `key` around the running code.
pub(crate) fn depth(owner: usize, key: &str) -> usize {
    RUNNING.with(|running| {
        let running = running.borrow();
        let own = running.iter().filter(|creation| creation.owner == owner);
        own.filter(|creation| creation.keys.iter().any(|own| own == key)).count()
    })
}

/// Runs `future` as the creation of `creation`'s keys.
pub(crate) fn inside<F: Future>(creation: Creation, future: F) -> Inside<F> {
    Inside { creation: Arc::new(creation), future: Some(Box::pin(future)) }
}

pub(crate) struct Inside<F> {
    creation: Arc<Creation>,
    /// `None` after its end.
    future: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for Inside<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _entered = Entered::new(self.creation.clone());
        let Some(future) = &mut self.future else { return Poll::Pending };
        let polled = future.as_mut().poll(cx);
        if polled.is_ready() {
            self.future = None;
        }
        polled
    }
}

/// A creator that is dropped may ask for its key as well.
impl<F> Drop for Inside<F> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            let _entered = Entered::new(self.creation.clone());
            drop(future);
        }
    }
}

/// Leaves the stack as it was, also when the creator panics.
struct Entered;

impl Entered {
    fn new(creation: Arc<Creation>) -> Self {
        // Where the thread ends, there is nobody left to be told.
        let _ = RUNNING.try_with(|running| running.borrow_mut().push(creation));
        Self
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let _ = RUNNING.try_with(|running| {
            running.borrow_mut().pop();
        });
    }
}
