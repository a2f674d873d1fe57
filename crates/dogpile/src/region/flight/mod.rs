//! The dogpile lock's view of a region: how its driver reads, claims and
//! stores, over the backend and both layers of mutexes.
//!
//! The mutex of this process comes first, the backend's second, so that a
//! process sends one contender per key to a server. Waiters of this process
//! get the value handed to them; only the one contender looks at the server.
//!
//! Here is what the driver calls, in its order: a look, a claim, the beginning and the end of a
//! creation. `guess` leaves a look out, `claim` has the claims and waits within that, `store` what is stored
//! in the end; `expire` stores again what is there, and `failure` what stands in for a creation that failed.

mod claim;
mod expire;
mod failure;
mod guess;
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use smallvec::SmallVec;

use super::core::{Core, Timestamped};
use super::options::Options;
use super::values::{Failed, Values};
use crate::backend::{BackendError, ClaimMode, Claimed, Seen};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::lock::creating::Creation;
use crate::lock::flight::CreationLimit;
use crate::lock::flight::{Claim, Deadline, Flight, OnWaitTimeout, Reading, Timer, WaitTimeout};
use crate::lock::keyed::{Cut, Handed, KeyGuard, Parked, Ticket};
use crate::lock::{Freshness, KeyedLock, Lease, LockError};
use crate::value::{Entry, Object};

/// One creating call: some keys of a region, and how to treat them.
pub(crate) struct RegionFlight<'v> {
    pub(crate) core: Arc<Core>,
    pub(crate) keys: Vec<FlightKey>,
    pub(crate) options: Options,
    pub(crate) values: Box<dyn Values + 'v>,
    /// Faults of the cache are errors; otherwise they are survived.
    pub(crate) strict: bool,
    /// False where the look at the invalidation's moments failed, and was not made up for.
    pub(crate) has_looked: AtomicBool,
    /// The creation was left to the runner: it has no caller who could drop it.
    pub(crate) is_detached: AtomicBool,
}

/// The time that a creation in the background may take, where none was chosen. Locks on servers
/// are not renewed for longer either, unless they are told to be.
const LONGEST_DETACHED: Duration = Duration::from_secs(600);

/// A key as the caller gave it and as it is stored.
pub(crate) struct FlightKey {
    pub(crate) asked: String,
    pub(crate) stored: String,
}

/// Holding a key: always in this process, and in the backend unless claiming it
/// there failed.
pub(crate) struct Guard {
    local: KeyGuard,
    lease: Option<Lease>,
    /// The stored value is out of date, whatever becomes of the creation.
    is_refresh: bool,
    /// When its creation began, in the order of events.
    begun: Option<Timestamp>,
}

impl Guard {
    fn new(local: KeyGuard, lease: Option<Lease>) -> Self {
        Self { local, lease, is_refresh: false, begun: None }
    }

    /// Leaves the key to a creation that waits for its runner.
    pub(crate) fn park(self) -> Parked {
        self.local.park(self.lease)
    }

    /// The key again, if it is still there for a creation that can begin now.
    pub(crate) fn resume(parked: Parked) -> Option<Self> {
        let (local, lease) = parked.resume()?;
        Some(Self::new(local, lease))
    }
}

/// A reading: the entry, and the moment before it was read.
#[derive(Clone, Copy)]
pub(crate) struct ReadSnapshot {
    seen: Seen,
    ticket: Ticket,
    /// Those who asked before may have what was read.
    cut: Cut,
    /// Nothing was read: the claim does that.
    is_guess: bool,
}

/// The moment before a look.
#[derive(Clone, Copy)]
struct Before {
    ticket: Ticket,
    cut: Cut,
    /// The backend did not answer: what was found is what this process has kept.
    is_kept: bool,
}

