//! Running a creator: within its limit, and so that its panic comes after the key was given up.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::creating;
use super::flight::{CreationLimit, Flight, LockError, Stop, Stopped};

/// The message of a panic.
pub(crate) type Panic = Box<dyn Any + Send>;

/// The end of a creator.
enum Ended<T> {
    Answered(T),
    TooSlow(Duration),
    Panicked(Panic),
}

/// Runs the creator for the keys `indexes`.
pub(super) async fn run_creator<S, C, F>(
    flight: &S,
    create: &mut C,
    indexes: Vec<usize>,
) -> Result<Result<Vec<S::Made>, Stopped<S>>, Panic>
where
    S: Flight,
    C: FnMut(Vec<usize>) -> F,
    F: Future<Output = Result<Vec<S::Made>, S::Failure>>,
{
    let asked = indexes.len();
    let first = indexes.first().copied().unwrap_or_default();
    let creation = flight.creation(&indexes);
    let asked_for = indexes.clone();
    // The closure itself may ask for the key too, before its future runs.
    let work = creating::inside(creation, async { create(indexes).await });
    let made = match end_of(work, flight.creation_limit()).await {
        Ended::Answered(made) => made.map_err(Stop::Creator),
        Ended::TooSlow(limit) => {
            let error = LockError::CreationTimeout { limit };
            flight.note_unanswered(&asked_for, &error.to_string());
            return Ok(Err(Stop::TooSlow(flight.error(first, error))));
        }
        Ended::Panicked(panic) => {
            flight.note_unanswered(&asked_for, "it panicked");
            return Err(panic);
        }
    };
    Ok(made.and_then(|made| {
        if made.len() == asked {
            return Ok(made);
        }
        let error = LockError::WrongCount { asked, returned: made.len() };
        Err(flight.error(first, error).into())
    }))
}

/// Awaits `work` to its end, or drops it at its limit.
async fn end_of<F>(work: F, mut limit: Option<CreationLimit>) -> Ended<F::Output>
where
    F: Future + Unpin,
{
    let mut work = Some(work);
    poll_fn(|cx| {
        // Nobody uses after a panic what the creator left behind: its caller gets the panic.
        let polled = catch_unwind(AssertUnwindSafe(|| match &mut work {
            Some(work) => Pin::new(work).poll(cx),
            None => Poll::Pending,
        }));
        match polled {
            Ok(Poll::Ready(made)) => return Poll::Ready(Ended::Answered(made)),
            Err(panic) => return Poll::Ready(Ended::Panicked(panic)),
            Ok(Poll::Pending) => {}
        }
        let Some(CreationLimit { limit, timer }) = &mut limit else { return Poll::Pending };
        timer.as_mut().poll(cx).map(|()| {
            let dropped = catch_unwind(AssertUnwindSafe(|| drop(work.take())));
            dropped.map_or_else(Ended::Panicked, |()| Ended::TooSlow(*limit))
        })
    })
    .await
}
