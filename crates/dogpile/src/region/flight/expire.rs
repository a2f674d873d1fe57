//! Expiring keys: what is stored is marked, under a claim as that of a refresh, so that neither
//! an older creation nor an older value can come after it.

use super::{Guard, RegionFlight};
use crate::backend::Commit;
use crate::clock::TICK;
use crate::error::Error;
use crate::lock::drive::Flight;
use crate::value::{Entry, Payload};

impl RegionFlight<'_> {
    /// Marks the values under all keys as expired. A key that holds none is left as it is; a
    /// value that somebody else changes meanwhile is theirs.
    pub(crate) async fn expire(&self) -> Result<(), Error> {
        let everything: Vec<usize> = (0..self.keys.len()).collect();
        let guards = self.claim_refresh(&everything).await?;
        let keys: Vec<&str> = self.keys.iter().map(|key| key.stored.as_str()).collect();
        let entries = match self.core.backend.get_multi(&keys).await {
            Ok(entries) => entries,
            Err(error) => {
                // What is stored is not known, so it is left; nobody may hold on to it.
                self.abandon(guards).await;
                return Err(self.core.failed("get_multi", error));
            }
        };
        let (mut changes, mut held, mut unused) = (Vec::new(), Vec::new(), Vec::new());
        for ((key, mut guard), entry) in keys.into_iter().zip(guards).zip(entries) {
            match (entry.and_then(|entry| self.expired(entry)), guard.lease.take()) {
                (Some(entry), Some(lease)) => {
                    changes.push(Commit { key, entry: Some(entry), lease });
                    held.push(guard);
                }
                (_, lease) => unused.push(Guard { lease, ..guard }),
            }
        }
        self.abandon(unused).await;
        let expired = if changes.is_empty() {
            Ok(())
        } else {
            self.core.backend.commit(changes).await.map(drop)
        };
        drop(held);
        expired.map_err(|error| self.core.failed("expire", error))
    }

    /// Returns what is to be stored in place of `entry`, if that is a value that is not expired yet.
    ///
    /// Backends tell values from each other by their creation times. The expired one is another
    /// than that which a refresh, or another `expire`, was to replace: where such a one comes
    /// too late, it must not remove this.
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
