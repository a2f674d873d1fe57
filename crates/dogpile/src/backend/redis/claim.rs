//! Claims: what keeps a creation from being stored over a later change.
//!
//! A creation takes the lock, which every process knows, Python's too, and puts a mark
//! beside the value, in the value's slot whatever its name. A change removes the mark,
//! and a commit needs it. Where scripts are allowed, each is one step on the server; see
//! [`plain`](super::plain) for where they are not.
//!
//! Where no locks are asked for, a creation shares the mark that it finds: since that was
//! put, the key was not changed. The first of them to commit ends the claims of the others.
//! So creations that overlap do not keep each other from being stored.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::asked::{Asked, Attempt, in_words, whose};
use super::connection::Batch;
use super::frame::entry_of;
use super::lock::{Before, Claim, Held, get};
use super::scripts::{CLAIM, Call, TAKE};
use super::{Redis, Shared};
use crate::backend::{BackendError, ClaimMode, Claimed, Seen, Wanted};
use crate::lock::Lease;
use crate::remote::life::Life;

impl Redis {
    /// Does a claim read what is stored before it takes anything, in the one round trip of a look? Not where
    /// scripts were refused, ever: by plain commands the lock comes first. Nor where the lock lies in another
    /// slot than the value.
    pub(crate) fn claims_as_it_looks(&self) -> bool {
        let Shared { options, target, refuses_scripts, .. } = &**self.0;
        (!options.locks || !target.is_cluster()) && !refuses_scripts.was_met()
    }
}

impl Shared {
    pub(super) async fn claim(
        self: &Arc<Self>,
        wanted: Vec<Wanted<'_>>,
    ) -> Result<Vec<Claimed>, BackendError> {
        wanted.iter().try_for_each(|wanted| self.check_key(wanted.key))?;
        let asked: Vec<Asked<'_>> = wanted.iter().map(|wanted| Asked::new(self, wanted)).collect();
        let attempt = Attempt { shared: self, asked: &asked };
        let locks = self.options.locks;
        let together = |asked: &Asked<'_>| !locks || self.are_together(asked.key, &asked.lock);
        let together: Vec<bool> = asked.iter().map(together).collect();
        let Some((locked, answers)) = self.claim_by_scripts(&asked, &together).await? else {
            let claims = self.claim_plainly(&asked).await?;
            attempt.ended();
            return Ok(claims);
        };
        attempt.ended();
        let mut claims: Vec<Claimed> = asked.iter().map(|_| Claimed::Held).collect();
        for (index, answer) in answers {
            let has_lock = locks && (together[index] || locked[index]);
            claims[index] = asked[index].outcome(self, has_lock, answer)?;
        }
        // A lock that was taken before is given back at once: somebody may wait for it.
        let unused = (0..asked.len())
            .filter(|&index| locked[index] && matches!(claims[index], Claimed::Changed(_)));
        let unused: Vec<Call> =
            unused.map(|index| asked[index].token(true).releasing_lock()).collect();
        if !unused.is_empty() {
            self.run(unused).await?;
        }
        self.claim_misread(asked, claims).await
    }

    /// Claims keys after the end of the process was ordered: creations go on, and nothing
    /// is stored for them.
    pub(super) async fn claim_in_vain(
        self: &Arc<Self>,
        wanted: Vec<Wanted<'_>>,
    ) -> Result<Vec<Claimed>, BackendError> {
        wanted.iter().try_for_each(|wanted| self.check_key(wanted.key))?;
        let mut look = Batch::new();
        for Wanted { key, .. } in &wanted {
            look.add(key, get(key));
        }
        let values = self.link.send_all(&look).await?;
        let mut claims = Vec::with_capacity(wanted.len());
        for (wanted, value) in wanted.iter().zip(values) {
            let entry = entry_of(&self.link, value)?;
            let seen = Seen::of(entry.as_ref());
            claims.push(match entry {
                Some(entry) if wanted.mode.is_settled_by(Some(&entry)) => Claimed::Changed(entry),
                // Nothing was put that would have to be given up.
                _ => {
                    let asked = Asked { is_shared: true, ..Asked::new(self, wanted) };
                    let token = asked.token.clone();
                    let before = Before { state: in_words(seen), life: Life::unknown() };
                    asked.won(self, false, token, before)
                }
            });
        }
        Ok(claims)
    }