impl RegionFlight<'_> {
    /// Looks whether the region was invalidated.
    pub(crate) async fn look_at_invalidation(&self) {
        self.has_looked.store(self.core.refresh_invalidation().await, Ordering::Relaxed);
    }

    /// Judges what was read; see [`Core::judged`].
    async fn judged<R>(&self, read: Result<R, BackendError>) -> Result<R, BackendError> {
        let looked = self.has_looked.swap(true, Ordering::Relaxed);
        self.core.judged(looked, read).await
    }

    /// Looks at the keys `indexes` in the backend.
    pub(crate) async fn look(&self, indexes: &[usize]) -> Result<Vec<Reading<Self>>, Error> {
        let mut before = self.before();
        if let [index] = *indexes {
            let fits = |object: &Object| self.values.has(object);
            let entry = self.core.read_one(&self.keys[index].stored, fits).await;
            return Ok(vec![self.reading_of(index, entry, before).await?]);
        }
        let keys: Vec<&str> = indexes.iter().map(|&i| self.keys[i].stored.as_str()).collect();
        let entries = self.core.read_all(&keys, |object| self.values.has(object)).await;
        let entries = self.judged(entries).await;
        before.is_kept = entries.is_err();
        let entries = self.or_degrade("get_multi", entries, || {
            let now = self.core.clock.coarse_now();
            keys.iter().map(|key| self.core.kept_at(key, now)).collect()
        })?;
        let readings = indexes.iter().zip(entries);
        Ok(readings.map(|(&index, entry)| self.reading(index, entry.as_ref(), before)).collect())
    }

    /// Looks at one key in the backend itself.
    async fn look_at(&self, index: usize) -> Result<Reading<Self>, Error> {
        let before = self.before();
        let entry = self.core.backend.get(&self.keys[index].stored).await;
        self.reading_of(index, entry, before).await
    }

    /// Judges what was read of one key.
    async fn reading_of(
        &self,
        index: usize,
        entry: Result<Option<Entry>, BackendError>,
        mut before: Before,
    ) -> Result<Reading<Self>, Error> {
        let entry = self.judged(entry).await;
        before.is_kept = entry.is_err();
        let entry = self.or_degrade("get", entry, || {
            self.core.kept_at(&self.keys[index].stored, self.core.clock.coarse_now())
        })?;
        Ok(self.reading(index, entry.as_ref(), before))
    }

    fn before(&self) -> Before {
        let keys = &self.core.shared.keys;
        Before { ticket: keys.ticket(), cut: keys.cut(), is_kept: false }
    }

    fn reading(&self, index: usize, entry: Option<&Entry>, before: Before) -> Reading<Self> {
        let FlightKey { asked, stored } = &self.keys[index];
        let Before { ticket, cut, is_kept } = before;
        let seen = ReadSnapshot { seen: Seen::of(entry), ticket, cut, is_guess: false };
        self.core.note_answer(!is_kept);
        let instead = if is_kept { None } else { self.core.kept_instead_of(stored, entry) };
        let is_kept = is_kept || instead.is_some();
        let entry = instead.as_ref().or(entry);
        if let Some(entry) = entry {
            self.core.shared.failed.forget_before(stored, entry.metadata.ct);
        }
        self.core.see_to_debts();
        // What a change of this process could not reach is as good as gone.
        let entry = entry.filter(|_| is_kept || !self.core.owed.has(stored));
        let (found, value) = self.core.examine(asked, entry, &self.options, &*self.values);
        if let (Some(Timestamped { value, .. }), Some(entry)) = (&value, entry) {
            self.core.note_decoded(stored, &entry.payload, || value.clone());
        }
        // While the backend is away nothing is created that need not be.
        let found = if is_kept && found.is_fresh() { Freshness::Fresh } else { found };
        Reading {
            found,
            value,
            is_kept,
            fallback: self.fallback(index, found, is_kept, entry),
            seen,
        }
    }

    /// Gives keys up. Those of this process who wait for them are handed `shared`, if there is that.
    async fn abandon_to(&self, guards: Vec<Guard>, shared: Option<&Handed>) {
        // First the server's waiters, then ours: a key that passes to a
        // waiter here must be free there.
        let (locals, leases): (Vec<_>, Vec<_>) =
            guards.into_iter().map(|guard| (guard.local, guard.lease)).unzip();
        let leases: Vec<Lease> = leases.into_iter().flatten().collect();
        if !leases.is_empty() {
            self.core.backend.release(leases).await;
        }
        locals.into_iter().for_each(|local| pass_on(local, shared));
    }

    /// In a strict call the error; in a plain one what to go on with.
    fn or_degrade<R>(
        &self,
        operation: &'static str,
        result: Result<R, BackendError>,
        instead: impl FnOnce() -> R,
    ) -> Result<R, Error> {
        match result {
            Ok(result) => Ok(result),
            Err(error) if self.strict => Err(self.core.failed(operation, error)),
            Err(error) => {
                self.core.note_degraded(operation, &error);
                Ok(instead())
            }
        }
    }
}

/// Passes a key on, to those who wait for it or with what they are handed.
fn pass_on(local: KeyGuard, shared: Option<&Handed>) {
    if let Some(shared) = shared {
        let cut = local.cut();
        local.finish(|| shared.clone(), cut);
    }
}

