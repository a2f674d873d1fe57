//! The end of creations: what is stored of the created values, the commit, and which waiters receive
//! them.

use std::sync::Arc;

use smallvec::SmallVec;

use super::super::core::Timestamped;
use super::{Guard, RegionFlight};
use crate::backend::Commit;
use crate::clock::Timestamp;
use crate::error::{Error, Unencodable, shown};
use crate::lock::Lease;
use crate::lock::keyed::{Cut, Handed, KeyGuard};
use crate::log;
use crate::stats::Count;
use crate::value::{Entry, Object};

/// A value on its way into the store, and to its waiters.
struct Finished<'k> {
    key: &'k str,
    got: Timestamped,
    local: KeyGuard,
    /// Those who asked before this may have the value.
    audience: Cut,
    is_refresh: bool,
    /// It is known what became of it in the backend.
    is_settled: bool,
    /// The begin of its creation, in the order of events.
    begun: Option<Timestamp>,
    /// It is to be stored, and that is not done.
    is_left_over: bool,
}

/// The end of a creation in the backend.
enum Ending<'k> {
    Commit(Commit<'k>),
    Release(Lease),
    Nothing,
}

impl Finished<'_> {
    fn hand_over(self) -> Timestamped {
        self.local.finish(|| handed(&self.got), self.audience);
        self.got
    }
}

impl RegionFlight<'_> {
    /// Stores what was created, as far as it is to be, and hands it to its waiters.
    pub(super) async fn store(
        &self,
        made: Vec<(usize, Guard, Object)>,
    ) -> Result<Vec<Timestamped>, Error> {
        let ct = self.core.stamp().ct;
        let mut finished = Vec::with_capacity(made.len());
        let (mut commits, mut unused) = (Vec::with_capacity(made.len()), Vec::new());
        let mut committed = SmallVec::<[usize; 1]>::new();
        let mut failure = None;
        for (index, guard, value) in made {
            let (one, ending, error) = self.ending(index, value, guard, ct);
            match ending {
                Ending::Commit(change) => {
                    committed.push(finished.len());
                    commits.push(change);
                }
                Ending::Release(lease) => unused.push(lease),
                Ending::Nothing => {}
            }
            finished.push(one);
            failure = failure.or(error);
        }
        if !unused.is_empty() {
            self.core.backend.release(unused).await;
        }
        let stored = self.commit(commits, &committed, &mut finished).await;
        let stored = stored.and(self.remove_refreshed(&finished).await);
        finished.iter().for_each(|one| self.core.shared.failed.forget(one.key));
        self.keep_left_over(&finished);
        let values = finished.into_iter().map(Finished::hand_over).collect();
        match failure {
            Some(error) => Err(error),
            None => stored.map(|()| values),
        }
    }

    /// Was the key changed by somebody else, or the region invalidated, after the creation
    /// began? Then the value may be of before, and must not outlive that.
    fn is_outdated(&self, index: usize, guard: &Guard) -> bool {
        let invalidated = |begun| self.core.is_invalidated(begun);
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
        got: &Timestamped,
    ) -> Result<Option<Entry>, Error> {
        if !self.values.are_cached(&got.value) {
            self.core.stats().count(Count::Vetoed);
            return Ok(None);
        }
        let source = match self.core.entry_for_created(got, &*self.values, &self.options) {
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
            return Err(Error::Encode(Unencodable { region, key: shown(key), source }.into()));
        }
        Ok(None)
    }

    /// Decides how a creation ends in the backend.
    fn ending(
        &self,
        index: usize,
        value: Object,
        mut guard: Guard,
        ct: Timestamp,
    ) -> (Finished<'_>, Ending<'_>, Option<Error>) {
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
        let is_left_over = entry.is_some();
        let ending = match (entry, guard.lease.take()) {
            (entry, Some(lease)) if entry.is_some() || guard.is_refresh => {
                Ending::Commit(Commit { key, entry, lease })
            }
            (_, Some(lease)) => Ending::Release(lease),
            (_, None) => {
                if is_left_over {
                    self.core.stats().count(Count::NotStored);
                }
                Ending::Nothing
            }
        };
        let is_settled = false;
        let is_refresh = guard.is_refresh;
        let (local, begun) = (guard.local, guard.begun);
        let finished =
            Finished { key, got, local, audience, is_refresh, is_settled, begun, is_left_over };
        (finished, ending, failure)
    }

    /// Makes the changes of some creations, which are at these `positions`.
    async fn commit(
        &self,
        changes: Vec<Commit<'_>>,
        positions: &[usize],
        finished: &mut [Finished<'_>],
    ) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        let made = self.core.backend.commit(changes).await;
        let is_known = made.is_ok();
        if is_known {
            self.core.kept.note_changes(false);
        } else {
            self.core.stats().add(Count::NotStored, positions.len() as u64);
        }
        let made = self.or_degrade("commit", made, Vec::new);
        // What became of a commit that failed is not known.
        let unknown = if is_known { 0 } else { positions.len() };
        let answers = made.as_deref().unwrap_or_default().iter();
        let answers = answers.chain(std::iter::repeat_n(&false, unknown));
        for (&position, made) in positions.iter().zip(answers) {
            let one = &mut finished[position];
            one.is_settled = is_known;
            one.is_left_over &= !is_known;
            if *made {
                self.core.owed.forgive(one.key);
            } else {
                one.audience = one.local.begun();
            }
            if is_known && !made && !one.local.is_outdated() {
                self.core.stats().count(Count::LeasesLost);
                log::lease_lost(self.core.name(), one.key);
            }
        }
        made.map(drop)
    }

    /// Keeps in this process what could not be stored, unless it is out of date already. What was
    /// kept for the other keys is out of date now.
    fn keep_left_over(&self, finished: &[Finished<'_>]) {
        let now = self.core.clock.coarse_now();
        for one in finished {
            if one.is_left_over {
                let mut entry = Entry::sharing(one.got.value.clone(), one.got.ct);
                entry.metadata.begun = one.begun.unwrap_or(one.got.ct);
                let lifetime = self.values.lifetime(&one.got.value, &self.options);
                entry.metadata = entry.metadata.with_lifetime(lifetime);
                self.core.kept.keep(one.key, entry, now, || !one.local.is_outdated());
            } else {
                // It is newer than what is kept, whatever became of it.
                self.core.forget_kept(one.key);
            }
        }
    }

    /// Marks the value that a refresh replaces as out of date, even where its own value could not be
    /// stored: it is removed.
    async fn remove_refreshed(&self, finished: &[Finished<'_>]) -> Result<(), Error> {
        for one in finished.iter().filter(|one| one.is_refresh && !one.is_settled) {
            let deleted = self.core.backend.delete(one.key).await;
            if deleted.is_err() {
                self.core.owe_deletion(one.key);
            }
            self.or_degrade("delete", deleted, || ())?;
        }
        Ok(())
    }
}

/// Returns a created value in the form in which waiters are handed it.
pub(super) fn handed(got: &Timestamped) -> Handed {
    Arc::new(got.clone())
}
