//! The dogpile lock's view of a region: how its driver reads, claims and
//! stores, over the backend and both layers of mutexes.
//!
//! The mutex of this process comes first, the backend's second, so that a
//! process sends one contender per key to a server. Waiters of this process
//! get the value handed to them; only the one contender looks at the server.

use std::sync::Arc;
use std::time::Instant;

use super::core::{Core, Got};
use super::kind::Cacheable;
use super::options::{Options, ShouldCache};
use crate::backend::{BackendError, Claimed, Seen, unlock_all};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::lock::creating::Creation;
use crate::lock::drive::{Claim, OnTimeout, Patience, Reading, Site, Terms, Waited};
use crate::lock::keyed::{Audience, Handed, KeyGuard, Ticket, Turn};
use crate::lock::{Found, Lease, LockError, Mutex};
use crate::log;
use crate::stats::Count;
use crate::value::Entry;

/// One creating call: some keys of a region, and how to treat them.
pub(crate) struct RegionSite<K, T, C> {
    pub(crate) core: Arc<Core>,
    pub(crate) keys: Vec<SiteKey>,
    pub(crate) options: Options,
    pub(crate) should_cache: C,
    /// Faults of the cache are errors; otherwise they are survived.
    pub(crate) strict: bool,
    pub(crate) types: std::marker::PhantomData<fn() -> (K, T)>,
}

/// A key as the caller gave it and as it is stored.
pub(crate) struct SiteKey {
    pub(crate) asked: String,
    pub(crate) stored: String,
}

/// Holding a key: always in this process, and in the backend if it has a
/// mutex and that did not fail.
pub(crate) struct Guard {
    local: KeyGuard,
    lease: Option<Lease>,
    /// When its creation began.
    begun: Option<Timestamp>,
}

impl Guard {
    fn new(local: KeyGuard, lease: Option<Lease>) -> Self {
        Self { local, lease, begun: None }
    }
}

/// What a reading was made of: the entry, and the moment before it was read.
#[derive(Clone, Copy)]
pub(crate) struct Sight {
    seen: Seen,
    ticket: Ticket,
}

