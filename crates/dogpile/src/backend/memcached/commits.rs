//! Commits: storing under a claim, and giving it up.
//!
//! What is stored where nothing was has a short time to live until the mark was looked
//! at, so that a process that dies in between leaves it for no longer than that.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use super::claims::{Claim, Holding, entry_of};
use super::mutex::Held;
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
    retention: Option<Duration>,
    claim: Claim,
}

/// The outcome of a commit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Made,
    /// It was stored with the short time to live, and may stay.
    Confirmed,
    NotMade,
}

/// How often it is tried to be faster than others who change the same item.
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
            let retention = entry.as_ref().and_then(|entry| entry.metadata.retention());
            match entry.map(|entry| self.pack(key, &entry)).transpose() {
                Ok(item) => bound.push(Bound { key: key.to_owned(), item, retention, claim }),
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
        let kept = confirmed.map(|(bound, _)| (bound.key.clone(), self.ttl(bound.retention)));
        self.keep(kept.collect());
        let made = outcomes.into_iter().map(|outcome| Ok(outcome? != Outcome::NotMade));
        made.collect()
    }

    async fn store_all(self: &Arc<Self>, bound: &[Bound]) -> Vec<Result<Outcome, BackendError>> {
        let mut requests: Vec<_> = bound.iter().flat_map(|bound| self.storing(bound)).collect();
        let count = requests.len();
        // On one server the claims are given up in the same round trip.
        let together = |bound: &&Bound| self.servers.are_one() && !bound.may_store_anew();
        let (now, later): (Vec<&Bound>, Vec<&Bound>) = bound.iter().partition(together);
        let now = holdings(now.into_iter().map(|bound| &bound.claim));
        let later = holdings(later.into_iter().map(|bound| &bound.claim));
        end_renewals(&now).await;
        requests.extend(giving_up(&now));
        let mut answers = self.servers.ask_all(requests).await;
        note_given_up(&now, answers.split_off(count));
        let mut answers = answers.into_iter();
        let mut next = || answers.next().unwrap_or_else(|| Err(strange(&Reply::Missing)));
        let outcomes = bound.iter().map(|bound| {
            let stored = next();
            let looked = bound.looks().then(&mut next).transpose();
            async move {
                let outcome = match (stored, looked) {
                    (Ok(stored), Ok(looked)) => self.outcome(bound, stored, looked).await,
                    (Err(fault), _) | (_, Err(fault)) => Err(fault),
                };
                // It may have been stored all the same, or may not be withdrawn.
                if outcome.is_err() {
                    self.doubt(bound);
                }
                outcome
            }
        });
        let outcomes = join_all(outcomes.collect::<Vec<_>>()).await;
        self.give_up(&later).await;
        outcomes
    }

    /// The short time to live.
    pub(super) fn unconfirmed(&self) -> Duration {
        let lease = self.options.terms.lease.max(Duration::from_secs(2));
        self.options.storage_time.map_or(lease, |time| time.min(lease))
    }

    fn unconfirmed_ttl(&self) -> u32 {
        item::ttl(Some(self.unconfirmed()))
    }

    /// What makes the change, and looks at the mark where that decides.
    fn storing<'b>(&self, bound: &'b Bound) -> Vec<Request<'b>> {
        let (key, number) = (bound.key.as_str(), bound.claim.before.number);
        let Some((flags, value)) = &bound.item else {
            // Of what is not there, no number says so.
            return vec![Request::Delete { key, number: Some(number.unwrap_or(u64::MAX)) }];
        };
        let Some(number) = number else { return self.storing_anew(bound, *flags, value).into() };
        let (only, ttl) = (Only::IfUnchanged(number), self.ttl(bound.retention));
        vec![Request::Store { key, flags: *flags, value: value.clone(), ttl, only }]
    }

    /// What stores where nothing is, and looks at the mark.
    fn storing_anew<'b>(&self, bound: &'b Bound, flags: u32, value: &Bytes) -> [Request<'b>; 2] {
        let (key, ttl, only) = (bound.key.as_str(), self.unconfirmed_ttl(), Only::IfAbsent);
        let store = Request::Store { key, flags, value: value.clone(), ttl, only };
        [store, bound.claim.mark.looking()]
    }

    async fn outcome(
        &self,
        bound: &Bound,
        stored: Reply,
        looked: Option<Reply>,
    ) -> Result<Outcome, BackendError> {
        let Some((_, ours)) = &bound.item else {
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
            // An overtaken refresh may have removed what was there.
            (Reply::Missing, None) if bound.may_store_anew() => self.store_anew(bound).await,
            (Reply::Missing, _) => self.come_too_late(bound).await,
            // Perhaps this was sent twice, and that is the first one.
            (Reply::Refused, looked) => {
                let there = self.servers.ask(Request::Get { key: &bound.key, value: true }).await?;
                match (there, looked) {
                    (Reply::Item { number, value, .. }, Some(looked)) if value == *ours => {
                        self.confirm(bound, number, &looked).await
                    }
                    (Reply::Item { value, .. }, None) if value == *ours => Ok(Outcome::Made),
                    _ => self.come_too_late(bound).await,
                }
            }
            (other, _) => Err(strange(&other)),
        }
    }

    /// Stores where nothing is any more.
    async fn store_anew(&self, bound: &Bound) -> Result<Outcome, BackendError> {
        let Some((flags, value)) = &bound.item else { return Ok(Outcome::NotMade) };
        let requests = self.storing_anew(bound, *flags, value).into();
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
        number: u64,
        looked: &Reply,
    ) -> Result<Outcome, BackendError> {
        if bound.claim.mark.is_whole(looked) {
            return Ok(Outcome::Confirmed);
        }
        if let Some((_, ours)) = &bound.item {
            self.withdraw(&bound.key, number, ours).await?;
        }
        Ok(Outcome::NotMade)
    }

    /// Gives what was stored its real time to live. Nobody waits for that.
    fn keep(self: &Arc<Self>, mut kept: Vec<(String, u32)>) {
        let shared = self.clone();
        kept.retain(|(_, ttl)| *ttl != self.unconfirmed_ttl());
        if kept.is_empty() {
            return;
        }
        let kept = io::spawn(async move {
            let touches = kept.iter().map(|(key, ttl)| Request::Touch { key, ttl: *ttl });
            // What fails ends after the short time.
            shared.leases.ask_all(touches.collect()).await;
        });
        drop(kept);
    }

    /// Removes what was stored as the item of this number, also if a refresh has given
    /// it another one meanwhile.
    async fn withdraw(&self, key: &str, mut number: u64, ours: &Bytes) -> Result<(), BackendError> {
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
                Some((entry, number)) if Seen::of(Some(&entry)) == before.seen => number,
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
        if let Some((_, value)) = &bound.item
            && (bound.looks() || bound.may_store_anew())
        {
            self.withdraw_later(&bound.key, value);
        }
    }

    /// Gives up what claims hold.
    pub(super) async fn give_up(&self, holdings: &[Holding<'_>]) {
        if !holdings.is_empty() {
            end_renewals(holdings).await;
            note_given_up(holdings, self.servers.ask_all(giving_up(holdings)).await);
        }
    }

    /// Gives up claims, and locks without one.
    pub(super) async fn give_back(&self, leases: Vec<Lease>) {
        let (mut claims, mut locks) = (Vec::new(), Vec::new());
        for lease in leases {
            match lease.into_inner::<Claim>().map_err(Lease::into_inner::<Held>) {
                Ok(claim) => claims.push(claim),
                Err(Ok(held)) => locks.push(held),
                Err(Err(_)) => {}
            }
        }
        let locks = locks.iter().map(|held| Holding { held: Some(held), mark: None });
        self.give_up(&holdings(&claims).into_iter().chain(locks).collect::<Vec<_>>()).await;
    }
}

