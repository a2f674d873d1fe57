//! The dogpile lock's view of a region: how its driver reads, claims and
//! stores, over the backend and both layers of mutexes.
//!
//! The mutex of this process comes first, the backend's second, so that a
//! process sends one contender per key to a server. Waiters of this process
//! get the value handed to them; only the one contender looks at the server.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Instant;

use super::core::{Core, Timestamped};
use super::kind::Cacheable;
use super::options::{Options, ShouldCache};
use crate::backend::{BackendError, ClaimMode, Claimed, Commit, Seen, Wanted};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::lock::creating::Creation;
use crate::lock::drive::{Claim, Deadline, Flight, OnWaitTimeout, Reading, WaitTimeout, Waited};
use crate::lock::keyed::{Cut, Handed, KeyGuard, Parked, Ticket, Turn};
use crate::lock::{Freshness, KeyedLock, Lease, LockError};
use crate::log;
use crate::stats::Count;
use crate::value::Entry;

/// One creating call: some keys of a region, and how to treat them.
pub(crate) struct RegionFlight<K, T, C> {
    pub(crate) core: Arc<Core>,
    pub(crate) keys: Vec<FlightKey>,
    pub(crate) options: Options,
    pub(crate) should_cache: C,
    /// Faults of the cache are errors; otherwise they are survived.
    pub(crate) strict: bool,
    /// False where the look at the invalidation's moments failed, and was not made up for.
    pub(crate) has_looked: AtomicBool,
    pub(crate) types: std::marker::PhantomData<fn() -> (K, T)>,
}

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
}

/// The moment before a look.
#[derive(Clone, Copy)]
struct Before {
    ticket: Ticket,
    cut: Cut,
}

