//! The driver around the decision: does what [`decide`] says, for one key or
//! many at once, over anything that can read, claim and store.
//!
//! ```text
//!             +--> resolve what the reading decides
//!             |        |
//!             |    claim the rest, without waiting
//!             |        |
//!             |    create what was won (or hand it to the runner)
//!             |        |
//!             +--- wait for whichever of the rest moves first
//! ```
//!
//! Nothing is ever waited for while a key is held that was won: what is won is
//! created at once, the rest waited for afterwards. So two callers with
//! overlapping keys finish in any order.

use std::future::{Future, poll_fn};
use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::creating::{self, Creation};
use super::creator::{CreationLimit, run_creator};
use super::decision::{Action, MutexState, decide};
use super::keyed::Handed;
use crate::error::BackendError;
use crate::freshness::Freshness;

/// An error of the lock itself.
#[derive(Debug)]
#[non_exhaustive]
pub enum LockError {
    /// A creator asked for the key that it is creating.
    RecursiveCreation,
    /// The key was still held elsewhere when the wait timeout ended.
    WaitTimeout {
        /// The limit.
        limit: Duration,
    },
    /// The creation took longer than it may.
    CreationTimeout {
        /// The limit.
        limit: Duration,
    },
    /// The mutex, or the store behind it, failed.
    Mutex(BackendError),
    /// A multi-creator returned another number of values than it was asked
    /// for.
    WrongCount {
        /// The number of keys that it was given.
        asked: usize,
        /// The number of values that came back.
        returned: usize,
    },
}

impl std::fmt::Display for LockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RecursiveCreation => {
                f.write_str("a creator asked for the key that it is creating")
            }
            Self::WaitTimeout { limit } => {
                write!(f, "the key was still being created elsewhere after {limit:?}")
            }
            Self::CreationTimeout { limit } => {
                write!(f, "the creation took longer than {limit:?}")
            }
            Self::Mutex(source) => write!(f, "the mutex failed: {source}"),
            Self::WrongCount { asked, returned } => {
                write!(f, "the creator was given {asked} keys and returned {returned} values")
            }
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Mutex(source) => source.source(),
            _ => None,
        }
    }
}

/// The driver's view of some keys, by their index, in a store with a
/// mutex.
pub(crate) trait Flight: Sync {
    /// A value as callers get it.
    type Value: Clone + Send;
    /// A value as creators return it.
    type Made: Send;
    /// Holding one key.
    type Guard: Send;
    /// The part of the reading that a claim needs to know.
    type Seen: Send;

    /// An error, as this flight's callers know them.
    type Error: Send;
    /// An error of their creators.
    type Failure: Send;

    /// Returns the callers' error for an error of the lock at the key `index`.
    fn error(&self, index: usize, error: LockError) -> Self::Error;

    /// Which lock this is, and its keys.
    fn creation(&self, indexes: &[usize]) -> Creation;

    /// Tries to get the keys without waiting; for each either the guard, with
    /// the certainty that the reading before still holds, or what changed, or
    /// a way to wait.
    fn claim<'s>(
        &'s self,
        keys: &[(usize, &Self::Seen)],
    ) -> impl Future<Output = Result<Vec<Claim<'s, Self>>, Self::Error>> + Send;

    /// Returns the time that a creation may take, from now on.
    fn creation_limit(&self) -> Option<CreationLimit> {
        None
    }

    /// The creation of these keys ended without an answer of its creator, for this reason.
    fn note_unanswered(&self, _indexes: &[usize], _why: &str) {}

    /// A creation under this guard begins.
    fn begin(&self, guard: &mut Self::Guard);

    /// Takes the keys from whoever holds them, for creations that wait no longer.
    fn seize(
        &self,
        indexes: &[usize],
    ) -> impl Future<Output = Result<Vec<Self::Guard>, Self::Error>> + Send;

    /// Stores what was created, gives the keys up and hands the values to those
    /// who wait.
    fn finish(
        &self,
        made: Vec<(usize, Self::Guard, Self::Made)>,
    ) -> impl Future<Output = Result<Vec<Self::Value>, Self::Error>> + Send;

    /// Returns what those are handed who wait for a creation that failed so.
    fn shared(&self, _failure: &Self::Failure) -> Option<Handed> {
        None
    }

    /// Gives keys up whose creation failed. Those who wait are handed `shared`, if they take it.
    fn give_up_failed(
        &self,
        failed: Vec<(usize, Self::Guard)>,
        _shared: Option<Handed>,
    ) -> impl Future<Output = ()> + Send {
        self.abandon(failed.into_iter().map(|(_, guard)| guard).collect())
    }

    /// Gives keys up that nothing was created for.
    fn abandon(&self, guards: Vec<Self::Guard>) -> impl Future<Output = ()> + Send;

    /// Returns the time to wait for others; `None` for as long as it takes.
    fn deadline(&self) -> Option<Deadline>;
}

