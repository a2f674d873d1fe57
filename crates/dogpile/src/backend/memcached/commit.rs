//! Commits: storing under a claim, and giving it up.
//!
//! What is stored where nothing was has a short time to live until the mark was looked
//! at, so that a process that dies in between leaves it for no longer than that.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use super::Shared;
use super::answer::strange;
use super::attempt::{Found, entry_of};
use super::give_up::{end_renewals, giving_up, holdings};
use super::held_claim::Claim;
use super::item::{self, Item};
use super::protocol::{Number, Only, Reply, Request};
use crate::backend::{BackendError, ClaimMode, Commit, Seen};
use crate::remote::finish::to_the_end;
use crate::remote::io;

/// A change with its claim, taken apart.
struct Bound {
    key: String,
    /// None removes what is stored.
    item: Option<Item>,
    claim: Claim,
    /// May what was there be gone without a change?
    may_store_anew: bool,
}

/// The outcome of a commit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Made,
    /// It was stored with the short time to live, and may stay.
    Confirmed,
    NotMade,
}

/// The number of tries to be faster than others who change the same item.
const TRIES: usize = 5;

impl Shared {
    pub(super) async fn commit(
        self: &Arc<Self>,
        changes: Vec<Commit<'_>>,
    ) -> Result<Vec<bool>, BackendError> {
        let mut bound = Vec::with_capacity(changes.len());
        let (mut unused, mut refused) = (Vec::new(), Ok(()));
        for Commit { key, entry, lease } in changes {
            let claim = lease.into_inner::<Claim>();
            let claim =
                claim.map_err(|_| BackendError::other("lease belongs to a different backend"))?;
            match entry.map(|entry| self.pack(key, &entry)).transpose() {
                Ok(item) => bound.push(Bound::new(key, item, claim)),
                Err(error) => {
                    unused.push(claim);
                    refused = Err(error);
                }
            }
        }
        let shared = self.clone();
        let made = to_the_end(async move {
            shared.give_up(&holdings(&unused)).await;
            shared.commit_all(&bound).await
        });
        refused.and(made.await)
    }

