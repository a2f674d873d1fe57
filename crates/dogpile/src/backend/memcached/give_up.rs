//! Giving up claims: their marks, and their locks.

use super::Shared;
use super::answer::Answer;
use super::held_claim::{Claim, Holding};
use super::lock::Held;
use super::marks::Mark;
use super::protocol::{Reply, Request};
use crate::lock::Lease;

impl Shared {
    /// Gives up what claims hold.
    pub(super) async fn give_up(&self, holdings: &[Holding<'_>]) {
        if !holdings.is_empty() {
            end_renewals(holdings).await;
            let answers = self.servers.ask_all(giving_up(holdings)).await;
            self.note_given_up(holdings, answers).await;
        }
    }

    /// Notes what was given up. A lock or a mark whose number is not known any more, by a
    /// renewal perhaps, is looked for; what fails is freed when the claim is dropped.
    pub(super) async fn note_given_up(&self, holdings: &[Holding<'_>], answers: Vec<Answer>) {
        let mut answers = answers.into_iter();
        for Holding { held, mark } in holdings {
            let unmarked = mark.and_then(|_| answers.next()).unwrap_or(Ok(Reply::Missing));
            let unlocked = held.and_then(|_| answers.next()).unwrap_or(Ok(Reply::Missing));
            let Some(held) = held else { continue };
            let is_free = match (unmarked, unlocked) {
                (Err(_), _) | (_, Err(_)) => false,
                (Ok(Reply::Refused), _) | (_, Ok(Reply::Refused)) => {
                    self.unlock(&held.token).await.is_ok()
                }
                (Ok(_), Ok(unlocked)) => matches!(unlocked, Reply::Done { .. } | Reply::Missing),
            };
            if is_free {
                held.mark_released();
            }
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

pub(super) fn holdings<'c>(claims: impl IntoIterator<Item = &'c Claim>) -> Vec<Holding<'c>> {
    claims.into_iter().map(Claim::holding).collect()
}

/// Waits for renewals that are under way: each gives a lock another number.
pub(super) async fn end_renewals(holdings: &[Holding<'_>]) {
    for held in holdings.iter().filter_map(|holding| holding.held) {
        held.token.ends().await;
    }
}

/// Returns the requests that give up the marks, and the locks.
pub(super) fn giving_up<'c>(holdings: &[Holding<'c>]) -> Vec<Request<'c>> {
    let mut requests = Vec::with_capacity(2 * holdings.len());
    for Holding { held, mark } in holdings {
        requests.extend(mark.map(Mark::removing));
        requests.extend(held.map(|held| held.token.removing()));
    }
    requests
}
