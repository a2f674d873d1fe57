//! Claims: the lock of a key, and a mark beside its value.
//!
//! memcached changes one item at a time, and gives it another number with each change.
//! So a creation that found a value is bound to its number, which is exact. One that
//! found nothing is bound to the number of its mark, which every change removes first: it
//! looks at the mark after it has stored, and withdraws what it has stored if that is gone.
//! The mark lies on the server of the value, whatever its own name hashes to.
//!
//! A creation without a lock shares the mark that it finds: since that was put, the key was
//! not changed. So creations that overlap, where nothing excludes them, do not keep each
//! other from being stored.

use std::sync::Arc;

use bytes::Bytes;

use super::answer::{Answer, changed, strange};
use super::attempt::{Asked, Attempt, Beside, Taken};
use super::held_claim::Holding;
use super::lock::{Held, LockToken};
use super::protocol::{Number, Only, Reply, Request};
use super::{Shared, item};
use crate::backend::{BackendError, Claimed, Wanted};
use crate::remote::{io, lease, new_token};

impl Shared {
    /// Makes changes, each of which ends the claim of a creation of its key: its mark is
    /// removed first.
    pub(super) async fn change(&self, changes: Vec<Request<'_>>) -> Result<(), BackendError> {
        let marks: Vec<_> = changes.iter().map(|change| self.mark_of(change.key())).collect();
        let mut requests = Vec::with_capacity(2 * changes.len());
        for (change, mark) in changes.into_iter().zip(&marks) {
            requests.extend(mark.iter().map(|key| Request::Delete { key, number: None }));
            requests.push(change);
        }
        self.servers.ask_all(requests).await.into_iter().try_for_each(changed)
    }

    /// Keys whose server is away are failed claims, unless all are.
    pub(super) async fn claim(
        self: &Arc<Self>,
        wanted: Vec<Wanted<'_>>,
    ) -> Result<Vec<Claimed>, BackendError> {
        let asked = wanted.iter().map(|wanted| self.asked(wanted));
        let asked = asked.collect::<Result<Vec<_>, _>>()?;
        let mut attempts = self.take_and_look(&asked).await;
        self.take_over_locks(&mut attempts).await;
        self.put_marks(&mut attempts).await;
        self.renumber(&mut attempts).await;
        self.give_up_settled(&mut attempts).await;
        let claims = attempts.into_iter().map(Attempt::claimed).collect();
        fail_together(claims)
    }

    /// Claims keys after the end of the process was ordered: creations go on, and nothing
    /// is stored for them.
    pub(super) async fn claim_in_vain(
        &self,
        wanted: Vec<Wanted<'_>>,
    ) -> Result<Vec<Claimed>, BackendError> {
        let asked = wanted.iter().map(|wanted| self.asked(wanted));
        let asked = asked.collect::<Result<Vec<_>, _>>()?;
        let looks = asked.iter().map(Asked::reading);
        let values = self.servers.ask_all(looks.collect()).await;
        let attempts = asked.iter().zip(values).map(|(asked, value)| {
            let mut attempt = Attempt::new(asked, None);
            attempt.look(value.map(|value| (Reply::Missing, value)));
            // No item has this number.
            attempt.mark = Some((Number::NONE, Bytes::new()));
            attempt.claimed()
        });
        fail_together(attempts.collect())
    }

