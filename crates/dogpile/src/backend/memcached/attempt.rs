//! A key on its way to be claimed, and what was found under it.

use std::time::Duration;

use bytes::Bytes;

use super::answer::strange;
use super::held_claim::{Before, Claim};
use super::item;
use super::lock::{Held, LockToken};
use super::marks::Mark;
use super::protocol::{Number, Reply, Request};
use crate::backend::{BackendError, ClaimMode, Claimed, Seen};
use crate::lock::Lease;
use crate::remote::life::Life;
use crate::value::Entry;

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
    pub(super) lock: String,
    pub(super) mark: String,
    pub(super) token: Bytes,
}

/// The locks that were asked for: each is held, or somebody else's.
pub(super) type Taken = Result<Result<Held, Reply>, BackendError>;

/// The answer of the value's server to a claim: the mark, then the value.
pub(super) type Beside = Result<(Reply, Reply), BackendError>;

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

impl<'k> Asked<'k> {
    pub(super) fn reading(&self) -> Request<'k> {
        Request::Examine { key: self.key }
    }

    pub(super) fn token(&self) -> LockToken {
        LockToken::new(self.lock.clone(), self.token.clone())
    }
}

impl<'a, 'k> Attempt<'a, 'k> {
    /// `taken` is none where no lock is asked for.
    pub(super) fn new(asked: &'a Asked<'k>, taken: Option<Taken>) -> Self {
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

    pub(super) fn look(&mut self, beside: Beside) {
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

    pub(super) fn own_mark(&self) -> Option<Mark> {
        let (number, token) = self.mark.clone().filter(|_| self.is_marked)?;
        Some(Mark { key: self.asked.mark.clone(), number, token })
    }

    pub(super) fn claimed(self) -> Claimed {
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