/// A limit to waiting.
pub(crate) struct Deadline {
    pub(crate) timeout: WaitTimeout,
    pub(crate) timer: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// The limit, and the action that follows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WaitTimeout {
    pub(crate) limit: Duration,
    pub(crate) then: OnWaitTimeout,
}

/// The action of a caller who has waited for another's creation as long as the
/// wait timeout allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnWaitTimeout {
    /// Give up with an error. A plain call, which has no place for one, runs
    /// the creator uncached.
    #[default]
    Error,
    /// Take a stale value if there is any, even a hard-invalidated one; else
    /// as [`Error`](Self::Error).
    Stale,
    /// Take the key over and create. The creation that was waited for is not stored
    /// any more. Where the key is held by another program (Python), which it cannot
    /// be taken from, the value is returned and not stored.
    Create,
}

/// The result of a look into the store.
pub(crate) struct Reading<S: Flight + ?Sized> {
    pub(crate) found: Freshness,
    /// The value, even a hard-invalidated one.
    pub(crate) value: Option<S::Value>,
    pub(crate) fallback: Fallback,
    pub(crate) seen: S::Seen,
}

/// The use of a value that is not fresh where its creation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fallback {
    None,
    /// It stands in for a creation that fails.
    OnFailure,
    /// It stands in for one that failed a moment ago: none is attempted now.
    Now,
}

/// The outcome of trying to get a key.
pub(crate) enum Claim<'s, S: Flight + ?Sized> {
    Won(S::Guard),
    Changed(Reading<S>),
    Held(Waiting<'s, S>),
}

/// Waits for a key held elsewhere.
pub(crate) type Waiting<'s, S> =
    Pin<Box<dyn Future<Output = Result<Waited<S>, <S as Flight>::Error>> + Send + 's>>;

/// The outcome of waiting. A key is won only after another look into the store
/// that found nothing fresh.
pub(crate) enum Waited<S: Flight + ?Sized> {
    Handed(S::Value),
    Won(S::Guard),
    Changed(Reading<S>),
    /// The creation that was waited for has failed, and so does the call.
    Failed(S::Failure),
}

/// The way by which a caller got its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// A fresh value was in the cache.
    Hit,
    /// A stale value, while somebody creates the new one.
    Stale,
    /// A stale value, since its creation failed, now or a moment ago.
    StaleOnError,
    /// This caller created it.
    Created,
    /// Another caller created it while this one waited.
    Waited,
    /// This caller created it past the cache: the region is not configured,
    /// the cache failed, or the creation took longer than the creation timeout.
    Uncached,
}

/// Why a drive ended without values.
pub(crate) enum Stop<E, F> {
    Creator(E),
    /// The creator was dropped, since it took longer than it may.
    TooSlow(F),
    Error(F),
}

impl<E, F> From<F> for Stop<E, F> {
    fn from(error: F) -> Self {
        Self::Error(error)
    }
}

/// The same of a flight.
pub(crate) type Stopped<S> = Stop<<S as Flight>::Failure, <S as Flight>::Error>;

/// A background for creations that leave the caller's side: takes the creation of the keys
/// that were won away.
pub(crate) type Background<'b, S, C> =
    Box<dyn FnOnce(Vec<(usize, <S as Flight>::Guard)>, C) + Send + 'b>;

