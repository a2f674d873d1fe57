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
//!
//! [`begin`] is the first half for one key: its caller creates, and says when that has ended.

use std::future::{Future, poll_fn};
use std::panic::resume_unwind;
use std::task::{Context, Poll};

use smallvec::SmallVec;

use super::creating::{self, Creation};
use super::creator::run_creator;
use super::decision::{Action, MutexState, decide};
use super::flight::{
    Background, Claim, Deadline, Detached, Fallback, Flight, LockError, OnWaitTimeout, Reading,
    Status, Stop, Stopped, Timer, WaitTimeout, Waited, Waiting,
};
use crate::freshness::Freshness;

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
    let mut limits = Limits::default();
    loop {
        until_won(flight, &mut slots, &mut limits).await?;
        if let Some(start) = background.take_if(|_| ready_for_background(flight, &slots)) {
            let won = take_won(&mut slots);
            let indexes = won.iter().map(|(index, _)| *index).collect();
            settle_in_time(flight, &mut slots, indexes, start(won, create)).await?;
            break;
        }
        let won = take_won(&mut slots);
        if won.is_empty() {
            break;
        }
        // Not to become the holder of a key while busy with these.
        for slot in &mut slots {
            slot.waiting = None;
        }
        let indexes: Vec<usize> = won.iter().map(|(index, _)| *index).collect();
        let created = create_won(flight, &mut create, won).await;
        settle_created(&mut slots, indexes, created)?;
    }
    Ok(slots.into_iter().filter_map(|slot| slot.outcome).collect())
}

/// The beginning of a call for one key.
pub(crate) enum Begun<S: Flight> {
    Value(S::Value, Status),
    /// Its creation is this caller's. It has begun.
    Won(Won<S>),
}

/// A key that was won, and what is there without its creation.
pub(crate) struct Won<S: Flight> {
    pub(crate) guard: S::Guard,
    /// The value that is served while it is created.
    pub(crate) meanwhile: Option<(S::Value, Status)>,
    /// The value that is served if its creation fails.
    pub(crate) stand_in: Option<(S::Value, Status)>,
}

/// Brings the only key of `flight` to a value, or to its creation, which is left to the caller.
pub(crate) async fn begin<S: Flight>(
    flight: &S,
    reading: Reading<S>,
) -> Result<Begun<S>, Stopped<S>> {
    let mut slots = [Slot::new(reading)];
    // Two pieces of memory of a usual size are sooner had than one that is larger than a kilobyte.
    Box::pin(until_won(flight, &mut slots, &mut Limits::default())).await?;
    let [mut slot] = slots;
    if let Some((value, status)) = slot.outcome {
        return Ok(Begun::Value(value, status));
    }
    let (meanwhile, stand_in) = (slot.meanwhile(), slot.stand_in());
    match slot.guard.take() {
        Some(mut guard) => {
            flight.begin(&mut guard);
            Ok(Begun::Won(Won { guard, meanwhile, stand_in }))
        }
        None => unreachable!("a key has a value, or it was won"),
    }
}

/// Goes on until keys are won, or all have a value.
async fn until_won<'s, S: Flight>(
    flight: &'s S,
    slots: &mut [Slot<'s, S>],
    limits: &mut Limits,
) -> Result<(), Stopped<S>> {
    loop {
        resolve_ready(flight, slots).await;
        claim(flight, slots).await?;
        resolve_ready(flight, slots).await;
        if slots.iter().any(|slot| slot.guard.is_some()) {
            return Ok(());
        }
        if slots.iter().any(|slot| slot.waiting.is_some()) {
            limits.begin(flight);
            match wait_for_any(slots, limits).await? {
                Ended::Moved => {}
                Ended::Soft => take_stand_ins(slots),
                Ended::Deadline(timeout) => give_up(flight, slots, timeout).await?,
            }
        } else if slots.iter().all(|slot| slot.outcome.is_some()) {
            return Ok(());
        }
    }
}