    fn asked<'k>(&self, wanted: &Wanted<'k>) -> Result<Asked<'k>, BackendError> {
        let Wanted { key, mode, .. } = *wanted;
        let (lock, mark, token) = (self.lock_key(key)?, self.mark_key(key), new_token().into());
        Ok(Asked { key, mode, lock, mark, token })
    }

    /// Takes the locks, puts the marks where there are none, and reads the values: in one
    /// round trip from one server, in two from several, since what is read must be newer.
    async fn take_and_look<'a, 'k>(
        self: &Arc<Self>,
        asked: &'a [Asked<'k>],
    ) -> Vec<Attempt<'a, 'k>> {
        let locked = if self.options.locks { asked } else { &[] };
        let grips: Vec<LockToken> = locked.iter().map(Asked::token).collect();
        let mut requests = self.takings(&grips);
        let (count, are_one) = (requests.len(), self.servers.are_one());
        for asked in asked {
            if are_one {
                requests.extend(self.looks(asked));
            } else {
                // Most who have waited find a value: that takes no second round trip.
                requests.push(asked.reading());
            }
        }
        let mut answers = self.servers.ask_all(requests).await;
        let mut looks = answers.split_off(count).into_iter();
        let mut taken = self.taken(grips, answers).into_iter();
        let attempt = |asked| Attempt::new(asked, taken.next());
        let mut attempts: Vec<Attempt<'a, 'k>> = asked.iter().map(attempt).collect();
        for attempt in &mut attempts {
            if are_one {
                attempt.look(self.beside(&mut looks));
            } else {
                attempt.look(
                    looks.next().unwrap_or(Ok(Reply::Missing)).map(|value| (Reply::Missing, value)),
                );
            }
        }
        if !are_one {
            self.look_later(&mut attempts).await;
        }
        attempts
    }

    /// Looks once the locks are taken.
    async fn look_later(&self, attempts: &mut [Attempt<'_, '_>]) {
        let going = attempts.iter().filter(|attempt| attempt.is_going());
        let requests = going.flat_map(|attempt| self.looks(attempt.asked)).collect();
        let mut looks = self.servers.ask_all(requests).await.into_iter();
        for attempt in attempts.iter_mut().filter(|attempt| attempt.is_going()) {
            attempt.look(self.beside(&mut looks));
        }
    }

    /// Puts a mark if there is none, and reads it and the value.
    fn looks<'a>(&self, asked: &'a Asked<'_>) -> Vec<Request<'a>> {
        let mark = asked.mark.as_str();
        let mut looks = vec![self.marking(asked, Only::IfAbsent)];
        if !self.options.locks {
            // A mark that is shared must not end before the last creation does.
            looks.push(Request::Touch { key: mark, ttl: self.mark_ttl() });
        }
        looks.push(Request::Get { key: mark, value: true });
        looks.push(asked.reading());
        looks
    }

    /// Returns what the next answers to [`looks`](Self::looks) say.
    fn beside(&self, answers: &mut impl Iterator<Item = Answer>) -> Beside {
        let unread = if self.options.locks { 1 } else { 2 };
        answers.by_ref().take(unread).for_each(drop);
        let mut next = || answers.next().unwrap_or_else(|| Err(strange(&Reply::Missing)));
        let (mark, value) = (next(), next());
        Ok((mark?, value?))
    }

    /// It must not end before the creation does.
    fn mark_ttl(&self) -> u32 {
        let terms = self.options.terms;
        item::ttl(Some(terms.longest_creation.saturating_add(terms.lease)))
    }

    pub(super) fn marking<'a>(&self, asked: &'a Asked<'_>, only: Only) -> Request<'a> {
        let (value, ttl) = (asked.token.clone(), self.mark_ttl());
        Request::Store { key: &asked.mark, flags: 0, value, ttl, only }
    }

    /// Gives up what was taken for keys that were not claimed: somebody may wait for it.
    /// Nobody waits for the mark of a caller who has no lock.
    async fn give_up_settled(self: &Arc<Self>, attempts: &mut [Attempt<'_, '_>]) {
        let (mut unused, mut marks) = (Vec::new(), Vec::new());
        for attempt in attempts.iter_mut().filter(|attempt| attempt.outcome.is_some()) {
            let mark = attempt.own_mark().filter(|_| self.options.locks);
            match attempt.held.take() {
                Some(held) => unused.push((held, mark)),
                None => marks.extend(mark),
            }
        }
        if !marks.is_empty() {
            let shared = self.clone();
            drop(io::spawn(async move {
                shared.remove_marks_of(&shared.leases, &marks).await;
            }));
        }
        let holding =
            unused.iter().map(|(held, mark)| Holding { held: Some(held), mark: mark.as_ref() });
        self.give_up(&holding.collect::<Vec<_>>()).await;
    }

    /// Takes each lock, and asks whose it is: which says it, also if the first
    /// was sent twice.
    pub(super) fn takings<'g>(&self, grips: &'g [LockToken]) -> Vec<Request<'g>> {
        let lease = self.options.terms.lease;
        let both = |token: &'g LockToken| [token.taking(lease, Only::IfAbsent), token.looking()];
        grips.iter().flat_map(both).collect()
    }

    /// Returns what the answers to [`takings`](Self::takings) say: the lock, or who holds it.
    pub(super) fn taken(
        self: &Arc<Self>,
        grips: Vec<LockToken>,
        answers: Vec<Answer>,
    ) -> Vec<Taken> {
        let looks = answers.into_iter().skip(1).step_by(2);
        let taken = grips.into_iter().zip(looks).map(|(token, look)| match look {
            Ok(reply) => Ok(match token.is_in(&reply) {
                Some(number) => {
                    token.confirm(number);
                    Ok(Held::new(self, token))
                }
                None => Err(reply),
            }),
            Err(error) => {
                // It may have been taken all the same.
                lease::give_up(self, std::iter::once(token));
                Err(error)
            }
        });
        taken.collect()
    }
}

/// A backend none of whose servers answers has failed as a whole.
fn fail_together(mut claims: Vec<Claimed>) -> Result<Vec<Claimed>, BackendError> {
    if claims.iter().all(|claim| matches!(claim, Claimed::Failed(_)))
        && let Some(Claimed::Failed(error)) = claims.pop()
    {
        return Err(error);
    }
    Ok(claims)
}
