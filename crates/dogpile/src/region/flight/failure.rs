//! Creations that failed: the value of before stands in for them, and no other is attempted for a
//! while, by any process.

use super::super::options::Options;
use super::super::values::Failed;
use super::{Guard, RegionFlight, pass_on};
use crate::backend::Commit;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::lock::flight::{Fallback, Reading};
use crate::lock::keyed::Handed;
use crate::lock::{Freshness, fallback_after_failure};
use crate::value::{Entry, Payload};

impl RegionFlight<'_> {
    /// Returns whether an entry that was `found` so may stand in for a creation that fails, or has
    /// just failed.
    pub(super) fn fallback(
        &self,
        index: usize,
        found: Freshness,
        is_kept: bool,
        entry: Option<&Entry>,
    ) -> Fallback {
        if found.is_fresh() {
            return Fallback::OnFailure;
        }
        // A copy of the near tier, that is. What was created while the store is away is created again.
        if is_kept && found == Freshness::Stale && entry.is_some_and(|it| it.metadata.expired) {
            return Fallback::WhileDown;
        }
        let (Some(entry), Some(_)) = (entry, self.options.stale_if_error) else {
            return Fallback::None;
        };
        let now = self.core.clock.coarse_now();
        let limits = self.core.limits(&self.keys[index].asked, &entry.metadata, &self.options);
        let verdict = self.core.verdict(&entry.metadata);
        if !fallback_after_failure(entry.metadata.ct, now, limits, verdict) {
            return Fallback::None;
        }
        let rests = self.core.rests(&self.keys[index].stored, &entry.metadata, &self.options, now);
        if rests { Fallback::Now } else { Fallback::OnFailure }
    }

    /// Is anything given in place of a creation that fails?
    fn makes_up(&self) -> bool {
        let Options { stale_if_error, early, remember_failures, .. } = &self.options;
        stale_if_error.is_some() || early.is_some() || remember_failures.is_some()
    }

    /// Returns an error that another call of this process had a moment ago, if this call takes it.
    pub(super) fn remembered_failure(&self, index: usize) -> Option<Failed> {
        self.options.remember_failures?;
        let (key, now) = (&self.keys[index].stored, self.core.clock.coarse_now());
        let (failure, at) = self.core.shared.failed.remembered(key, now)?;
        if self.core.is_invalidated(at) { None } else { self.as_ours(&failure) }
    }

    /// Returns what another call was handed as a failure of its creator, if this call takes it.
    pub(super) fn as_ours(&self, handed: &Handed) -> Option<Failed> {
        let failed = handed.downcast_ref::<Failed>()?;
        let takes = self.options.takes?;
        takes(failed.shared.as_deref()?).then(|| Failed { is_others: true, ..failed.clone() })
    }

    /// Returns what to go on with, if a creation has failed while this caller waited for it.
    pub(super) async fn resting(&self, index: usize) -> Result<Option<Reading<Self>>, Error> {
        if self.options.stale_if_error.is_none() {
            return Ok(None);
        }
        let reading = self.look_at(index).await?;
        Ok((reading.fallback == Fallback::Now).then_some(reading))
    }

    /// Gives up keys whose creation failed, and says so beside the values that stand in for it.
    pub(super) async fn mark_failed(&self, failed: Vec<(usize, Guard)>, shared: Option<Handed>) {
        let (marked, unmarked): (Vec<_>, Vec<_>) =
            failed.into_iter().partition(|(_, guard)| self.makes_up() && !guard.is_refresh);
        let unmarked = unmarked.into_iter().map(|(_, guard)| guard).collect();
        self.abandon_to(unmarked, shared.as_ref()).await;
        if marked.is_empty() {
            return;
        }
        let now = self.core.clock.now();
        let keys: Vec<&str> =
            marked.iter().map(|(index, _)| self.keys[*index].stored.as_str()).collect();
        let remembered = self.options.remember_failures.zip(shared.as_ref());
        let remembered = remembered.map(|(time, shared)| (shared.clone(), time));
        // A change meanwhile has left another value, whose creation has not failed.
        for ((_, guard), key) in marked.iter().zip(&keys) {
            if !guard.local.is_outdated() {
                self.core.shared.failed.note(key, now, remembered.clone());
            }
        }
        let entries = self.core.backend.get_multi(&keys).await;
        let entries = entries.unwrap_or_else(|_| vec![None; keys.len()]);
        let (mut changes, mut held, mut unused) = (Vec::new(), Vec::new(), Vec::new());
        for (((_, mut guard), key), entry) in marked.into_iter().zip(keys).zip(entries) {
            match (entry.and_then(|entry| self.failed(entry, now)), guard.lease.take()) {
                (Some(entry), Some(lease)) => {
                    changes.push(Commit { key, entry: Some(entry), lease });
                    held.push(guard);
                }
                (_, lease) => unused.push(Guard { lease, ..guard }),
            }
        }
        self.abandon_to(unused, shared.as_ref()).await;
        if !changes.is_empty()
            && let Err(error) = self.core.backend.commit(changes).await
        {
            self.core.note_degraded("commit", &error);
        }
        held.into_iter().for_each(|guard| pass_on(guard.local, shared.as_ref()));
    }

    /// Returns what is to be stored in place of `entry`, if that is a value.
    fn failed(&self, mut entry: Entry, now: Timestamp) -> Option<Entry> {
        if matches!(entry.payload, Payload::Unreadable(_)) {
            return None;
        }
        entry.metadata = entry.metadata.with_failure(Some(now));
        entry.metadata = self.core.kept_for_the_rest(entry.metadata, &self.options);
        Some(entry)
    }
}