fn holdings<'c>(claims: impl IntoIterator<Item = &'c Claim>) -> Vec<Holding<'c>> {
    claims.into_iter().map(Claim::holding).collect()
}

/// Waits for renewals that are under way: each gives a lock another number.
async fn end_renewals(holdings: &[Holding<'_>]) {
    for held in holdings.iter().filter_map(|holding| holding.held) {
        held.grip.ends().await;
    }
}

/// Returns the requests that give up the marks, and the locks.
fn giving_up<'c>(holdings: &[Holding<'c>]) -> Vec<Request<'c>> {
    let mut requests = Vec::with_capacity(2 * holdings.len());
    for Holding { held, mark } in holdings {
        requests.extend(mark.map(super::claims::Mark::removing));
        requests.extend(held.map(|held| held.grip.removing()));
    }
    requests
}

/// A lock whose number has changed, by a renewal perhaps, is left to be freed when it is
/// dropped.
fn note_given_up(holdings: &[Holding<'_>], answers: Vec<Answer>) {
    let mut answers = answers.into_iter();
    for Holding { held, mark } in holdings {
        let unmarked = mark.map(|_| answers.next());
        let unlocked = held.and_then(|_| answers.next());
        if let Some(held) = held
            && !matches!(unmarked, Some(Some(Err(_))))
            && matches!(unlocked, Some(Ok(Reply::Done { .. } | Reply::Missing)))
        {
            held.is_over();
        }
    }
}

fn moving() -> BackendError {
    BackendError::unavailable("others change the key all the time")
}

impl Bound {
    /// May what was there have been removed by a refresh that this one has overtaken?
    fn may_store_anew(&self) -> bool {
        let Claim { mode, before, overtook, .. } = &self.claim;
        *overtook && mode.takes_over() && before.number.is_some()
    }

    /// Does the mark decide whether what was stored stays?
    fn looks(&self) -> bool {
        self.item.is_some() && self.claim.before.number.is_none()
    }
}