impl<K, T, C> RegionSite<K, T, C>
where
    K: 'static,
    T: Cacheable<K>,
    C: ShouldCache<T>,
{
    /// Looks at the keys `indexes` in the backend.
    pub(crate) async fn look(&self, indexes: &[usize]) -> Result<Vec<Reading<Self>>, Error> {
        let ticket = self.core.shared.keys.ticket();
        let keys: Vec<&str> = indexes.iter().map(|&i| self.keys[i].stored.as_str()).collect();
        let backend = &self.core.backend;
        let (operation, entries) = match keys[..] {
            [key] => ("get", backend.get(key).await.map(|entry| vec![entry])),
            _ => ("get_multi", backend.get_multi(&keys).await),
        };
        let entries = self.survive(operation, entries, || vec![None; keys.len()])?;
        let readings = indexes.iter().zip(entries);
        Ok(readings.map(|(&index, entry)| self.reading(index, entry.as_ref(), ticket)).collect())
    }

    async fn look_at(&self, index: usize) -> Result<Reading<Self>, Error> {
        let ticket = self.core.shared.keys.ticket();
        let entry = self.core.backend.get(&self.keys[index].stored).await;
        let entry = self.survive("get", entry, || None)?;
        Ok(self.reading(index, entry.as_ref(), ticket))
    }

    fn reading(&self, index: usize, entry: Option<&Entry>, ticket: Ticket) -> Reading<Self> {
        let (found, value) = self.core.examine(&self.keys[index].asked, entry, &self.options);
        Reading { found, value, seen: Sight { seen: Seen::of(entry), ticket } }
    }

    /// In a strict call the error; in a plain one what to go on with.
    fn survive<R>(
        &self,
        operation: &'static str,
        result: Result<R, BackendError>,
        instead: impl FnOnce() -> R,
    ) -> Result<R, Error> {
        match result {
            Ok(result) => Ok(result),
            Err(fault) if self.strict => Err(self.core.failed(operation, fault)),
            Err(fault) => {
                self.core.survived(operation, &fault);
                Ok(instead())
            }
        }
    }

    /// Gets the keys' second layer, or makes sure that nobody was faster
    /// where there is none.
    async fn complete(
        &self,
        held: Vec<(usize, KeyGuard, Sight)>,
    ) -> Result<Vec<(usize, Claim<'_, Self>)>, Error> {
        if self.core.mutex.is_some() {
            return self.claim_remotely(held).await;
        }
        let overtaken = held.iter().filter(|(_, guard, sight)| guard.overtaken_since(sight.ticket));
        let overtaken: Vec<usize> = overtaken.map(|(index, ..)| *index).collect();
        let mut readings = match overtaken[..] {
            [] => Vec::new(),
            _ => self.look(&overtaken).await?,
        }
        .into_iter();
        let mut claims = Vec::with_capacity(held.len());
        for (index, local, _) in held {
            let reading = overtaken.contains(&index).then(|| readings.next()).flatten();
            let claim = match reading {
                Some(reading) if reading.found == Found::Fresh => {
                    Claim::Changed(pass_on_if_fresh(local, reading))
                }
                _ => Claim::Won(Guard::new(local, None)),
            };
            claims.push((index, claim));
        }
        Ok(claims)
    }

    async fn claim_remotely(
        &self,
        held: Vec<(usize, KeyGuard, Sight)>,
    ) -> Result<Vec<(usize, Claim<'_, Self>)>, Error> {
        let ticket = self.core.shared.keys.ticket();
        let wanted = held.iter().map(|(i, _, sight)| (self.keys[*i].stored.as_str(), sight.seen));
        let claims = self.core.backend.claim(&wanted.collect::<Vec<_>>()).await;
        // A mutex out of order must not keep anybody from the value: one
        // caller of this process goes ahead.
        let claims = claims.map(|claims| claims.into_iter().map(Some).collect());
        let claims: Vec<Option<Claimed>> =
            self.survive("claim", claims, || held.iter().map(|_| None).collect())?;
        let claims = held.into_iter().zip(claims).map(|((index, local, sight), claim)| {
            let claim = match claim {
                None => Claim::Won(Guard::new(local, None)),
                Some(Claimed::Won(lease)) => Claim::Won(Guard::new(local, Some(lease))),
                Some(Claimed::Held) => {
                    Claim::Held(Box::pin(self.wait_remotely(index, local, sight)))
                }
                Some(Claimed::Changed(entry)) => {
                    let reading = self.reading(index, Some(&entry), ticket);
                    Claim::Changed(pass_on_if_fresh(local, reading))
                }
            };
            (index, claim)
        });
        Ok(claims.collect())
    }

    /// Waits for another caller of this process.
    async fn wait_here(&self, index: usize, sight: Sight) -> Result<Waited<Self>, Error> {
        let began = Instant::now();
        let turn = self.core.shared.keys.hold(&self.keys[index].stored).await;
        self.core.stats().waited(began.elapsed());
        match turn {
            Turn::Handed(value) => match value.downcast_ref::<Got<T>>() {
                Some(got) => Ok(Waited::Handed(got.clone())),
                // The other caller made something of another type.
                None => Ok(Waited::Changed(self.look_at(index).await?)),
            },
            Turn::Won(local) => self.after_waiting(index, local, sight).await,
        }
    }

    /// The key has come to this caller: looks again before it counts as won.
    async fn after_waiting(
        &self,
        index: usize,
        local: KeyGuard,
        sight: Sight,
    ) -> Result<Waited<Self>, Error> {
        if self.core.mutex.is_none() {
            let reading = self.look_at(index).await?;
            return Ok(match reading.found {
                Found::Fresh => Waited::Changed(pass_on_if_fresh(local, reading)),
                _ => Waited::Won(Guard::new(local, None)),
            });
        }
        let claims = self.claim_remotely(vec![(index, local, sight)]).await?;
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
        sight: Sight,
    ) -> Result<Waited<Self>, Error> {
        let began = Instant::now();
        let waited = self.contend(index, local, sight).await;
        self.core.stats().waited(began.elapsed());
        waited
    }

    async fn contend(
        &self,
        index: usize,
        local: KeyGuard,
        sight: Sight,
    ) -> Result<Waited<Self>, Error> {
        let key = self.keys[index].stored.as_str();
        let Some(mutex) = &self.core.mutex else {
            return Ok(Waited::Won(Guard::new(local, None)));
        };
        loop {
            let waited = mutex.wait(key).await;
            let ticket = self.core.shared.keys.ticket();
            let claimed = match waited {
                Ok(Some(lease)) => self.claimed_by_waiting(key, sight.seen, lease).await,
                Ok(None) => self.core.backend.claim(&[(key, sight.seen)]).await,
                Err(fault) => Err(fault),
            };
            let claimed = claimed.map(|claimed| claimed.into_iter().next());
            let lease = match self.survive("lock", claimed, || None)? {
                Some(Claimed::Held) => continue,
                Some(Claimed::Changed(entry)) => {
                    let reading = self.reading(index, Some(&entry), ticket);
                    return Ok(Waited::Changed(pass_on_if_fresh(local, reading)));
                }
                Some(Claimed::Won(lease)) => Some(lease),
                None => None,
            };
            return Ok(Waited::Won(Guard::new(local, lease)));
        }
    }

    /// Waiting has acquired the mutex: reads again under it.
    async fn claimed_by_waiting(
        &self,
        key: &str,
        seen: Seen,
        lease: Lease,
    ) -> Result<Vec<Claimed>, BackendError> {
        let entry = self.core.backend.get(key).await?;
        Ok(vec![match entry {
            Some(entry) if seen.is_outdated_by(Some(&entry)) => {
                self.unlock(vec![lease]).await;
                Claimed::Changed(entry)
            }
            _ => Claimed::Won(lease),
        }])
    }

    async fn unlock(&self, leases: Vec<Lease>) {
        if let Some(mutex) = &self.core.mutex {
            unlock_all(mutex, leases).await;
        }
    }

    /// Was the key changed by somebody else, or the region invalidated, after the creation
    /// began? Then what was made may be of before, and must not outlive that.
    fn is_outdated(&self, index: usize, guard: &Guard) -> bool {
        let invalidated = |begun| self.core.invalidation.is_invalidated(begun);
        let outdated = guard.local.is_outdated() || guard.begun.is_some_and(invalidated);
        if outdated {
            self.core.stats().count(Count::Outdated);
            log::outdated(self.core.name(), &self.keys[index].asked);
        }
        outdated
    }

    /// What is to be stored of what was made, and who may have it.
    fn to_store(
        &self,
        index: usize,
        guard: Option<&Guard>,
        got: &Got<T>,
    ) -> Result<(Option<Entry>, Audience), Error> {
        if guard.is_some_and(|guard| self.is_outdated(index, guard)) {
            return Ok((None, Audience::WaitingSinceBefore));
        }
        if !self.should_cache.should_cache(&got.value) {
            self.core.stats().count(Count::Vetoed);
            return Ok((None, Audience::WaitingSinceBefore));
        }
        let source = match self.core.close(&got.value, got.ct) {
            Ok(entry) => return Ok((Some(entry), Audience::Everyone)),
            Err(source) => source,
        };
        let key = &self.keys[index].asked;
        self.core.stats().count(Count::NotStored);
        log::not_stored(self.core.name(), key, &source);
        let region = self.core.name().to_owned();
        if self.strict {
            return Err(Error::Encode { region, key: crate::error::shown(key), source });
        }
        // Nobody could have stored it: no reason to make it once more.
        Ok((None, Audience::Everyone))
    }

    async fn store(
        &self,
        stores: Stores<'_>,
        finished: &mut [Finished<'_, T>],
    ) -> Result<(), Error> {
        self.unlock(stores.unused).await;
        let (positions, leased): (Vec<usize>, Vec<_>) = stores.leased.into_iter().unzip();
        let stored = self.store_under_leases(leased).await;
        for (position, stored) in positions.into_iter().zip(stored.iter().flatten()) {
            if !stored {
                finished[position].audience = Audience::WaitingSinceBefore;
            }
        }
        let plainly = self.store_plainly(&stores.plain).await;
        stored.and(plainly)
    }

    /// Where the key was changed by somebody else while the value was being stored, either may
    /// have come last: it is removed. That is a miss, and never an old value.
    async fn withdraw(&self, finished: &mut [Finished<'_, T>]) -> Result<(), Error> {
        let mut keys = Vec::new();
        for one in finished.iter_mut().filter(|one| one.is_stored) {
            if one.local.as_ref().is_some_and(KeyGuard::is_outdated) {
                one.audience = Audience::WaitingSinceBefore;
                keys.push(one.key);
            }
        }
        if keys.is_empty() {
            return Ok(());
        }
        self.core.stats().add(Count::Outdated, keys.len() as u64);
        self.survive("delete_multi", self.core.backend.delete_multi(&keys).await, || ())
    }

    /// Stores entries without a lease: one write, whatever their number.
    async fn store_plainly(&self, entries: &[(&str, Entry)]) -> Result<(), Error> {
        let backend = &self.core.backend;
        let (operation, stored) = match entries {
            [] => return Ok(()),
            [(key, entry)] => ("set", backend.set(key, entry.clone()).await),
            _ => ("set_multi", backend.set_multi(entries).await),
        };
        if stored.is_err() {
            self.core.stats().add(Count::NotStored, entries.len() as u64);
        }
        self.survive(operation, stored, || ())
    }

    /// Stores entries under their leases; says which leases were lost.
    async fn store_under_leases(
        &self,
        entries: Vec<(&str, Entry, Lease)>,
    ) -> Result<Vec<bool>, Error> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<&str> = entries.iter().map(|(key, ..)| *key).collect();
        let stored = self.core.backend.commit(entries).await;
        if stored.is_err() {
            self.core.stats().add(Count::NotStored, keys.len() as u64);
        }
        let stored = self.survive("commit", stored, || vec![true; keys.len()])?;
        for (key, stored) in keys.iter().zip(&stored) {
            if !stored {
                self.core.stats().count(Count::LeasesLost);
                log::lease_lost(self.core.name(), key);
            }
        }
        Ok(stored)
    }
}

fn handed<T: Clone + Send + Sync + 'static>(got: &Got<T>) -> Handed {
    Arc::new(got.clone())
}