    async fn commit_all(self: &Arc<Self>, bound: &[Bound]) -> Result<Vec<bool>, BackendError> {
        // What goes on after the end of the process was ordered is not stored.
        let outcomes = if self.ledger.is_closed() {
            let outcomes = join_all(bound.iter().map(|bound| self.come_too_late(bound))).await;
            self.give_up(&holdings(bound.iter().map(|bound| &bound.claim))).await;
            outcomes
        } else {
            self.store_all(bound).await
        };
        let confirmed = bound
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| matches!(outcome, Ok(Outcome::Confirmed)));
        self.keep(confirmed.filter_map(|(bound, _)| self.to_keep(bound)).collect());
        let made = outcomes.into_iter().map(|outcome| Ok(outcome? != Outcome::NotMade));
        made.collect()
    }

    async fn store_all(self: &Arc<Self>, bound: &[Bound]) -> Vec<Result<Outcome, BackendError>> {
        let mut requests: Vec<_> = bound.iter().flat_map(|bound| self.storing(bound)).collect();
        let count = requests.len();
        // On one server the claims are given up in the same round trip.
        let together = |bound: &&Bound| self.servers.are_one() && !bound.may_store_anew;
        let (now, later): (Vec<&Bound>, Vec<&Bound>) = bound.iter().partition(together);
        let now = holdings(now.into_iter().map(|bound| &bound.claim));
        let later = holdings(later.into_iter().map(|bound| &bound.claim));
        end_renewals(&now).await;
        requests.extend(giving_up(&now));
        let mut answers = self.servers.ask_all(requests).await;
        let given_up = answers.split_off(count);
        let mut answers = answers.into_iter();
        let mut next = || answers.next().unwrap_or_else(|| Err(strange(&Reply::Missing)));
        let outcomes = bound.iter().map(|bound| {
            let stored = next();
            let looked = bound.looks().then(&mut next).transpose();
            async move {
                let outcome = match (stored, looked) {
                    (Ok(stored), Ok(looked)) => self.outcome(bound, stored, looked).await,
                    (Err(error), _) | (_, Err(error)) => Err(error),
                };
                // It may have been stored all the same, or may not be withdrawn.
                if outcome.is_err() {
                    self.doubt(bound);
                }
                outcome
            }
        });
        let outcomes = join_all(outcomes.collect::<Vec<_>>()).await;
        self.note_given_up(&now, given_up).await;
        self.give_up(&later).await;
        outcomes
    }

    /// The short time to live.
    pub(super) fn unconfirmed(&self) -> Duration {
        let lease = self.options.terms.lease.max(Duration::from_secs(2));
        self.options.retention.map_or(lease, |time| time.min(lease))
    }

    /// The time to live of `item` until the mark was looked at. What is kept must not end
    /// early, and may be stored although it is outdated.
    fn unconfirmed_ttl(&self, item: &Item) -> u32 {
        if item.is_kept { item.ttl } else { item::ttl(Some(self.unconfirmed())) }
    }

    /// The key of what was stored for a short time, and its real time to live.
    fn to_keep(&self, bound: &Bound) -> Option<(String, u32)> {
        let item = bound.item.as_ref()?;
        let is_short = item.ttl != self.unconfirmed_ttl(item);
        is_short.then(|| (bound.key.clone(), item.ttl))
    }

    /// Returns the requests that make the change, and look at the mark where that decides.
    fn storing<'b>(&self, bound: &'b Bound) -> Vec<Request<'b>> {
        let (key, number) = (bound.key.as_str(), bound.claim.before.number);
        let Some(item) = &bound.item else {
            // Of what is not there, no number says so.
            return vec![Request::Delete { key, number: Some(number.unwrap_or(Number::NONE)) }];
        };
        let Some(number) = number else { return self.storing_anew(bound, item).into() };
        vec![item.storing(key, item.ttl, Only::IfUnchanged(number))]
    }

    /// Returns the requests that store where nothing is, and look at the mark.
    fn storing_anew<'b>(&self, bound: &'b Bound, item: &Item) -> [Request<'b>; 2] {
        let store = item.storing(&bound.key, self.unconfirmed_ttl(item), Only::IfAbsent);
        [store, bound.claim.mark.looking()]
    }

    async fn outcome(
        &self,
        bound: &Bound,
        stored: Reply,
        looked: Option<Reply>,
    ) -> Result<Outcome, BackendError> {
        let Some(item) = &bound.item else {
            return match stored {
                // Somebody else has changed it since.
                Reply::Refused => self.come_too_late(bound).await,
                Reply::Done { .. } | Reply::Missing => Ok(Outcome::Made),
                other => Err(strange(&other)),
            };
        };
        match (stored, looked) {
            (Reply::Done { number }, Some(looked)) => self.confirm(bound, number, &looked).await,
            (Reply::Done { .. }, None) => Ok(Outcome::Made),
            (Reply::Missing, None) if bound.may_store_anew => self.store_anew(bound).await,
            (Reply::Missing, _) => self.come_too_late(bound).await,
            (Reply::Refused, None) => self.look_again(bound, item).await,
            // Perhaps this was sent twice, and that is the first one.
            (Reply::Refused, Some(looked)) => {
                match self.servers.ask(Request::Get { key: &bound.key, value: true }).await? {
                    Reply::Item { number, value, .. } if value == item.value => {
                        self.confirm(bound, number, &looked).await
                    }
                    _ => self.come_too_late(bound).await,
                }
            }
            (other, _) => Err(strange(&other)),
        }
    }

    /// Looks why the value is not to be replaced that the claim has found. Where only the
    /// connection is another one, the mark says that the server is the same, and the number of
    /// the value that it is the same too.
    async fn look_again(&self, bound: &Bound, item: &Item) -> Result<Outcome, BackendError> {
        let (key, mark) = (bound.key.as_str(), &bound.claim.mark);
        for _ in 0..TRIES {
            let looks = vec![Request::Get { key, value: true }, mark.looking()];
            let mut answers = self.servers.ask_all(looks).await.into_iter();
            let mut next = || answers.next().unwrap_or(Ok(Reply::Missing));
            let stored = match (next()?, next()?) {
                // It was sent twice, and that is the first one.
                (Reply::Item { value, .. }, _) if value == item.value => return Ok(Outcome::Made),
                (Reply::Item { number, .. }, looked)
                    if Some(number) == bound.claim.before.number && mark.is_whole(&looked) =>
                {
                    let store = item.storing(key, item.ttl, Only::IfUnchanged(number));
                    self.servers.ask(store).await?
                }
                (Reply::Missing, _) if bound.may_store_anew => return self.store_anew(bound).await,
                _ => return self.come_too_late(bound).await,
            };
            match stored {
                Reply::Done { .. } => return Ok(Outcome::Made),
                // It has changed, or the connection is another one again.
                Reply::Refused | Reply::Missing => {}
                other => return Err(strange(&other)),
            }
        }
        Err(moving())
    }

    /// Stores where nothing is any more.
    async fn store_anew(&self, bound: &Bound) -> Result<Outcome, BackendError> {
        let Some(item) = &bound.item else { return Ok(Outcome::NotMade) };
        let requests = self.storing_anew(bound, item).into();
        let mut answers = self.servers.ask_all(requests).await.into_iter();
        let mut next = || answers.next().unwrap_or(Ok(Reply::Missing));
        match (next()?, next()?) {
            (Reply::Done { number }, looked) => self.confirm(bound, number, &looked).await,
            _ => Ok(Outcome::NotMade),
        }
    }

    /// Keeps what was stored if the mark was whole afterwards, or withdraws it.
    async fn confirm(
        &self,
        bound: &Bound,
        number: Number,
        looked: &Reply,
    ) -> Result<Outcome, BackendError> {
        if bound.claim.mark.is_whole(looked) {
            return Ok(Outcome::Confirmed);
        }
        if let Some(item) = &bound.item {
            self.withdraw(&bound.key, number, &item.value).await?;
        }
        Ok(Outcome::NotMade)
    }

    /// Gives what was stored its real time to live. Nobody waits for that.
    fn keep(self: &Arc<Self>, keys: Vec<(String, u32)>) {
        if keys.is_empty() {
            return;
        }
        let shared = self.clone();
        let kept = io::spawn(async move {
            let touches = keys.iter().map(|(key, ttl)| Request::Touch { key, ttl: *ttl });
            // What fails ends after the short time.
            shared.leases.ask_all(touches.collect()).await;
        });
        drop(kept);
    }

    /// Removes what was stored as the item of this number, also if a refresh has given
    /// it another one meanwhile.
    async fn withdraw(
        &self,
        key: &str,
        mut number: Number,
        ours: &Bytes,
    ) -> Result<(), BackendError> {
        for _ in 0..TRIES {
            let delete = Request::Delete { key, number: Some(number) };
            if self.servers.ask(delete).await? != Reply::Refused {
                return Ok(());
            }
            match self.servers.ask(Request::Get { key, value: true }).await? {
                Reply::Item { number: now, value, .. } if value == *ours => number = now,
                _ => return Ok(()),
            }
        }
        Err(moving())
    }

    /// Removes what was stored when a refresh claimed the key, if that is still there.
    async fn come_too_late(&self, bound: &Bound) -> Result<Outcome, BackendError> {
        let Claim { mode, before, .. } = &bound.claim;
        if *mode != ClaimMode::Refresh || before.seen == Seen::Nothing {
            return Ok(Outcome::NotMade);
        }
        let key = bound.key.as_str();
        // Another refresh, which has overtaken this one, may give it another number.
        for _ in 0..TRIES {
            let there = self.servers.ask(Request::Get { key, value: true }).await?;
            let number = match entry_of(&there)? {
                Some(Found { entry, number, .. }) if Seen::of(Some(&entry)) == before.seen => {
                    number
                }
                _ => return Ok(Outcome::NotMade),
            };
            let delete = Request::Delete { key, number: Some(number) };
            if self.servers.ask(delete).await? != Reply::Refused {
                return Ok(Outcome::NotMade);
            }
        }
        Err(moving())
    }

    /// A commit whose answer was lost: what it may store is removed when it is there.
    fn doubt(self: &Arc<Self>, bound: &Bound) {
        if let Some(item) = &bound.item
            && (bound.looks() || bound.may_store_anew)
        {
            self.withdraw_later(&bound.key, &item.value);
        }
    }
}

fn moving() -> BackendError {
    BackendError::unavailable("others change the key all the time")
}

impl Bound {
    fn new(key: &str, item: Option<Item>, claim: Claim) -> Self {
        let Claim { mode, before, overtook, .. } = &claim;
        // A refresh that this one has overtaken may have removed it.
        let may_be_gone = (*overtook && mode.may_find_nothing()) || before.life.has_ended();
        let may_store_anew = before.number.is_some() && may_be_gone;
        Self { key: key.to_owned(), item, claim, may_store_anew }
    }

    /// Does the mark decide whether what was stored stays?
    fn looks(&self) -> bool {
        self.item.is_some() && self.claim.before.number.is_none()
    }
}
