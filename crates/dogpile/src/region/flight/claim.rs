//! Claiming keys, first in this process and then in the backend, and waiting for those that others hold.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Instant;

use smallvec::SmallVec;

use super::super::core::Timestamped;
use super::store::handed;
use super::{Before, Guard, ReadSnapshot, RegionFlight};
use crate::backend::{BackendError, ClaimMode, Claimed, Wanted};
use crate::error::Error;
use crate::lock::flight::{Claim, Deadline, Flight, Reading, WaitTimeout, Waited};
use crate::lock::keyed::{Handed, KeyGuard, Turn};
use crate::lock::{KeyedLock as _, Lease, LockError};

impl RegionFlight<'_> {
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
        let mut claims = self.or_degrade("claim", claims, none)?;
        for claim in &mut claims {
            if let Some(Claimed::Failed(error)) =
                claim.take_if(|claim| matches!(claim, Claimed::Failed(_)))
            {
                self.or_degrade("claim", Err(error), || ())?;
            }
        }
        Ok(claims)
    }

    /// Claims one key.
    pub(super) async fn claim_one(
        &self,
        wanted: Wanted<'_>,
    ) -> Result<Option<Claimed>, BackendError> {
        match self.core.backend.claim(vec![wanted]).await?.pop() {
            Some(Claimed::Failed(error)) => Err(error),
            claimed => Ok(claimed),
        }
    }

    /// Claims keys in the backend that are held in this process.
    pub(super) async fn claim_there(
        &self,
        held: SmallVec<[(usize, KeyGuard, ReadSnapshot); 1]>,
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
        let mut named = Vec::with_capacity(held.len());
        named.extend(held.into_iter().zip(claims).map(|((index, local, snapshot), claim)| {
            let claim = match claim {
                Some(Claimed::Failed(_)) | None => match self.kept(index, before) {
                    Some(reading) => Claim::Changed(pass_on_if_fresh(local, reading)),
                    None => Claim::Unclaimed(Guard::new(local, None)),
                },
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
        }));
        Ok(named)
    }

    /// Returns what another caller has created meanwhile, where the backend does not answer.
    fn kept(&self, index: usize, before: Before) -> Option<Reading<Self>> {
        let now = self.core.clock.coarse_now();
        let kept = self.core.kept.at(&self.keys[index].stored, now)?;
        let reading = self.reading(index, Some(&kept), Before { is_kept: true, ..before });
        reading.found.is_fresh().then_some(reading)
    }

    /// Takes keys over, to refresh what is stored under them. Waits only for other
    /// programs' locks.
    pub(crate) async fn claim_refresh(&self, indexes: &[usize]) -> Result<Vec<Guard>, Error> {
        self.claim_to_change(ClaimMode::Refresh, indexes).await
    }

    /// Takes keys over, as `mode` says, from all but other programs.
    pub(super) async fn claim_to_change(
        &self,
        mode: ClaimMode,
        indexes: &[usize],
    ) -> Result<Vec<Guard>, Error> {
        let guards = self.seize_as(mode, indexes).await?;
        let mut claimed = Vec::with_capacity(guards.len());
        for (&index, (local, claim)) in indexes.iter().zip(guards) {
            let lease = match claim {
                Some(Claimed::Won(lease)) => Some(lease),
                Some(Claimed::Held) => self.wait_to_change(mode, index).await?,
                Some(Claimed::Changed(_) | Claimed::Failed(_)) | None => None,
            };
            claimed.push(Guard { is_refresh: true, ..Guard::new(local, lease) });
        }
        Ok(claimed)
    }

    /// Takes keys over in this process, and tries to in the backend; no outcome where
    /// that failed.
    pub(super) async fn seize_as(
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
    async fn wait_to_change(&self, mode: ClaimMode, index: usize) -> Result<Option<Lease>, Error> {
        let key = self.keys[index].stored.as_str();
        let claimed = self.claim_until_won(key, mode);
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
    pub(super) async fn wait_here(
        &self,
        index: usize,
        snapshot: ReadSnapshot,
    ) -> Result<Waited<Self>, Error> {
        let began = Instant::now();
        let turn = self.core.shared.keys.hold(&self.keys[index].stored).await;
        self.core.stats().waited(began.elapsed());
        match turn {
            Turn::Handed(handed) => self.take(index, &handed).await,
            Turn::Won(local) => self.after_waiting(index, local, snapshot).await,
        }
    }

    /// Takes what the creation has come to that this caller waited for.
    async fn take(&self, index: usize, handed: &Handed) -> Result<Waited<Self>, Error> {
        if let Some(got) = handed.downcast_ref::<Timestamped>()
            && self.values.has(&got.value)
        {
            return Ok(Waited::Handed(got.clone()));
        }
        if let Some(failed) = self.as_ours(handed) {
            return Ok(Waited::Failed(failed));
        }
        // The other caller created something of another type, or has an error that is not ours.
        Ok(Waited::Changed(self.look_at(index).await?))
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
        if let Some(reading) = self.resting(index).await? {
            return Ok(Waited::Changed(reading));
        }
        let claims = self.claim_there(SmallVec::from([(index, local, snapshot)])).await?;
        match claims.into_iter().next() {
            Some((_, Claim::Held(waiting))) => waiting.await,
            Some((_, Claim::Won(guard) | Claim::Unclaimed(guard))) => Ok(Waited::Won(guard)),
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
                Some(Claimed::Failed(_)) | None => match self.kept(index, before) {
                    Some(reading) => return Ok(Waited::Changed(pass_on_if_fresh(local, reading))),
                    None => None,
                },
            };
            if let Some(reading) = self.resting(index).await? {
                self.abandon(vec![Guard::new(local, lease)]).await;
                return Ok(Waited::Changed(reading));
            }
            return Ok(Waited::Won(Guard::new(local, lease)));
        }
    }
}

/// Another value was found where this caller was about to create: those who
/// wait behind it get that, if it is fresh.
pub(super) fn pass_on_if_fresh(
    local: KeyGuard,
    reading: Reading<RegionFlight<'_>>,
) -> Reading<RegionFlight<'_>> {
    if let (true, Some(got)) = (reading.found.is_fresh(), &reading.value) {
        local.finish(|| handed(got), reading.seen.cut);
    }
    reading
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