/// Another value was found where this caller was about to create: those who
/// wait behind it get that, if it is fresh.
fn pass_on_if_fresh<K, T, C>(
    local: KeyGuard,
    reading: Reading<RegionSite<K, T, C>>,
) -> Reading<RegionSite<K, T, C>>
where
    K: 'static,
    T: Cacheable<K>,
    C: ShouldCache<T>,
{
    if let (Found::Fresh, Some(got)) = (reading.found, &reading.value) {
        local.finish(&handed(got), Audience::Everyone);
    }
    reading
}

/// A value on its way into the store, and to those who wait for it.
struct Finished<'k, T> {
    key: &'k str,
    got: Got<T>,
    local: Option<KeyGuard>,
    audience: Audience,
    is_stored: bool,
}

/// What is to be stored of some values, each with its position among them.
#[derive(Default)]
struct Stores<'k> {
    plain: Vec<(&'k str, Entry)>,
    leased: Vec<(usize, (&'k str, Entry, Lease))>,
    /// Of what is not stored.
    unused: Vec<Lease>,
}

impl<'k> Stores<'k> {
    fn add(&mut self, position: usize, key: &'k str, entry: Option<Entry>, lease: Option<Lease>) {
        match (entry, lease) {
            (Some(entry), Some(lease)) => self.leased.push((position, (key, entry, lease))),
            (Some(entry), None) => self.plain.push((key, entry)),
            (None, lease) => self.unused.extend(lease),
        }
    }
}

impl<K, T, C> Site for RegionSite<K, T, C>
where
    K: 'static,
    T: Cacheable<K>,
    C: ShouldCache<T>,
{
    type Value = Got<T>;
    type Made = T;
    type Guard = Guard;
    type Seen = Sight;
    type Fault = Error;

    fn fault(&self, index: usize, fault: LockError) -> Error {
        Error::from_lock(self.core.name(), &self.keys[index].asked, fault)
    }

    fn creation(&self, indexes: &[usize]) -> Creation {
        let keys = indexes.iter().map(|&index| self.keys[index].stored.clone()).collect();
        Creation { owner: Arc::as_ptr(&self.core.shared).addr(), keys }
    }

    async fn claim<'s>(&'s self, keys: &[(usize, &Sight)]) -> Result<Vec<Claim<'s, Self>>, Error> {
        let mut held = Vec::with_capacity(keys.len());
        for &(index, sight) in keys {
            if let Some(local) = self.core.shared.keys.try_hold(&self.keys[index].stored) {
                held.push((index, local, *sight));
            }
        }
        let completed = if held.is_empty() { Vec::new() } else { self.complete(held).await? };
        let mut completed = completed.into_iter().peekable();
        let claims = keys.iter().map(|&(index, sight)| {
            match completed.next_if(|(completed, _)| *completed == index) {
                Some((_, claim)) => claim,
                None => Claim::Held(Box::pin(self.wait_here(index, *sight))),
            }
        });
        Ok(claims.collect())
    }

    fn begin(&self, guard: &mut Guard) {
        guard.local.begin();
        guard.begun = Some(self.core.moment());
    }

    async fn finish(&self, made: Vec<(usize, Option<Guard>, T)>) -> Result<Vec<Got<T>>, Error> {
        let ct = self.core.stamp();
        let mut finished = Vec::with_capacity(made.len());
        let mut stores = Stores::default();
        let mut failure = None;
        for (index, guard, value) in made {
            let got = Got { value, ct };
            let kept = self.to_store(index, guard.as_ref(), &got);
            let (entry, audience) = kept.unwrap_or_else(|error| {
                failure = Some(error);
                (None, Audience::Everyone)
            });
            let key = self.keys[index].stored.as_str();
            let (local, lease) = guard.map(|guard| (guard.local, guard.lease)).unzip();
            let is_stored = entry.is_some();
            stores.add(finished.len(), key, entry, lease.flatten());
            finished.push(Finished { key, got, local, audience, is_stored });
        }
        let stored = self.store(stores, &mut finished).await;
        let stored = stored.and(self.withdraw(&mut finished).await);
        let values = finished.into_iter().map(Finished::hand_over).collect();
        match failure {
            Some(error) => Err(error),
            None => stored.map(|()| values),
        }
    }

    async fn hand_over(&self, guard: Guard, value: &Got<T>) {
        self.unlock(guard.lease.into_iter().collect()).await;
        guard.local.finish(&handed(value), Audience::Everyone);
    }

    async fn abandon(&self, guards: Vec<Guard>) {
        // First the server's waiters, then ours: a key that passes to a
        // waiter here must be free there.
        let (locals, leases): (Vec<_>, Vec<_>) =
            guards.into_iter().map(|guard| (guard.local, guard.lease)).unzip();
        self.unlock(leases.into_iter().flatten().collect()).await;
        drop(locals);
    }

    fn patience(&self) -> Option<Patience> {
        let of_mutex = || self.core.mutex.as_ref().and_then(Mutex::patience);
        let limit = self.options.wait_limit.or_else(of_mutex)?;
        let then = self.options.on_timeout.unwrap_or(OnTimeout::Error);
        Some(Patience { terms: Terms { limit, then }, timer: self.core.clock.sleep(limit) })
    }
}

impl<T: Clone + Send + Sync + 'static> Finished<'_, T> {
    fn hand_over(self) -> Got<T> {
        if let Some(local) = self.local {
            local.finish(&handed(&self.got), self.audience);
        }
        self.got
    }
}
