//! Commits: storing under a claim, and giving it up.
//!
//! What is stored where nothing was has a short time to live until the mark was looked
//! at, so that a process that dies in between leaves it for no longer than that.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::claims::{Claim, entry_of};
use super::protocol::{Only, Reply, Request};
use super::servers::Answer;
use super::{Shared, item, strange};
use crate::backend::{BackendError, ClaimMode, Commit, Seen};
use crate::lock::Lease;
use crate::remote::finish::to_the_end;
use crate::remote::io;

/// A change with its claim, taken apart.
struct Bound {
    key: String,
    /// None removes what is stored.
    item: Option<(u32, Bytes)>,
    claim: Claim,
}

impl Shared {
    pub(super) async fn commit(
        self: &Arc<Self>,
        changes: Vec<Commit<'_>>,
    ) -> Result<Vec<bool>, BackendError> {
        let mut bound = Vec::with_capacity(changes.len());
        let mut refused = Ok(());
        for Commit { key, entry, lease } in changes {
            let claim = lease.into_inner::<Claim>();
            let claim =
                claim.map_err(|_| BackendError::other("lease belongs to a different backend"))?;
            match entry.map(|entry| self.pack(key, &entry)).transpose() {
                Ok(item) => bound.push(Bound { key: key.to_owned(), item, claim }),
                Err(error) => {
                    self.give_up(&claim).await;
                    refused = Err(error);
                }
            }
        }
        let shared = self.clone();
        let made = to_the_end(async move { shared.commit_all(bound).await }).await;
        refused.and(made)
    }

    async fn commit_all(self: Arc<Self>, bound: Vec<Bound>) -> Result<Vec<bool>, BackendError> {
        let mut requests: Vec<_> = bound.iter().flat_map(|bound| self.storing(bound)).collect();
        let count = requests.len();
        // On one server the claims are given up in the same round trip.
        let together = |bound: &&Bound| self.servers.are_one() && !bound.may_store_anew();
        let (now, later): (Vec<&Bound>, Vec<&Bound>) = bound.iter().partition(together);
        let now: Vec<&Claim> = now.iter().map(|bound| &bound.claim).collect();
        let later: Vec<&Claim> = later.iter().map(|bound| &bound.claim).collect();
        end_renewals(&now).await;
        requests.extend(giving_up(&now));
        let mut answers = self.servers.ask_all(requests).await;
        note_given_up(&now, answers.split_off(count));
        let mut answers = answers.into_iter();
        let mut outcomes = Vec::with_capacity(bound.len());
        for bound in &bound {
            let stored = answers.next();
            let looked = bound.looks().then(|| answers.next()).flatten();
            let outcome = match (stored.transpose(), looked.transpose()) {
                (Ok(Some(stored)), Ok(looked)) => self.outcome(bound, stored, looked).await,
                (Err(fault), _) | (_, Err(fault)) => Err(fault),
                (Ok(None), _) => Ok(true),
            };
            outcomes.push(outcome);
        }
        self.give_up_all(&later).await;
        outcomes.into_iter().collect()
    }

    /// The short time to live.
    fn unconfirmed(&self) -> u32 {
        let lease = self.options.terms.lease.max(Duration::from_secs(2));
        item::ttl(Some(self.options.storage_time.map_or(lease, |time| time.min(lease))))
    }

