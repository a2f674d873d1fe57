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
use std::time::Duration;

use bytes::Bytes;

use super::answer::{Answer, changed, strange};
use super::lock::{Held, LockToken};
use super::marks::Mark;
use super::protocol::{Number, Only, Reply, Request};
use super::{Shared, item};
use crate::backend::{BackendError, ClaimMode, Claimed, Seen, Wanted};
use crate::lock::Lease;
use crate::remote::life::Life;
use crate::remote::{io, lease, new_token};
use crate::value::Entry;

/// The content of this backend's leases.
pub(super) struct Claim {
    /// None where no lock is asked for, where its server is away, or where another program
    /// holds it.
    pub(super) held: Option<Held>,
    pub(super) mark: Mark,
    pub(super) mode: ClaimMode,
    pub(super) before: Before,
    /// Another creation may still be running whose claim has ended by this one.
    pub(super) overtook: bool,
}

/// The value's state when the key was claimed.
#[derive(Clone, Copy)]
pub(super) struct Before {
    pub(super) seen: Seen,
    /// None if there was nothing.
    pub(super) number: Option<Number>,
    /// An end by its time to live is not a change.
    pub(super) life: Life,
}

/// The entry that a claim has found under its key.
pub(super) struct Found {
    pub(super) entry: Entry,
    pub(super) number: Number,
    life: Life,
}

/// A key on its way to be claimed.
pub(super) struct Asked<'k> {
    pub(super) key: &'k str,
    pub(super) mode: ClaimMode,
    lock: String,
    mark: String,
    pub(super) token: Bytes,
}

/// The locks that were asked for: each is held, or somebody else's.
pub(super) type Taken = Result<Result<Held, Reply>, BackendError>;

/// The answer of the value's server to a claim: the mark, then the value.
type Beside = Result<(Reply, Reply), BackendError>;

/// A claim to a key that is being made.
pub(super) struct Attempt<'a, 'k> {
    pub(super) asked: &'a Asked<'k>,
    pub(super) held: Option<Held>,
    /// The lock's holder, where the key may be taken from that.
    pub(super) holder: Option<Reply>,
    /// The number and the content of the mark that binds this claim, once there is one.
    pub(super) mark: Option<(Number, Bytes)>,
    /// Was that put for this claim?
    pub(super) is_marked: bool,
    found: Option<Found>,
    pub(super) overtakes: bool,
    /// The outcome, if it was not won.
    pub(super) outcome: Option<Claimed>,
}

/// The scope of a claim.
pub(super) struct Holding<'c> {
    pub(super) held: Option<&'c Held>,
    /// None that others may share.
    pub(super) mark: Option<&'c Mark>,
}

impl<'k> Asked<'k> {
    pub(super) fn reading(&self) -> Request<'k> {
        Request::Examine { key: self.key }
    }

    pub(super) fn token(&self) -> LockToken {
        LockToken::new(self.lock.clone(), self.token.clone())
    }
}

impl Claim {
    /// Returns the mark and lock to give up with this claim. Without a lock others may share its mark.
    pub(super) fn holding(&self) -> Holding<'_> {
        let held = self.held.as_ref();
        Holding { held, mark: held.is_some().then_some(&self.mark) }
    }
}

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

impl<'a, 'k> Attempt<'a, 'k> {
    /// `taken` is none where no lock is asked for.
    fn new(asked: &'a Asked<'k>, taken: Option<Taken>) -> Self {
        let (mut held, mut holder, mut outcome) = (None, None, None);
        match taken {
            Some(Ok(Ok(taken))) => held = Some(taken),
            Some(Ok(Err(_))) if !asked.mode.takes_over() => outcome = Some(Claimed::Held),
            Some(Ok(Err(theirs))) => holder = Some(theirs),
            // The lock's server is away: its caller goes ahead without.
            Some(Err(_)) | None => {}
        }
        let (mark, is_marked, found, overtakes) = (None, false, None, false);
        Self { asked, held, holder, mark, is_marked, found, overtakes, outcome }
    }

    pub(super) fn is_going(&self) -> bool {
        self.outcome.is_none()
    }

    pub(super) fn fail(&mut self, error: BackendError) {
        if self.is_going() {
            self.outcome = Some(Claimed::Failed(error));
        }
    }

    fn look(&mut self, beside: Beside) {
        let (mark, value) = match beside {
            Ok(beside) => beside,
            Err(error) => return self.fail(error),
        };
        if let Reply::Item { number, value, .. } = mark {
            self.is_marked = value == self.asked.token;
            let shares = self.held.is_none() && !self.asked.mode.takes_over();
            // Another creation's, which is dead or overtaken, is replaced.
            self.mark = (self.is_marked || shares).then_some((number, value));
        }
        self.read(&value);
    }

    /// Notes what is stored. Another value than was seen settles the claim, also where
    /// somebody else holds the lock.
    pub(super) fn read(&mut self, value: &Reply) {
        if !matches!(self.outcome, None | Some(Claimed::Held)) {
            return;
        }
        match entry_of(value) {
            Ok(Some(Found { entry, .. })) if self.asked.mode.is_settled_by(Some(&entry)) => {
                self.outcome = Some(Claimed::Changed(entry));
            }
            Ok(found) => self.found = found,
            Err(error) => self.fail(error),
        }
    }

    /// The number of what is stored.
    pub(super) fn number(&self) -> Option<Number> {
        self.found.as_ref().map(|found| found.number)
    }

    pub(super) fn renumbered(&mut self, now: Number) {
        if let Some(found) = &mut self.found {
            found.number = now;
        }
    }

    fn own_mark(&self) -> Option<Mark> {
        let (number, token) = self.mark.clone().filter(|_| self.is_marked)?;
        Some(Mark { key: self.asked.mark.clone(), number, token })
    }

    fn claimed(self) -> Claimed {
        if let Some(outcome) = self.outcome {
            return outcome;
        }
        let Some((number, token)) = self.mark.clone() else {
            return Claimed::Failed(strange(&Reply::Missing));
        };
        let mark = Mark { key: self.asked.mark.clone(), number, token };
        if let Some(held) = &self.held {
            held.token.marks(mark.clone());
        }
        let seen = Seen::of(self.found.as_ref().map(|found| &found.entry));
        let life = self.found.as_ref().map(|found| found.life).unwrap_or_default();
        let before = Before { seen, number: self.number(), life };
        let Self { held, asked, overtakes: overtook, .. } = self;
        Claimed::Won(Lease::new(Claim { held, mark, mode: asked.mode, before, overtook }))
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

/// The entry in what was read.
pub(super) fn entry_of(value: &Reply) -> Result<Option<Found>, BackendError> {
    match value {
        Reply::Item { flags, number, value, left } => {
            let life = left.map(|left| Life::of(Duration::from_secs(left.into())));
            let (entry, life) = (item::unpack(*flags, value), life.unwrap_or_default());
            Ok(Some(Found { entry, number: *number, life }))
        }
        Reply::Missing => Ok(None),
        other => Err(strange(other)),
    }
}