impl<S: Flight> Slot<'_, S> {
    fn new(reading: Reading<S>) -> Self {
        Self { reading, guard: None, waiting: None, outcome: None, waited: false }
    }

    /// Returns the value that stands in for a creation which failed.
    fn stand_in(&self) -> Option<(S::Value, Status)> {
        if self.reading.fallback == Fallback::None {
            return None;
        }
        let is_fresh = self.reading.found.is_fresh();
        let status = if is_fresh { Status::Hit } else { Status::StaleOnError };
        Some((self.reading.value.clone()?, status))
    }

    /// Returns the value that is better than waiting any longer.
    fn meanwhile(&self) -> Option<(S::Value, Status)> {
        let may_be = match self.reading.found {
            Freshness::Fresh | Freshness::Early | Freshness::Stale => true,
            Freshness::Missing => self.reading.fallback != Fallback::None,
        };
        Some((self.reading.value.clone().filter(|_| may_be)?, self.status()))
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
            Fallback::Now | Fallback::WhileDown if self.reading.value.is_some() => Action::Return,
            _ => decide(self.reading.found, self.mutex(), true),
        };
        self.outcome.is_none().then(decided)
    }

    fn status(&self) -> Status {
        match self.reading.found {
            Freshness::Fresh if self.reading.is_kept => Status::Kept,
            Freshness::Fresh if self.waited => Status::Waited,
            Freshness::Fresh | Freshness::Early => Status::Hit,
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
async fn claim<'s, S: Flight>(flight: &'s S, slots: &mut [Slot<'s, S>]) -> Result<(), Stopped<S>> {
    let is_asked_for = |slot: &Slot<'_, S>| slot.action() == Some(Action::TryMutex);
    for (index, slot) in slots.iter_mut().enumerate().filter(|(_, slot)| is_asked_for(slot)) {
        if let Some(failure) = flight.remembered(index, &slot.reading.seen) {
            let instead = slot.stand_in().or_else(|| slot.meanwhile());
            slot.outcome = Some(instead.ok_or(Stop::Creator(failure))?);
        }
    }
    let indexes: SmallVec<[usize; 1]> =
        (0..slots.len()).filter(|&index| is_asked_for(&slots[index])).collect();
    if indexes.is_empty() {
        return Ok(());
    }
    refuse_own_keys(flight, slots, &indexes)?;
    let keys: SmallVec<[_; 1]> =
        indexes.iter().map(|&index| (index, &slots[index].reading.seen)).collect();
    let claims = flight.claim(&keys).await;
    drop(keys);
    let claims = match claims {
        Ok(claims) => claims,
        // Their values are fresh: nothing need be created now.
        Err(_) if indexes.iter().all(|&index| slots[index].reading.found.is_fresh()) => {
            indexes.into_iter().for_each(|index| slots[index].outcome = slots[index].meanwhile());
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    for (index, claim) in indexes.into_iter().zip(claims) {
        let slot = &mut slots[index];
        match claim {
            // Its value is fresh, and a new one could not be stored.
            Claim::Unclaimed(guard) if slot.reading.found.is_fresh() => {
                slot.outcome = slot.meanwhile();
                flight.abandon(vec![guard]).await;
            }
            Claim::Won(guard) | Claim::Unclaimed(guard) => slot.guard = Some(guard),
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
    if !creating::is_any_running() {
        return Ok(());
    }
    let without_value = |index: &usize| slots[*index].reading.found == Freshness::Missing;
    let indexes: Vec<usize> = indexes.iter().copied().filter(without_value).collect();
    let Creation { owner, keys } = flight.creation(&indexes);
    match keys.iter().position(|key| creating::depth(owner, key) > 0) {
        Some(own) => Err(flight.error(indexes[own], LockError::RecursiveCreation)),
        None => Ok(()),
    }
}

/// May all that is left to do be done in the background? Only if every key has a value to
/// return meanwhile: one that may be served, or, where callers wait so long for the new one only,
/// one that stands in for it.
fn ready_for_background<S: Flight>(flight: &S, slots: &[Slot<'_, S>]) -> bool {
    let may_be = |slot: &Slot<'_, S>| match slot.action() {
        Some(Action::CreateInBackground) => true,
        Some(Action::Create) => slot.meanwhile().is_some() && flight.has_soft_limit(),
        _ => false,
    };
    let mut open = slots.iter().filter(|slot| slot.outcome.is_none()).peekable();
    open.peek().is_some() && open.all(may_be)
}

/// Gives slots what was created for them in the background, if that comes within the soft limit;
/// else what they have meanwhile.
async fn settle_in_time<S: Flight>(
    flight: &S,
    slots: &mut [Slot<'_, S>],
    indexes: Vec<usize>,
    mut creation: Detached<'_, S>,
) -> Result<(), Stopped<S>> {
    let is_waited_for = indexes.iter().any(|&index| !slots[index].reading.found.is_fresh());
    let created = match flight.soft_limit().filter(|_| is_waited_for) {
        Some(mut timer) => {
            poll_fn(|cx| match creation.as_mut().poll(cx) {
                Poll::Ready(created) => Poll::Ready(created),
                Poll::Pending => timer.as_mut().poll(cx).map(|()| None),
            })
            .await
        }
        None => None,
    };
    match created {
        Some(Ok(created)) => {
            for (index, value) in created {
                slots[index].outcome = Some((value, Status::Created));
            }
        }
        Some(Err(failure @ Stop::Creator(_))) => {
            settle_created(slots, indexes.clone(), Err(failure))?;
        }
        Some(Err(Stop::Error(error))) => return Err(Stop::Error(error)),
        // It was dropped at its own limit, and there is a value that is better than waiting on.
        Some(Err(Stop::TooSlow(_))) | None => {}
    }
    for index in indexes {
        let slot = &mut slots[index];
        if slot.outcome.is_none() {
            slot.outcome = slot.meanwhile();
        }
    }
    Ok(())
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

/// The time after which a stale value is better than waiting on.
#[derive(Default)]
enum Soft {
    #[default]
    Unlimited,
    Running(Timer),
    /// From now on a key that gets a stale value waits no longer.
    Over,
}

/// The limits to waiting for others.
#[derive(Default)]
struct Limits {
    has_begun: bool,
    soft: Soft,
    deadline: Option<Deadline>,
}

impl Limits {
    fn begin<S: Flight>(&mut self, flight: &S) {
        if !self.has_begun {
            let soft = flight.soft_limit().map_or(Soft::Unlimited, Soft::Running);
            let deadline = flight.deadline();
            *self = Self { has_begun: true, soft, deadline };
        }
    }

    /// Returns what has ended, if anything has.
    fn poll(&mut self, cx: &mut Context<'_>, has_stand_in: bool) -> Option<Ended> {
        if let Soft::Running(timer) = &mut self.soft
            && timer.as_mut().poll(cx).is_ready()
        {
            self.soft = Soft::Over;
        }
        if has_stand_in && matches!(self.soft, Soft::Over) {
            return Some(Ended::Soft);
        }
        let Deadline { timeout, timer } = self.deadline.as_mut()?;
        timer.as_mut().poll(cx).is_ready().then_some(Ended::Deadline(*timeout))
    }
}

/// The end of some waiting.
enum Ended {
    Moved,
    Soft,
    Deadline(WaitTimeout),
}

/// Waits until any key moves, or a limit ends.
async fn wait_for_any<S: Flight>(
    slots: &mut [Slot<'_, S>],
    limits: &mut Limits,
) -> Result<Ended, Stopped<S>> {
    let has_stand_in =
        slots.iter().any(|slot| slot.waiting.is_some() && slot.meanwhile().is_some());
    let (moved, ended) = poll_fn(|cx| {
        let mut moved = Vec::new();
        for (index, slot) in slots.iter_mut().enumerate() {
            let Some(waiting) = &mut slot.waiting else { continue };
            if let Poll::Ready(waited) = waiting.as_mut().poll(cx) {
                moved.push((index, waited));
            }
        }
        if !moved.is_empty() {
            return Poll::Ready((moved, Ended::Moved));
        }
        limits.poll(cx, has_stand_in).map_or(Poll::Pending, |ended| Poll::Ready((moved, ended)))
    })
    .await;
    for (index, waited) in moved {
        slots[index].waiting = None;
        slots[index].waited = true;
        slots[index].take_news(waited?)?;
    }
    Ok(ended)
}

/// Gives slots that have waited long enough what is better than waiting on.
fn take_stand_ins<S: Flight>(slots: &mut [Slot<'_, S>]) {
    for slot in slots.iter_mut().filter(|slot| slot.waiting.is_some()) {
        if let Some(outcome) = slot.meanwhile() {
            slot.waiting = None;
            slot.outcome = Some(outcome);
        }
    }
}

impl<S: Flight> Slot<'_, S> {
    fn take_news(&mut self, waited: Waited<S>) -> Result<(), Stopped<S>> {
        match waited {
            Waited::Handed(value) => self.outcome = Some((value, Status::Waited)),
            Waited::Won(guard) => self.guard = Some(guard),
            Waited::Changed(reading) => self.reading = reading,
            Waited::Failed(failure) => match self.stand_in() {
                Some(outcome) => self.outcome = Some(outcome),
                None => return Err(Stop::Creator(failure)),
            },
        }
        Ok(())
    }
}

/// The deadline has ended: does what was asked for that case.
async fn give_up<S: Flight>(
    flight: &S,
    slots: &mut [Slot<'_, S>],
    WaitTimeout { limit, then }: WaitTimeout,
) -> Result<(), Stopped<S>> {
    let open = slots.iter_mut().enumerate().filter(|(_, slot)| slot.waiting.is_some());
    let mut still_open = Vec::new();
    for (index, slot) in open {
        slot.waiting = None;
        slot.outcome = match then {
            OnWaitTimeout::Stale => slot.reading.value.clone().map(|value| (value, Status::Stale)),
            OnWaitTimeout::Error => slot.meanwhile(),
            OnWaitTimeout::Create => None,
        };
        if slot.outcome.is_none() {
            still_open.push(index);
        }
    }
    let Some(&first) = still_open.first() else { return Ok(()) };
    if then != OnWaitTimeout::Create {
        let error = LockError::WaitTimeout { limit };
        return Err(flight.error(first, error).into());
    }
    let guards = flight.seize(&still_open).await?;
    for (index, guard) in still_open.into_iter().zip(guards) {
        slots[index].guard = Some(guard);
    }
    Ok(())
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
            stale.collect::<Option<Vec<_>>>().ok_or(failure)?
        }
        Err(stop) => return Err(stop),
    };
    for (index, outcome) in indexes.into_iter().zip(outcomes) {
        slots[index].outcome = Some(outcome);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn the_soft_limit_stays_over() {
        let cx = &mut Context::from_waker(Waker::noop());
        let soft = Soft::Running(Box::pin(std::future::ready(())));
        let mut limits = Limits { has_begun: true, soft, deadline: None };
        assert!(limits.poll(cx, false).is_none(), "there is nothing better than waiting");
        for _ in 0..2 {
            assert!(matches!(limits.poll(cx, true), Some(Ended::Soft)));
        }
    }
}