    /// What makes the change, and looks at the mark where that decides.
    fn storing<'b>(&self, bound: &'b Bound) -> Vec<Request<'b>> {
        let (key, number) = (bound.key.as_str(), bound.claim.before.number);
        let Some((flags, value)) = &bound.item else {
            // Of what is not there, no number says so.
            return vec![Request::Delete { key, number: Some(number.unwrap_or(u64::MAX)) }];
        };
        let (only, ttl) = match number {
            Some(number) => (Only::IfUnchanged(number), self.ttl()),
            None => (Only::IfAbsent, self.unconfirmed()),
        };
        let mut requests =
            vec![Request::Store { key, flags: *flags, value: value.clone(), ttl, only }];
        if bound.looks() {
            requests.push(Request::Get { key: &bound.claim.mark.key, value: true });
        }
        requests
    }

    async fn outcome(
        self: &Arc<Self>,
        bound: &Bound,
        stored: Reply,
        looked: Option<Reply>,
    ) -> Result<bool, BackendError> {
        let Some((_, ours)) = &bound.item else {
            // What somebody else has stored since stays.
            return Ok(!matches!(stored, Reply::Refused));
        };
        match (stored, looked) {
            (Reply::Done { number }, Some(looked)) => self.confirm(bound, number, &looked).await,
            (Reply::Done { .. }, None) => Ok(true),
            // An overtaken refresh may have removed what was there.
            (Reply::Missing, None) if bound.may_store_anew() => {
                Box::pin(self.store_anew(bound)).await
            }
            (Reply::Missing, _) => self.come_too_late(bound).await,
            // Perhaps this was sent twice, and that is the first one.
            (Reply::Refused, looked) => {
                let there = self.servers.ask(Request::Get { key: &bound.key, value: true }).await?;
                match (there, looked) {
                    (Reply::Item { number, value, .. }, Some(looked)) if value == *ours => {
                        self.confirm(bound, number, &looked).await
                    }
                    (Reply::Item { value, .. }, None) if value == *ours => Ok(true),
                    _ => self.come_too_late(bound).await,
                }
            }
            (other, _) => Err(strange(&other)),
        }
    }

    /// Stores where nothing is any more.
    async fn store_anew(self: &Arc<Self>, bound: &Bound) -> Result<bool, BackendError> {
        let Some((flags, value)) = &bound.item else { return Ok(false) };
        let store = Request::Store {
            key: &bound.key,
            flags: *flags,
            value: value.clone(),
            ttl: self.unconfirmed(),
            only: Only::IfAbsent,
        };
        let look = Request::Get { key: &bound.claim.mark.key, value: true };
        let mut answers = self.servers.ask_all(vec![store, look]).await.into_iter();
        let mut next = || answers.next().unwrap_or(Ok(Reply::Missing));
        match (next()?, next()?) {
            (Reply::Done { number }, looked) => self.confirm(bound, number, &looked).await,
            _ => Ok(false),
        }
    }

    /// Keeps what was stored if the mark was there afterwards, or withdraws it.
    async fn confirm(
        self: &Arc<Self>,
        bound: &Bound,
        number: u64,
        looked: &Reply,
    ) -> Result<bool, BackendError> {
        let mark = &bound.claim.mark;
        if matches!(looked, Reply::Item { value, .. } if *value == mark.token) {
            self.keep(&bound.key);
            return Ok(true);
        }
        let Some((_, ours)) = &bound.item else { return Ok(false) };
        self.withdraw(&bound.key, number, ours).await?;
        Ok(false)
    }

    /// Gives what was stored its real time to live. Nobody waits for that.
    fn keep(self: &Arc<Self>, key: &str) {
        let (ttl, shared, key) = (self.ttl(), self.clone(), key.to_owned());
        if ttl == self.unconfirmed() {
            return;
        }
        let kept = io::spawn(async move {
            // What fails ends after the short time.
            let _ = shared.servers.ask(Request::Touch { key: &key, ttl }).await;
        });
        drop(kept);
    }

    /// Removes what was stored as the item of this number, also if a refresh has given
    /// it another one meanwhile.
    async fn withdraw(&self, key: &str, mut number: u64, ours: &Bytes) -> Result<(), BackendError> {
        const TRIES: usize = 3;
        for _ in 0..TRIES {
            let delete = Request::Delete { key, number: Some(number) };
            if self.servers.ask(delete).await? != Reply::Refused {
                break;
            }
            match self.servers.ask(Request::Get { key, value: true }).await? {
                Reply::Item { number: now, value, .. } if value == *ours => number = now,
                _ => break,
            }
        }
        Ok(())
    }

    /// Removes what was stored when a refresh claimed the key, if that is still there.
    async fn come_too_late(&self, bound: &Bound) -> Result<bool, BackendError> {
        let Claim { mode, before, .. } = &bound.claim;
        if *mode != ClaimMode::Refresh || before.seen == Seen::Nothing {
            return Ok(false);
        }
        let key = bound.key.as_str();
        let there = self.servers.ask(Request::Get { key, value: true }).await?;
        if let Some((entry, number)) = entry_of(&there)?
            && Seen::of(Some(&entry)) == before.seen
        {
            self.servers.ask(Request::Delete { key, number: Some(number) }).await?;
        }
        Ok(false)
    }

    /// Gives up a claim: its lock and its mark.
    pub(super) async fn give_up(&self, claim: &Claim) {
        self.give_up_all(&[claim]).await;
    }

    async fn give_up_all(&self, claims: &[&Claim]) {
        if !claims.is_empty() {
            end_renewals(claims).await;
            note_given_up(claims, self.servers.ask_all(giving_up(claims)).await);
        }
    }

    /// Gives up claims, and locks without one.
    pub(super) async fn give_back(&self, leases: Vec<Lease>) {
        let mut claims = Vec::new();
        for lease in leases {
            match lease.into_inner::<Claim>() {
                Ok(claim) => claims.push(claim),
                Err(lease) => {
                    if let Ok(held) = lease.into_inner::<super::mutex::Held>()
                        && self.unlock(&held.grip).await.is_ok()
                    {
                        held.is_over();
                    }
                }
            }
        }
        self.give_up_all(&claims.iter().collect::<Vec<_>>()).await;
    }
}

/// Waits for renewals that are under way: each gives a lock another number.
async fn end_renewals(claims: &[&Claim]) {
    for Claim { held, .. } in claims {
        if let Some(held) = held {
            held.grip.ends().await;
        }
    }
}

/// What gives claims up: the marks, and the locks that there are.
fn giving_up<'c>(claims: &[&'c Claim]) -> Vec<Request<'c>> {
    let mut requests = Vec::with_capacity(2 * claims.len());
    for Claim { held, mark, .. } in claims {
        requests.push(Request::Delete { key: &mark.key, number: Some(mark.number) });
        if let Some(held) = held {
            // Every lock that was taken has one.
            let number = Some(held.grip.number().unwrap_or(u64::MAX));
            requests.push(Request::Delete { key: &held.grip.lock, number });
        }
    }
    requests
}

/// A lock whose number has changed, by a renewal perhaps, is left to be freed when it is
/// dropped.
fn note_given_up(claims: &[&Claim], answers: Vec<Answer>) {
    let mut answers = answers.into_iter();
    for Claim { held, .. } in claims {
        let _mark = answers.next();
        if let Some(held) = held
            && matches!(answers.next(), Some(Ok(Reply::Done { .. } | Reply::Missing)))
        {
            held.is_over();
        }
    }
}

impl Bound {
    /// May what was there have been removed by a refresh that this one has overtaken?
    fn may_store_anew(&self) -> bool {
        self.claim.mode.takes_over() && self.claim.before.number.is_some()
    }

    /// Does the mark decide whether what was stored stays?
    fn looks(&self) -> bool {
        self.item.is_some() && self.claim.before.number.is_none()
    }
}
