//! A look that is left out: while a cache fills, a key is claimed as if it was known that nothing is there. The
//! claim reads what is.
//!
//! A guess that is not right at once is taken back, and the call goes on with a look, as others begin.

use std::sync::atomic::Ordering;

use super::super::streak::Streak;
use super::claim::pass_on_if_fresh;
use super::{Before, Guard, ReadSnapshot, RegionFlight};
use crate::backend::{ClaimMode, Claimed, Seen, Wanted};
use crate::error::Error;
use crate::lock::Freshness;
use crate::lock::creating;
use crate::lock::flight::{Claim, Fallback, Reading};

impl RegionFlight<'_> {
    /// Looks at keys for the first time in a call. Where the only one is likely to be missing, it is taken for that.
    pub(crate) async fn look_first(&self, indexes: &[usize]) -> Result<Vec<Reading<Self>>, Error> {
        let (&[index], Some(streak)) = (indexes, &self.core.streak) else {
            return self.look(indexes).await;
        };
        if streak.is_on() && self.may_guess(index) {
            return Ok(vec![self.guess()]);
        }
        let readings = self.look(indexes).await?;
        if readings.iter().all(|reading| reading.seen.seen == Seen::Nothing) {
            streak.note_missing();
        } else {
            streak.end();
        }
        Ok(readings)
    }

    /// Does nothing but what is stored decide about the key? That can change at any time, as the backend's use
    /// of scripts can.
    fn may_guess(&self, index: usize) -> bool {
        let core = &self.core;
        self.has_looked.load(Ordering::Relaxed)
            && core.backend.claims_as_it_looks()
            && !core.kept.are_any()
            && !core.owed.are_any()
            && !creating::is_any_running()
            && self.remembered_failure(index).is_none()
    }

    /// The reading of a key that is missing.
    fn guess(&self) -> Reading<Self> {
        let Before { ticket, cut, .. } = self.before();
        let seen = ReadSnapshot { seen: Seen::Nothing, ticket, cut, is_guess: true };
        let (found, fallback) = (Freshness::Missing, Fallback::None);
        Reading { found, value: None, is_kept: false, fallback, seen }
    }

    /// Claims a key that was not looked at. Unless it is missing and free, the call has a reading of it afterwards.
    pub(super) async fn claim_unseen(&self, index: usize) -> Result<Claim<'_, Self>, Error> {
        let key = self.keys[index].stored.as_str();
        // One that is created in this process, or was a moment ago, may have a value to return meanwhile.
        let local = self.core.shared.keys.try_hold(key);
        if let Some(local) = local.filter(|_| self.may_guess(index)) {
            let before = self.before();
            let wanted = Wanted::new(key, ClaimMode::Create(Seen::Nothing));
            match self.claim_one(wanted).await {
                Ok(Some(Claimed::Won(lease))) => {
                    return Ok(Claim::Won(Guard::new(local, Some(lease))));
                }
                Ok(Some(Claimed::Changed(entry))) => {
                    self.core.streak.iter().for_each(Streak::end);
                    let reading = self.reading(index, Some(&entry), before);
                    return Ok(Claim::Changed(pass_on_if_fresh(local, reading)));
                }
                // A look says whether there is a value all the same.
                Ok(Some(Claimed::Held | Claimed::Failed(_)) | None) | Err(_) => {}
            }
        }
        self.core.streak.iter().for_each(Streak::end);
        Ok(Claim::Changed(self.look_at(index).await?))
    }
}