/// One key on its way to a value.
struct Slot<'s, S: Flight> {
    reading: Reading<S>,
    guard: Option<S::Guard>,
    waiting: Option<Waiting<'s, S>>,
    outcome: Option<(S::Value, Status)>,
    /// The next value found was worth waiting for.
    waited: bool,
}

/// Brings every key to a value. `create` is called with the indexes of the
/// keys that this caller was elected for: once, unless a key that somebody
/// else was creating falls to it afterwards.
pub(crate) async fn drive<S, C, F>(
    flight: &S,
    readings: Vec<Reading<S>>,
    mut create: C,
    mut background: Option<Background<'_, S, C>>,
) -> Result<Vec<(S::Value, Status)>, Stopped<S>>
where
    S: Flight,
    C: FnMut(Vec<usize>) -> F + Send,
    F: Future<Output = Result<Vec<S::Made>, S::Failure>> + Send,
{
    let mut slots: Vec<Slot<'_, S>> = readings.into_iter().map(Slot::new).collect();
    let mut deadline = None;
    loop {
        resolve_ready(flight, &mut slots).await;
        claim(flight, &mut slots).await?;
        resolve_ready(flight, &mut slots).await;
        if let Some(start) = background.take_if(|_| ready_for_background(&slots)) {
            start(take_won_as_stale(&mut slots), create);
            break;
        }
        let won = take_won(&mut slots);
        if !won.is_empty() {
            // Not to become the holder of a key while busy with these.
            for slot in &mut slots {
                slot.waiting = None;
            }
            let indexes: Vec<usize> = won.iter().map(|(index, _)| *index).collect();
            let created = create_won(flight, &mut create, won).await;
            settle_created(&mut slots, indexes, created)?;
        } else if slots.iter().any(|slot| slot.waiting.is_some()) {
            let deadline = deadline.get_or_insert_with(|| flight.deadline());
            if !wait_for_any(&mut slots, deadline.as_mut()).await? {
                let timeout = deadline.as_ref().map(|deadline| deadline.timeout);
                give_up(flight, &mut slots, &mut create, timeout).await?;
            }
        } else if slots.iter().all(|slot| slot.outcome.is_some()) {
            break;
        }
    }
    Ok(slots.into_iter().filter_map(|slot| slot.outcome).collect())
}

impl<S: Flight> Slot<'_, S> {
    fn new(reading: Reading<S>) -> Self {
        Self { reading, guard: None, waiting: None, outcome: None, waited: false }
    }

    /// Returns the value that stands in for a creation which failed.
    fn stand_in(&self) -> Option<S::Value> {
        self.reading.value.clone().filter(|_| self.reading.fallback != Fallback::None)
    }

    fn mutex(&self) -> MutexState {
        match (&self.guard, &self.waiting) {
            (Some(_), _) => MutexState::Won,
            (None, Some(_)) => MutexState::HeldElsewhere,
            (None, None) => MutexState::Untried,
        }
    }

    fn action(&self) -> Option<Action> {
        let decided = || match self.reading.fallback {
            Fallback::Now if self.reading.value.is_some() => Action::Return,
            _ => decide(self.reading.found, self.mutex(), true),
        };
        self.outcome.is_none().then(decided)
    }

    fn status(&self) -> Status {
        match self.reading.found {
            Freshness::Fresh if self.waited => Status::Waited,
            Freshness::Fresh => Status::Hit,
            _ if self.reading.fallback == Fallback::Now => Status::StaleOnError,
            Freshness::Stale | Freshness::Missing => Status::Stale,
        }
    }
}

