//! A creator of one value, which runs once: for the lock, or for its caller alone where the cache
//! cannot help.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::values::{BoxFuture, Creator, Failed, OneCreator};
use crate::sync::Mutex;
use crate::value::Object;

type Work<'a> = BoxFuture<'a, Result<Object, Failed>>;

/// A creator of one value on its way to the lock.
pub(super) struct Once<'a> {
    stage: Arc<Mutex<Stage<'a>>>,
    /// Its call goes on with it if the lock drops it.
    goes_on: bool,
}

/// The progress of the creator, while the lock has nothing of it.
enum Stage<'a> {
    New(OneCreator<'a>),
    /// The lock has dropped it before its end.
    Dropped(Work<'a>),
    Taken,
    /// It is not to go on.
    Cancelled,
}

impl<'a> Once<'a> {
    pub(super) fn new(creator: OneCreator<'a>, goes_on: bool) -> Self {
        Self { stage: Arc::new(Mutex::new(Stage::New(creator))), goes_on }
    }

    /// The form that the lock takes it in. One key is won once, so the
    /// creator is there; a second time it would be refused for creating
    /// nothing.
    pub(super) fn for_lock(&self) -> Creator<'a> {
        let (stage, goes_on) = (self.stage.clone(), self.goes_on);
        Box::new(move |_| {
            let taken = std::mem::replace(&mut *stage.lock(), Stage::Taken);
            let stage = stage.clone();
            Box::pin(async move {
                match taken {
                    Stage::New(creator) => {
                        let work = Some(creator());
                        Running { work, stage, goes_on }.await.map(|value| vec![value])
                    }
                    _ => Ok(Vec::new()),
                }
            })
        })
    }

    /// Returns what a call holds while the lock has its creator. If the call is dropped, this goes
    /// first, and the creator ends with what the lock has of it, before its key is free.
    pub(super) fn cancels(&self) -> Cancels<'a> {
        Cancels(self.stage.clone())
    }

    /// Returns what is left to do of the creator, if the lock did not finish it.
    pub(super) fn rest(&self) -> Option<Work<'a>> {
        match std::mem::replace(&mut *self.stage.lock(), Stage::Taken) {
            Stage::New(creator) => Some(Box::pin(async move { creator().await })),
            Stage::Dropped(work) => Some(work),
            Stage::Taken | Stage::Cancelled => None,
        }
    }
}

/// The call that a creator belongs to.
pub(super) struct Cancels<'a>(Arc<Mutex<Stage<'a>>>);

impl Drop for Cancels<'_> {
    fn drop(&mut self) {
        let mut stage = self.0.lock();
        if matches!(*stage, Stage::Taken) {
            *stage = Stage::Cancelled;
        }
    }
}

/// A creator that runs for the lock. Dropped before its end, it can go on.
struct Running<'a> {
    /// `None` after its end.
    work: Option<Work<'a>>,
    stage: Arc<Mutex<Stage<'a>>>,
    goes_on: bool,
}

impl Future for Running<'_> {
    type Output = Result<Object, Failed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // After a panic it is not to go on.
        let Some(mut work) = self.work.take() else { return Poll::Pending };
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let Some(work) = self.work.take().filter(|_| self.goes_on) else { return };
        let mut stage = self.stage.lock();
        if matches!(*stage, Stage::Cancelled) {
            drop(stage);
            drop(work);
        } else {
            *stage = Stage::Dropped(work);
        }
    }
}
