//! Commits: values that are stored under a claim that is whole.

use std::sync::Arc;

use redis::Value;

use super::Shared;
use super::frame::Frame;
use super::lock::{Claim, LockToken};
use super::scripts::{COMMIT, Call};
use crate::backend::{BackendError, ClaimMode, Commit};
use crate::remote::finish::to_the_end;

/// A commit, taken apart.
pub(super) struct Bound {
    pub(super) key: String,
    pub(super) frame: Option<Frame>,
    pub(super) claim: Claim,
    /// The end of the process was ordered: the claim is as good as broken.
    pub(super) is_over: bool,
}

impl Shared {
    pub(super) async fn commit(
        self: &Arc<Self>,
        changes: Vec<Commit<'_>>,
    ) -> Result<Vec<bool>, BackendError> {
        let is_over = self.ledger.is_closed();
        let mut bound = Vec::with_capacity(changes.len());
        for Commit { key, entry, lease } in changes {
            let claim = lease.into_inner::<Claim>();
            let claim =
                claim.map_err(|_| BackendError::other("lease belongs to a different backend"))?;
            let frame = entry.as_ref().map(|entry| self.frame(entry)).transpose()?;
            bound.push(Bound { key: key.to_owned(), frame, claim, is_over });
        }
        // Where that takes several steps, what was stored is looked after also when the
        // caller has gone.
        let shared = self.clone();
        to_the_end(async move { shared.commit_bound(bound).await }).await
    }

    async fn commit_bound(self: &Arc<Self>, bound: Vec<Bound>) -> Result<Vec<bool>, BackendError> {
        let calls = bound.iter().map(|bound| self.committing(bound)).collect();
        let Some(answers) = self.run(calls).await? else {
            return self.commit_plainly(bound).await;
        };
        let mut apart = Vec::new();
        for Bound { key, claim, .. } in &bound {
            let token = &claim.held.token;
            if !self.are_together(key, &token.lock) {
                apart.push(token.releasing_lock());
            }
        }
        // Only now: a waiter must find the value.
        if !apart.is_empty() {
            self.run(apart).await?;
        }
        bound.iter().for_each(|bound| bound.claim.held.mark_released());
        Ok(answers.into_iter().map(|answer| answer == Value::Int(1)).collect())
    }

    fn committing(&self, bound: &Bound) -> Call {
        let Bound { key, frame, claim, is_over } = bound;
        let LockToken { lock, value: token, .. } = &*claim.held.token;
        // No mark has an empty one.
        let token = if *is_over { "" } else { token };
        let removes = match claim.mode {
            ClaimMode::Refresh => "remove",
            _ if claim.may_find_nothing() => "anyway",
            _ => "",
        };
        let stored = frame.as_ref().map(|frame| [frame.bytes.clone(), frame.retention()]);
        let [frame, retention] = stored.unwrap_or_default();
        let arguments = [
            token.as_bytes(),
            &frame,
            &retention,
            claim.before.state.as_bytes(),
            removes.as_bytes(),
        ];
        Call::new(&COMMIT, &self.keys_of(key, &claim.mark, lock), &arguments)
    }
}

impl Claim {
    /// May the value have gone since, without a change?
    pub(super) fn may_find_nothing(&self) -> bool {
        self.mode.may_find_nothing() || self.before.life.has_ended()
    }
}