impl<K, T, C> RegionFlight<K, T, C>
where
    K: 'static,
    T: Cacheable<K>,
    C: ShouldCache<T>,
{
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
        let before = self.before();
        let keys: Vec<&str> = indexes.iter().map(|&i| self.keys[i].stored.as_str()).collect();
        let backend = &self.core.backend;
        let (operation, entries) = match keys[..] {
            [key] => ("get", backend.get(key).await.map(|entry| vec![entry])),
            _ => ("get_multi", backend.get_multi(&keys).await),
        };
        let entries = self.judged(entries).await;
        let entries = self.or_degrade(operation, entries, || vec![None; keys.len()])?;
        let readings = indexes.iter().zip(entries);
        Ok(readings.map(|(&index, entry)| self.reading(index, entry.as_ref(), before)).collect())
    }

    async fn look_at(&self, index: usize) -> Result<Reading<Self>, Error> {
        let before = self.before();
        let entry = self.core.backend.get(&self.keys[index].stored).await;
        let entry = self.judged(entry).await;
        let entry = self.or_degrade("get", entry, || None)?;
        Ok(self.reading(index, entry.as_ref(), before))
    }

    fn before(&self) -> Before {
        let keys = &self.core.shared.keys;
        Before { ticket: keys.ticket(), cut: keys.cut() }
    }

    fn reading(&self, index: usize, entry: Option<&Entry>, before: Before) -> Reading<Self> {
        let (found, value) = self.core.examine(&self.keys[index].asked, entry, &self.options);
        let Before { ticket, cut } = before;
        Reading { found, value, seen: ReadSnapshot { seen: Seen::of(entry), ticket, cut } }
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

    /// Claims keys in the backend; no outcome for those that could not be claimed, which
    /// in a strict call is an error.
    async fn claim_or_degrade(
        &self,
        wanted: Vec<Wanted<'_>>,
    ) -> Result<Vec<Option<Claimed>>, Error> {
        let count = wanted.len();
        let claims = self.core.backend.claim(wanted).await;
        let claims = claims.map(|claims| claims.into_iter().map(Some).collect::<Vec<_>>());
        let none = || std::iter::repeat_with(|| None).take(count).collect();
        let mut settled = Vec::with_capacity(count);
        for claim in self.or_degrade("claim", claims, none)? {
            settled.push(match claim {
                Some(Claimed::Failed(error)) => self.or_degrade("claim", Err(error), || None)?,
                other => other,
            });
        }
        Ok(settled)
    }

    /// Claims one key.
    async fn claim_one(&self, wanted: Wanted<'_>) -> Result<Option<Claimed>, BackendError> {
        match self.core.backend.claim(vec![wanted]).await?.pop() {
            Some(Claimed::Failed(error)) => Err(error),
            claimed => Ok(claimed),
        }
    }

    /// Claims keys in the backend that are held in this process.
    async fn claim_there(
        &self,
        held: Vec<(usize, KeyGuard, ReadSnapshot)>,
    ) -> Result<Vec<(usize, Claim<'_, Self>)>, Error> {
        let before = self.before();
        let wanted = held.iter().map(|(index, local, snapshot)| {
            let key = self.keys[*index].stored.as_str();
            let is_current = !local.overtaken_since(snapshot.ticket);
            Wanted { is_current, ..Wanted::new(key, ClaimMode::Create(snapshot.seen)) }
        });
        // A backend out of order must not keep anybody from the value: one caller
        // of this process goes ahead.
        let claims = self.claim_or_degrade(wanted.collect()).await?;
        let claims = held.into_iter().zip(claims).map(|((index, local, snapshot), claim)| {
            let claim = match claim {
                Some(Claimed::Failed(_)) | None => Claim::Won(Guard::new(local, None)),
                Some(Claimed::Won(lease)) => Claim::Won(Guard::new(local, Some(lease))),
                Some(Claimed::Held) => {
                    Claim::Held(Box::pin(self.wait_remotely(index, local, snapshot)))
                }
                Some(Claimed::Changed(entry)) => {
                    let reading = self.reading(index, Some(&entry), before);
                    Claim::Changed(pass_on_if_fresh(local, reading))
                }
            };
            (index, claim)
        });
        Ok(claims.collect())
    }

    /// Takes keys over, to refresh what is stored under them. Waits only for other
    /// programs' locks.
    pub(crate) async fn claim_refresh(&self, indexes: &[usize]) -> Result<Vec<Guard>, Error> {
        let guards = self.seize_as(ClaimMode::Refresh, indexes).await?;
        let mut claimed = Vec::with_capacity(guards.len());
        for (&index, (local, claim)) in indexes.iter().zip(guards) {
            let lease = match claim {
                Some(Claimed::Won(lease)) => Some(lease),
                Some(Claimed::Held) => self.wait_to_refresh(index).await?,
                Some(Claimed::Changed(_) | Claimed::Failed(_)) | None => None,
            };
            claimed.push(Guard { is_refresh: true, ..Guard::new(local, lease) });
        }
        Ok(claimed)
    }

    /// Takes keys over in this process, and tries to in the backend; no outcome where
    /// that failed.
    async fn seize_as(
        &self,
        mode: ClaimMode,
        indexes: &[usize],
    ) -> Result<Vec<(KeyGuard, Option<Claimed>)>, Error> {
        let keys: Vec<&str> = indexes.iter().map(|&i| self.keys[i].stored.as_str()).collect();
        let locals: Vec<_> = keys.iter().map(|key| self.core.shared.keys.take_over(key)).collect();
        let wanted = keys.iter().map(|key| Wanted::new(key, mode)).collect();
        let claims = self.claim_or_degrade(wanted).await?;
        Ok(locals.into_iter().zip(claims).collect())
    }

    /// Waits for another program's lock, within the wait timeout.
    async fn wait_to_refresh(&self, index: usize) -> Result<Option<Lease>, Error> {
        let key = self.keys[index].stored.as_str();
        let claimed = self.claim_until_won(key, ClaimMode::Refresh);
        let Some(Deadline { timeout: WaitTimeout { limit, .. }, timer }) = self.deadline() else {
            return claimed.await;
        };
        match first_of(claimed, timer).await {
            Some(claimed) => claimed,
            None if self.strict => Err(self.error(index, LockError::WaitTimeout { limit })),
            None => Ok(None),
        }
    }

    async fn claim_until_won(&self, key: &str, mode: ClaimMode) -> Result<Option<Lease>, Error> {
        let mut held = None;
        loop {
            let wanted = Wanted { held, ..Wanted::new(key, mode) };
            let claimed = self.claim_one(wanted).await;
            match self.or_degrade("claim", claimed, || None)? {
                Some(Claimed::Won(lease)) => return Ok(Some(lease)),
                Some(Claimed::Held) => {}
                Some(Claimed::Changed(_) | Claimed::Failed(_)) | None => return Ok(None),
            }
            let Some(mutex) = &self.core.mutex else { return Ok(None) };
            let waited = mutex.wait(key).await.map(Some);
            match self.or_degrade("lock", waited, || None)? {
                Some(lease) => held = lease,
                None => return Ok(None),
            }
        }
    }

    /// Waits for another caller of this process.
    async fn wait_here(&self, index: usize, snapshot: ReadSnapshot) -> Result<Waited<Self>, Error> {
        let began = Instant::now();
        let turn = self.core.shared.keys.hold(&self.keys[index].stored).await;
        self.core.stats().waited(began.elapsed());
        match turn {
            Turn::Handed(value) => match value.downcast_ref::<Timestamped<T>>() {
                Some(got) => Ok(Waited::Handed(got.clone())),
                // The other caller made something of another type.
                None => Ok(Waited::Changed(self.look_at(index).await?)),
            },
            Turn::Won(local) => self.after_waiting(index, local, snapshot).await,
        }
    }

    /// The key has come to this caller: looks again before it counts as won.
    async fn after_waiting(
        &self,
        index: usize,
        mut local: KeyGuard,
        snapshot: ReadSnapshot,
    ) -> Result<Waited<Self>, Error> {
        if let Some(lease) = local.inherited() {
            self.core.backend.release(vec![lease]).await;
        }
        let claims = self.claim_there(vec![(index, local, snapshot)]).await?;
        match claims.into_iter().next() {
            Some((_, Claim::Held(waiting))) => waiting.await,
            Some((_, Claim::Won(guard))) => Ok(Waited::Won(guard)),
            Some((_, Claim::Changed(reading))) => Ok(Waited::Changed(reading)),
            None => Ok(Waited::Changed(self.look_at(index).await?)),
        }
    }

    /// Waits for a holder in another process, as this process's contender.
    async fn wait_remotely(
        &self,
        index: usize,
        local: KeyGuard,
        snapshot: ReadSnapshot,
    ) -> Result<Waited<Self>, Error> {
        let began = Instant::now();
        let waited = self.contend(index, local, snapshot).await;
        self.core.stats().waited(began.elapsed());
        waited
    }

    async fn contend(
        &self,
        index: usize,
        local: KeyGuard,
        snapshot: ReadSnapshot,
    ) -> Result<Waited<Self>, Error> {
        let key = self.keys[index].stored.as_str();
        let Some(mutex) = &self.core.mutex else {
            return Ok(Waited::Won(Guard::new(local, None)));
        };
        let mode = ClaimMode::Create(snapshot.seen);
        loop {
            let waited = mutex.wait(key).await;
            let before = self.before();
            let claimed = match waited {
                // Waiting may have acquired the mutex.
                Ok(held) => {
                    let wanted = Wanted { held, ..Wanted::new(key, mode) };
                    self.claim_one(wanted).await
                }
                Err(error) => Err(error),
            };
            let lease = match self.or_degrade("lock", claimed, || None)? {
                Some(Claimed::Held) => continue,
                Some(Claimed::Changed(entry)) => {
                    let reading = self.reading(index, Some(&entry), before);
                    return Ok(Waited::Changed(pass_on_if_fresh(local, reading)));
                }
                Some(Claimed::Won(lease)) => Some(lease),
                Some(Claimed::Failed(_)) | None => None,
            };
            return Ok(Waited::Won(Guard::new(local, lease)));
        }
    }

    /// Was the key changed by somebody else, or the region invalidated, after the creation
    /// began? Then the value may be of before, and must not outlive that.
    fn is_outdated(&self, index: usize, guard: &Guard) -> bool {
        let invalidated = |begun| self.core.invalidation.is_invalidated(begun);
        let outdated = guard.local.is_outdated() || guard.begun.is_some_and(invalidated);
        if outdated {
            self.core.stats().count(Count::Outdated);
            log::outdated(self.core.name(), &self.keys[index].asked);
        }
        outdated
    }

    /// The entry to store for a created value; none for one that is not to be
    /// stored.
    fn to_store(
        &self,
        index: usize,
        guard: &Guard,
        got: &Timestamped<T>,
    ) -> Result<Option<Entry>, Error> {
        if !self.should_cache.should_cache(&got.value) {
            self.core.stats().count(Count::Vetoed);
            return Ok(None);
        }
        let source = match self.core.encode_entry(&got.value, got.ct, &self.options) {
            Ok(mut entry) => {
                entry.metadata.begun = guard.begun.unwrap_or(got.ct);
                return Ok(Some(entry));
            }
            Err(source) => source,
        };
        let key = &self.keys[index].asked;
        self.core.stats().count(Count::NotStored);
        log::not_stored(self.core.name(), key, &source);
        let region = self.core.name().to_owned();
        if self.strict {
            return Err(Error::Encode { region, key: crate::error::shown(key), source });
        }
        Ok(None)
    }

    /// Decides how a creation ends in the backend.
    fn ending(
        &self,
        index: usize,
        value: T,
        mut guard: Guard,
        ct: Timestamp,
    ) -> (Finished<'_, T>, Ending<'_>, Option<Error>) {
        let key = self.keys[index].stored.as_str();
        let got = Timestamped { value, ct };
        // Before anything else: a later caller may know of a change that
        // is not known here.
        let cut = guard.local.cut();
        let is_outdated = self.is_outdated(index, &guard);
        let stored = if is_outdated && !guard.is_refresh {
            Ok(None)
        } else {
            self.to_store(index, &guard, &got)
        };
        let (entry, failure) = match stored {
            Ok(entry) => (entry, None),
            Err(error) => (None, Some(error)),
        };
        // Without a claim, nobody tells of changes by other processes either.
        let is_exclusive = is_outdated || entry.is_none() || guard.lease.is_none();
        let audience = if is_exclusive { guard.local.begun() } else { cut };
        let ending = match (entry, guard.lease.take()) {
            (entry, Some(lease)) if entry.is_some() || guard.is_refresh => {
                Ending::Commit(Commit { key, entry, lease })
            }
            (_, Some(lease)) => Ending::Release(lease),
            (entry, None) => {
                if entry.is_some() {
                    self.core.stats().count(Count::NotStored);
                }
                Ending::Nothing
            }
        };
        let is_settled = false;
        let is_refresh = guard.is_refresh;
        let finished = Finished { key, got, local: guard.local, audience, is_refresh, is_settled };
        (finished, ending, failure)
    }

    /// Makes the changes of some creations.
    async fn commit(
        &self,
        commits: Vec<(usize, Commit<'_>)>,
        finished: &mut [Finished<'_, T>],
    ) -> Result<(), Error> {
        if commits.is_empty() {
            return Ok(());
        }
        let (positions, changes): (Vec<usize>, Vec<_>) = commits.into_iter().unzip();
        let made = self.core.backend.commit(changes).await;
        let is_known = made.is_ok();
        if !is_known {
            self.core.stats().add(Count::NotStored, positions.len() as u64);
        }
        let failed = vec![false; positions.len()];
        let made = self.or_degrade("commit", made, || failed.clone());
        // What became of a commit that failed is not known.
        let answers = made.as_ref().unwrap_or(&failed);
        for (position, made) in positions.into_iter().zip(answers) {
            let one = &mut finished[position];
            one.is_settled = is_known;
            if !made {
                one.audience = one.local.begun();
            }
            if is_known && !made && !one.local.is_outdated() {
                self.core.stats().count(Count::LeasesLost);
                log::lease_lost(self.core.name(), one.key);
            }
        }
        made.map(drop)
    }

    /// Marks the value that a refresh replaces as out of date, even where its own value could not be
    /// stored: it is removed.
    async fn remove_refreshed(&self, finished: &[Finished<'_, T>]) -> Result<(), Error> {
        for one in finished.iter().filter(|one| one.is_refresh && !one.is_settled) {
            self.or_degrade("delete", self.core.backend.delete(one.key).await, || ())?;
        }
        Ok(())
    }
}

fn handed<T: Clone + Send + Sync + 'static>(got: &Timestamped<T>) -> Handed {
    Arc::new(got.clone())
}

/// Another value was found where this caller was about to create: those who
/// wait behind it get that, if it is fresh.
fn pass_on_if_fresh<K, T, C>(
    local: KeyGuard,
    reading: Reading<RegionFlight<K, T, C>>,
) -> Reading<RegionFlight<K, T, C>>
where
    K: 'static,
    T: Cacheable<K>,
    C: ShouldCache<T>,
{
    if let (Freshness::Fresh, Some(got)) = (reading.found, &reading.value) {
        local.finish(&handed(got), reading.seen.cut);
    }
    reading
}

/// A value on its way into the store, and to its waiters.
struct Finished<'k, T> {
    key: &'k str,
    got: Timestamped<T>,
    local: KeyGuard,
    /// Those who asked before this may have the value.
    audience: Cut,
    is_refresh: bool,
    /// It is known what became of it in the backend.
    is_settled: bool,
}

/// The end of a creation in the backend.
enum Ending<'k> {
    Commit(Commit<'k>),
    Release(Lease),
    Nothing,
}

impl<K, T, C> Flight for RegionFlight<K, T, C>
where
    K: 'static,
    T: Cacheable<K>,
    C: ShouldCache<T>,
{
    type Value = Timestamped<T>;
    type Made = T;
    type Guard = Guard;
    type Seen = ReadSnapshot;
    type Error = Error;

    fn error(&self, index: usize, error: LockError) -> Error {
        super::fault::of_lock(self.core.name(), &self.keys[index].asked, error)
    }

    fn creation(&self, indexes: &[usize]) -> Creation {
        let keys = indexes.iter().map(|&index| self.keys[index].stored.clone()).collect();
        Creation { owner: Arc::as_ptr(&self.core.shared).addr(), keys }
    }

    async fn claim<'s>(
        &'s self,
        keys: &[(usize, &ReadSnapshot)],
    ) -> Result<Vec<Claim<'s, Self>>, Error> {
        let mut held = Vec::with_capacity(keys.len());
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

    fn begin(&self, guard: &mut Guard) {
        guard.local.begin();
        guard.begun = Some(self.core.moment().order);
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

    async fn finish(&self, made: Vec<(usize, Guard, T)>) -> Result<Vec<Timestamped<T>>, Error> {
        let ct = self.core.stamp().ct;
        let mut finished = Vec::with_capacity(made.len());
        let (mut commits, mut unused) = (Vec::new(), Vec::new());
        let mut failure = None;
        for (index, guard, value) in made {
            let (one, ending, error) = self.ending(index, value, guard, ct);
            match ending {
                Ending::Commit(change) => commits.push((finished.len(), change)),
                Ending::Release(lease) => unused.push(lease),
                Ending::Nothing => {}
            }
            finished.push(one);
            failure = failure.or(error);
        }
        if !unused.is_empty() {
            self.core.backend.release(unused).await;
        }
        let stored = self.commit(commits, &mut finished).await;
        let stored = stored.and(self.remove_refreshed(&finished).await);
        let values = finished.into_iter().map(Finished::hand_over).collect();
        match failure {
            Some(error) => Err(error),
            None => stored.map(|()| values),
        }
    }

    async fn abandon(&self, guards: Vec<Guard>) {
        // First the server's waiters, then ours: a key that passes to a
        // waiter here must be free there.
        let (locals, leases): (Vec<_>, Vec<_>) =
            guards.into_iter().map(|guard| (guard.local, guard.lease)).unzip();
        let leases: Vec<Lease> = leases.into_iter().flatten().collect();
        if !leases.is_empty() {
            self.core.backend.release(leases).await;
        }
        drop(locals);
    }

    fn deadline(&self) -> Option<Deadline> {
        let of_mutex = || self.core.mutex.as_ref().and_then(KeyedLock::wait_timeout);
        let limit = self.options.wait_timeout.or_else(of_mutex)?;
        let then = self.options.on_wait_timeout.unwrap_or(OnWaitTimeout::Error);
        Some(Deadline { timeout: WaitTimeout { limit, then }, timer: self.core.clock.sleep(limit) })
    }
}

impl<T: Clone + Send + Sync + 'static> Finished<'_, T> {
    fn hand_over(self) -> Timestamped<T> {
        self.local.finish(&handed(&self.got), self.audience);
        self.got
    }
}

/// Awaits `work`, unless `limit` ends first.
async fn first_of<W: Future>(
    work: W,
    mut limit: impl Future<Output = ()> + Unpin,
) -> Option<W::Output> {
    let mut work = pin!(work);
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => Pin::new(&mut limit).poll(cx).map(|()| None),
    })
    .await
}