    /// Which locks in other slots were taken, and the answers to the claims that could
    /// be made, by their indexes. `None` where scripts are refused.
    async fn claim_by_scripts(
        &self,
        asked: &[Asked<'_>],
        together: &[bool],
    ) -> Result<Option<(Vec<bool>, Vec<(usize, Value)>)>, BackendError> {
        let Some(locked) = self.take_apart(asked, together).await? else { return Ok(None) };
        let wants = |index: &usize| together[*index] || locked[*index] || asked[*index].forces();
        let indexes: Vec<usize> = (0..asked.len()).filter(wants).collect();
        let calls = indexes.iter().map(|&index| self.claiming(&asked[index])).collect();
        let answers = self.run(calls).await?;
        Ok(answers.map(|answers| (locked, indexes.into_iter().zip(answers).collect())))
    }

    /// Takes the locks that lie in other slots than their values; for each whether it
    /// is held now. `None` where scripts are refused.
    async fn take_apart(
        &self,
        asked: &[Asked<'_>],
        together: &[bool],
    ) -> Result<Option<Vec<bool>>, BackendError> {
        let mut locked = vec![false; asked.len()];
        let apart: Vec<usize> = (0..asked.len()).filter(|&index| !together[index]).collect();
        let lease = self.lease_milliseconds().to_string();
        let take = |&index: &usize| {
            let Asked { lock, token, mode, .. } = &asked[index];
            let arguments = [token.as_bytes(), lease.as_bytes(), whose(*mode).as_bytes()];
            Call::new(&TAKE, &[lock], &arguments)
        };
        let calls: Vec<Call> = apart.iter().map(take).collect();
        if calls.is_empty() {
            return Ok(Some(locked));
        }
        let Some(answers) = self.run(calls).await? else { return Ok(None) };
        for (index, answer) in apart.into_iter().zip(answers) {
            locked[index] = answer == Value::Int(1);
        }
        Ok(Some(locked))
    }

    fn claiming(&self, asked: &Asked<'_>) -> Call {
        let seen = match asked.mode {
            ClaimMode::Create(seen) => in_words(seen),
            ClaimMode::TakeOver | ClaimMode::Refresh | ClaimMode::Expire => String::new(),
        };
        let (lease, life) = (self.lease_milliseconds(), self.mark_milliseconds());
        let arguments = [&asked.token, &lease.to_string(), &life.to_string(), &seen];
        let mut arguments: Vec<&[u8]> = arguments.iter().map(|text| text.as_bytes()).collect();
        arguments.push(whose(asked.mode).as_bytes());
        arguments.push(if asked.shares { b"shares" } else { b"" });
        Call::new(&CLAIM, &self.keys_of(asked.key, &asked.mark, &asked.lock), &arguments)
    }

    /// A value whose header the script reads in another way than this library (anybody
    /// can write one) is claimed by what the script reads, or the two would ask each
    /// other for ever.
    async fn claim_misread(
        self: &Arc<Self>,
        asked: Vec<Asked<'_>>,
        claims: Vec<Claimed>,
    ) -> Result<Vec<Claimed>, BackendError> {
        let mut settled = Vec::with_capacity(claims.len());
        for (asked, claim) in asked.into_iter().zip(claims) {
            let is_same = |entry| !asked.mode.is_settled_by(Some(entry));
            if !matches!(&claim, Claimed::Changed(entry) if is_same(entry)) {
                settled.push(claim);
                continue;
            }
            let again = Wanted::new(asked.key, ClaimMode::TakeOver);
            settled.extend(Box::pin(self.claim(vec![again])).await?);
        }
        Ok(settled)
    }

    /// Returns how long a mark stays that nobody takes away: it must not end before the
    /// creation does.
    pub(super) fn mark_milliseconds(&self) -> u64 {
        let terms = self.options.terms;
        let life = terms.longest_creation.saturating_add(terms.lease);
        u64::try_from(life.max(Duration::from_secs(1)).as_millis()).unwrap_or(u64::MAX)
    }

    /// Gives up claims, and locks without one.
    pub(super) async fn give_back(&self, leases: Vec<Lease>) {
        for lease in leases {
            let held = match lease.into_inner::<Claim>() {
                Ok(claim) => claim.held,
                Err(lease) => match lease.into_inner::<Held>() {
                    Ok(held) => held,
                    Err(_) => continue,
                },
            };
            // Dropped, it is released in the background.
            if self.unlock(&held.token).await.is_ok() {
                held.mark_released();
            }
        }
    }
}