impl Flight for RegionFlight<'_> {
    type Value = Timestamped;
    type Made = Object;
    type Guard = Guard;
    type Seen = ReadSnapshot;
    type Error = Error;
    type Failure = Failed;

    fn creation(&self, indexes: &[usize]) -> Creation {
        let keys = indexes.iter().map(|&index| self.keys[index].stored.clone()).collect();
        Creation { owner: Arc::as_ptr(&self.core.shared).addr(), keys }
    }

    async fn claim<'s>(
        &'s self,
        keys: &[(usize, &ReadSnapshot)],
    ) -> Result<Vec<Claim<'s, Self>>, Error> {
        if let [(index, ReadSnapshot { is_guess: true, .. })] = keys {
            return Ok(vec![self.claim_unseen(*index).await?]);
        }
        let mut held = SmallVec::<[_; 1]>::with_capacity(keys.len());
        for &(index, snapshot) in keys {
            if let Some(local) = self.core.shared.keys.try_hold(&self.keys[index].stored) {
                held.push((index, local, *snapshot));
            }
        }
        let completed = if held.is_empty() { Vec::new() } else { self.claim_there(held).await? };
        let mut completed = completed.into_iter().peekable();
        let claims = keys.iter().map(|&(index, snapshot)| {
            match completed.next_if(|(completed, _)| *completed == index) {
                Some((_, claim)) => claim,
                None => Claim::Held(Box::pin(self.wait_here(index, *snapshot))),
            }
        });
        Ok(claims.collect())
    }

    fn soft_limit(&self) -> Option<Timer> {
        let limit = self.options.soft_timeout?;
        if limit.is_zero() || self.options.cannot_wait {
            return Some(Box::pin(std::future::ready(())));
        }
        Some(self.core.clock.sleep(limit))
    }

    fn has_soft_limit(&self) -> bool {
        self.options.soft_timeout.is_some()
    }

    fn creation_limit(&self) -> Option<CreationLimit> {
        let of_runner = || self.is_detached.load(Ordering::Relaxed).then_some(LONGEST_DETACHED);
        let limit = self.options.creation_timeout.or_else(of_runner)?;
        Some(CreationLimit { limit, timer: self.core.clock.sleep(limit) })
    }

    fn remembered(&self, index: usize, seen: &ReadSnapshot) -> Option<Failed> {
        // A value that was not read yet may stand in for it.
        if seen.is_guess { None } else { self.remembered_failure(index) }
    }

    fn note_unanswered(&self, indexes: &[usize], why: &str) {
        let keys: Vec<&str> = indexes.iter().map(|&i| self.keys[i].asked.as_str()).collect();
        self.core.note_creation(&keys, Err(why));
    }

    fn begin(&self, guard: &mut Guard) {
        guard.local.begin();
        guard.begun = Some(self.core.moment().order);
    }

    async fn finish(&self, made: Vec<(usize, Guard, Object)>) -> Result<Vec<Timestamped>, Error> {
        self.store(made).await
    }

    fn shared(&self, failure: &Failed) -> Option<Handed> {
        failure.shared.as_ref().map(|_| -> Handed { Arc::new(failure.clone()) })
    }

    async fn give_up_failed(&self, failed: Vec<(usize, Guard)>, shared: Option<Handed>) {
        self.mark_failed(failed, shared).await;
    }

    async fn abandon(&self, guards: Vec<Guard>) {
        self.abandon_to(guards, None).await;
    }

    fn deadline(&self) -> Option<Deadline> {
        let of_mutex = || self.core.mutex.as_ref().and_then(KeyedLock::wait_timeout);
        let limit = self.options.wait_timeout.or_else(of_mutex)?;
        let then = self.options.on_wait_timeout.unwrap_or(OnWaitTimeout::Error);
        Some(Deadline { timeout: WaitTimeout { limit, then }, timer: self.core.clock.sleep(limit) })
    }

    async fn seize(&self, indexes: &[usize]) -> Result<Vec<Guard>, Error> {
        let seized = self.seize_as(ClaimMode::TakeOver, indexes).await?;
        let guards = seized.into_iter().map(|(local, claim)| match claim {
            Some(Claimed::Won(lease)) => Guard::new(local, Some(lease)),
            Some(Claimed::Changed(_) | Claimed::Held | Claimed::Failed(_)) | None => {
                Guard::new(local, None)
            }
        });
        Ok(guards.collect())
    }

    fn error(&self, index: usize, error: LockError) -> Error {
        super::fault::of_lock(self.core.name(), &self.keys[index].asked, error)
    }
}