/// Gives their value to the slots whose decision is to return it.
async fn resolve_ready<S: Flight>(flight: &S, slots: &mut [Slot<'_, S>]) {
    for slot in slots {
        if slot.action() != Some(Action::Return) {
            continue;
        }
        slot.waiting = None;
        let Some(value) = slot.reading.value.clone() else { continue };
        slot.outcome = Some((value, slot.status()));
        if let Some(guard) = slot.guard.take() {
            flight.abandon(vec![guard]).await;
        }
    }
}

/// Tries to get the keys whose decision asks for it.
async fn claim<'s, S: Flight>(flight: &'s S, slots: &mut [Slot<'s, S>]) -> Result<(), S::Error> {
    let indexes: Vec<usize> =
        (0..slots.len()).filter(|&index| slots[index].action() == Some(Action::TryMutex)).collect();
    if indexes.is_empty() {
        return Ok(());
    }
    refuse_own_keys(flight, slots, &indexes)?;
    let keys: Vec<_> = indexes.iter().map(|&index| (index, &slots[index].reading.seen)).collect();
    let claims = flight.claim(&keys).await?;
    for (index, claim) in indexes.into_iter().zip(claims) {
        let slot = &mut slots[index];
        match claim {
            Claim::Won(guard) => slot.guard = Some(guard),
            Claim::Held(waiting) => slot.waiting = Some(waiting),
            Claim::Changed(reading) => slot.reading = reading,
        }
    }
    Ok(())
}

/// A creator that would wait for itself gets an error; one that finds an old
/// value under its key may have it.
fn refuse_own_keys<S: Flight>(
    flight: &S,
    slots: &[Slot<'_, S>],
    indexes: &[usize],
) -> Result<(), S::Error> {
    let without_value = |index: &usize| slots[*index].reading.found == Freshness::Missing;
    let indexes: Vec<usize> = indexes.iter().copied().filter(without_value).collect();
    let Creation { owner, keys } = flight.creation(&indexes);
    match keys.iter().position(|key| creating::depth(owner, key) > 0) {
        Some(own) => Err(flight.error(indexes[own], LockError::RecursiveCreation)),
        None => Ok(()),
    }
}

/// May all that is left to do be done in the background? Only if every
/// key has a stale value to return meanwhile.
fn ready_for_background<S: Flight>(slots: &[Slot<'_, S>]) -> bool {
    let mut open = slots.iter().filter(|slot| slot.outcome.is_none()).peekable();
    open.peek().is_some() && open.all(|slot| slot.action() == Some(Action::CreateInBackground))
}

fn take_won_as_stale<S: Flight>(slots: &mut [Slot<'_, S>]) -> Vec<(usize, S::Guard)> {
    for slot in slots.iter_mut().filter(|slot| slot.outcome.is_none()) {
        slot.outcome = slot.reading.value.clone().map(|value| (value, Status::Stale));
    }
    take_won(slots)
}

fn take_won<S: Flight>(slots: &mut [Slot<'_, S>]) -> Vec<(usize, S::Guard)> {
    let won = slots.iter_mut().enumerate();
    won.filter_map(|(index, slot)| Some((index, slot.guard.take()?))).collect()
}

/// Runs the creator for the keys that were won, stores what it created and gives
/// the keys up; whatever happens, no key stays held.
pub(crate) async fn create_won<S, C, F>(
    flight: &S,
    create: &mut C,
    mut won: Vec<(usize, S::Guard)>,
) -> Result<Vec<S::Value>, Stopped<S>>
where
    S: Flight,
    C: FnMut(Vec<usize>) -> F,
    F: Future<Output = Result<Vec<S::Made>, S::Failure>>,
{
    let indexes: Vec<usize> = won.iter().map(|(index, _)| *index).collect();
    for (_, guard) in &mut won {
        flight.begin(guard);
    }
    let made = match run_creator(flight, create, indexes).await {
        Ok(made) => made,
        Err(panic) => {
            // Its own caller gets it; to all others it is a failure.
            flight.give_up_failed(won, None).await;
            resume_unwind(panic)
        }
    };
    match made {
        Ok(made) => {
            let made = won.into_iter().zip(made);
            let made = made.map(|((index, guard), made)| (index, guard, made));
            Ok(flight.finish(made.collect()).await?)
        }
        Err(Stop::Creator(failure)) => {
            flight.give_up_failed(won, flight.shared(&failure)).await;
            Err(Stop::Creator(failure))
        }
        Err(stop @ Stop::TooSlow(_)) => {
            flight.give_up_failed(won, None).await;
            Err(stop)
        }
        Err(stop) => {
            flight.abandon(won.into_iter().map(|(_, guard)| guard).collect()).await;
            Err(stop)
        }
    }
}

/// Waits until any key moves; false if deadline ended first.
async fn wait_for_any<S: Flight>(
    slots: &mut [Slot<'_, S>],
    mut deadline: Option<&mut Deadline>,
) -> Result<bool, Stopped<S>> {
    let moved = poll_fn(|cx| {
        let mut moved = Vec::new();
        for (index, slot) in slots.iter_mut().enumerate() {
            let Some(waiting) = &mut slot.waiting else { continue };
            if let Poll::Ready(waited) = waiting.as_mut().poll(cx) {
                moved.push((index, waited));
            }
        }
        let ended = moved.is_empty()
            && deadline.as_mut().is_some_and(|p| p.timer.as_mut().poll(cx).is_ready());
        if moved.is_empty() && !ended { Poll::Pending } else { Poll::Ready(moved) }
    });
    let moved = moved.await;
    let any = !moved.is_empty();
    for (index, waited) in moved {
        slots[index].waiting = None;
        slots[index].waited = true;
        slots[index].take_news(waited?)?;
    }
    Ok(any)
}

impl<S: Flight> Slot<'_, S> {
    fn take_news(&mut self, waited: Waited<S>) -> Result<(), Stopped<S>> {
        match waited {
            Waited::Handed(value) => self.outcome = Some((value, Status::Waited)),
            Waited::Won(guard) => self.guard = Some(guard),
            Waited::Changed(reading) => self.reading = reading,
            Waited::Failed(failure) => return Err(Stop::Creator(failure)),
        }
        Ok(())
    }
}

/// Deadline has ended: does what was asked for that case.
async fn give_up<S, C, F>(
    flight: &S,
    slots: &mut [Slot<'_, S>],
    create: &mut C,
    timeout: Option<WaitTimeout>,
) -> Result<(), Stopped<S>>
where
    S: Flight,
    C: FnMut(Vec<usize>) -> F,
    F: Future<Output = Result<Vec<S::Made>, S::Failure>>,
{
    let Some(WaitTimeout { limit, then }) = timeout else { return Ok(()) };
    let open = slots.iter_mut().enumerate().filter(|(_, slot)| slot.waiting.is_some());
    let mut still_open = Vec::new();
    for (index, slot) in open {
        slot.waiting = None;
        match slot.reading.value.clone() {
            Some(value) if then == OnWaitTimeout::Stale => {
                slot.outcome = Some((value, Status::Stale));
            }
            _ => still_open.push(index),
        }
    }
    let Some(&first) = still_open.first() else { return Ok(()) };
    if then != OnWaitTimeout::Create {
        let error = LockError::WaitTimeout { limit };
        return Err(flight.error(first, error).into());
    }
    let guards = flight.seize(&still_open).await?;
    let won = still_open.iter().copied().zip(guards).collect();
    let created = create_won(flight, create, won).await;
    settle_created(slots, still_open, created)
}

/// Gives slots what was created for them, or, where that failed, the values that stand in for it.
fn settle_created<S: Flight>(
    slots: &mut [Slot<'_, S>],
    indexes: Vec<usize>,
    created: Result<Vec<S::Value>, Stopped<S>>,
) -> Result<(), Stopped<S>> {
    let outcomes: Vec<(S::Value, Status)> = match created {
        Ok(values) => values.into_iter().map(|value| (value, Status::Created)).collect(),
        Err(failure @ (Stop::Creator(_) | Stop::TooSlow(_))) => {
            let stale = indexes.iter().map(|&index| slots[index].stand_in());
            match stale.collect::<Option<Vec<_>>>() {
                Some(values) => {
                    values.into_iter().map(|value| (value, Status::StaleOnError)).collect()
                }
                None => return Err(failure),
            }
        }
        Err(stop) => return Err(stop),
    };
    for (index, outcome) in indexes.into_iter().zip(outcomes) {
        slots[index].outcome = Some(outcome);
    }
    Ok(())
}
