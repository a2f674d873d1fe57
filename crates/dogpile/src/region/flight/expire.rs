//! Expiring keys: what is stored is marked, under a claim as that of a refresh, so that neither
//! an older creation nor an older value can come after it.

use super::{Guard, RegionFlight};
use crate::backend::{ClaimMode, Commit, Seen};
use crate::clock::TICK;
use crate::error::Error;
use crate::lock::flight::Flight;
use crate::value::{Entry, Payload};

/// Several who expire a key at once may take it from each other so often.
const TRIES: usize = 5;

/// A value to be expired: the index of its key, and what it looks like.
type Target = (usize, Seen);

impl RegionFlight<'_> {
    /// Marks the values under all keys as expired. A key that holds none is left as it is; a
    /// value that somebody else stores meanwhile is theirs.
    ///
    /// Who takes a key from this claim may end without a change of it (a refresh that fails), or
    /// expires it too. So what is still there after that is expired again. If there is no end to
    /// that, it is removed.
    pub(crate) async fn expire(&self) -> Result<(), Error> {
        let mut indexes: Vec<usize> = (0..self.keys.len()).collect();
        for key in &self.keys {
            self.core.forget_kept(&key.stored);
            self.core.shared.failed.forget(&key.stored);
        }
        let tries = std::iter::repeat_n(ClaimMode::Expire, TRIES);
        for mode in tries.chain([ClaimMode::Refresh]) {
            let overtaken = self.expire_as(mode, &indexes).await?;
            indexes = self.still_there(overtaken).await?;
            if indexes.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Marks values as expired. Returns those whose claim ended before that.
    async fn expire_as(&self, mode: ClaimMode, indexes: &[usize]) -> Result<Vec<Target>, Error> {
        let guards = self.claim_to_change(mode, indexes).await?;
        let entries = match self.stored(indexes).await {
            Ok(entries) => entries,
            Err(error) => {
                // What is stored is not known, so it is left; nobody may hold on to it.
                self.abandon(guards).await;
                return Err(error);
            }
        };
        let (mut changes, mut held, mut unused) = (Vec::new(), Vec::new(), Vec::new());
        let mut targets = Vec::new();
        for ((&index, mut guard), entry) in indexes.iter().zip(guards).zip(entries) {
            let seen = Seen::of(entry.as_ref());
            match (entry.and_then(|entry| self.expired(entry)), guard.lease.take()) {
                (Some(entry), Some(lease)) => {
                    let key = self.keys[index].stored.as_str();
                    changes.push(Commit { key, entry: Some(entry), lease });
                    held.push(guard);
                    targets.push((index, seen));
                }
                (_, lease) => unused.push(Guard { lease, ..guard }),
            }
        }
        self.abandon(unused).await;
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let made = self.core.backend.commit(changes).await;
        drop(held);
        let made = made.map_err(|error| self.core.failed("expire", error))?;
        let overtaken = targets.into_iter().zip(made).filter(|(_, made)| !made);
        Ok(overtaken.map(|(target, _)| target).collect())
    }

    /// Returns the indexes of those that are stored as they were.
    async fn still_there(&self, targets: Vec<Target>) -> Result<Vec<usize>, Error> {
        if targets.is_empty() {
            return Ok(Vec::new());
        }
        let indexes: Vec<usize> = targets.iter().map(|(index, _)| *index).collect();
        let entries = self.stored(&indexes).await?;
        let there = targets.into_iter().zip(entries);
        let there = there.filter(|((_, seen), entry)| Seen::of(entry.as_ref()) == *seen);
        Ok(there.map(|((index, _), _)| index).collect())
    }

    async fn stored(&self, indexes: &[usize]) -> Result<Vec<Option<Entry>>, Error> {
        let keys: Vec<&str> = indexes.iter().map(|&i| self.keys[i].stored.as_str()).collect();
        let entries = self.core.backend.get_multi(&keys).await;
        entries.map_err(|error| self.core.failed("get_multi", error))
    }

    /// Returns what is to be stored in place of `entry`, if that is a value that is not expired yet.
    ///
    /// Backends tell values from each other by their creation times. The expired one is another
    /// than that which a refresh was to replace: where that comes too late, it must not remove
    /// this.
    fn expired(&self, mut entry: Entry) -> Option<Entry> {
        if entry.metadata.expired || matches!(entry.payload, Payload::Unreadable(_)) {
            return None;
        }
        entry.metadata.expired = true;
        entry.metadata.ct -= TICK;
        entry.metadata = self.core.kept_for_the_rest(entry.metadata, &self.options);
        Some(entry)
    }
}
