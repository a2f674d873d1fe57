//! Taking keys over from other creations, all keys of a claim at a time.
//!
//! What a claim finds of another creation (its lock, its mark) it makes its own. The other
//! one may have stored before its mark was gone, so the value is read again after that;
//! and what is stored then gets another number, so that the other one, which is bound to
//! the number that it found, stores nothing over it.

use std::sync::Arc;

use super::Shared;
use super::answer::{Answer, strange};
use super::attempt::{Attempt, Taken};
use super::lock::LockToken;
use super::protocol::{Number, Only, Reply, Request};
use crate::backend::{BackendError, ClaimMode, Claimed};

/// The number of tries to be faster than others who change the same item.
const TRIES: usize = 5;

impl Shared {
    /// Takes locks from other creations; not from other programs.
    pub(super) async fn take_over_locks(self: &Arc<Self>, attempts: &mut [Attempt<'_, '_>]) {
        for _ in 0..TRIES {
            let mut taking = Vec::new();
            for (index, attempt) in attempts.iter().enumerate() {
                if attempt.is_going()
                    && let Some(only) = attempt.holder.as_ref().and_then(taken_from)
                {
                    taking.push((index, attempt.asked.token(), only));
                }
            }
            if taking.is_empty() {
                break;
            }
            for (index, taken) in self.take_all(taking).await {
                let attempt = &mut attempts[index];
                (attempt.holder, attempt.overtakes) = (None, true);
                match taken {
                    Ok(Ok(held)) => attempt.held = Some(held),
                    Ok(Err(holder)) => attempt.holder = Some(holder),
                    // The lock's server is away.
                    Err(_) => {}
                }
            }
        }
        for attempt in attempts.iter_mut().filter(|attempt| attempt.is_going()) {
            let waits = matches!(attempt.asked.mode, ClaimMode::Refresh | ClaimMode::Expire);
            if attempt.holder.is_some() && waits {
                attempt.outcome = Some(Claimed::Held);
            }
        }
    }

    async fn take_all(
        self: &Arc<Self>,
        taking: Vec<(usize, LockToken, Only)>,
    ) -> Vec<(usize, Taken)> {
        let lease = self.options.terms.lease;
        let mut requests = Vec::with_capacity(2 * taking.len());
        for (_, token, only) in &taking {
            requests.extend([token.taking(lease, *only), token.looking()]);
        }
        let answers = self.servers.ask_all(requests).await;
        let indexes: Vec<usize> = taking.iter().map(|(index, ..)| *index).collect();
        let grips = taking.into_iter().map(|(_, token, _)| token).collect();
        indexes.into_iter().zip(self.taken(grips, answers)).collect()
    }

    /// Puts the marks that other creations' are in the place of, and reads the values
    /// after that.
    pub(super) async fn put_marks(&self, attempts: &mut [Attempt<'_, '_>]) {
        let wants = |attempt: &Attempt<'_, '_>| {
            attempt.is_going() && (attempt.overtakes || attempt.mark.is_none())
        };
        let mut requests = Vec::new();
        for attempt in attempts.iter().filter(|attempt| wants(attempt)) {
            requests.push(self.marking(attempt.asked, Only::Always));
            requests.push(attempt.asked.reading());
        }
        if requests.is_empty() {
            return;
        }
        let mut answers = self.servers.ask_all(requests).await.into_iter();
        for attempt in attempts.iter_mut().filter(|attempt| wants(attempt)) {
            match number_and_value(&mut answers) {
                Ok((number, value)) => {
                    attempt.mark = Some((number, attempt.asked.token.clone()));
                    attempt.is_marked = true;
                    attempt.overtakes = true;
                    attempt.read(&value);
                }
                Err(error) => attempt.fail(error),
            }
        }
    }

    /// Gives the values of keys that were taken over another number.
    pub(super) async fn renumber(&self, attempts: &mut [Attempt<'_, '_>]) {
        let is_over = |attempt: &Attempt<'_, '_>| {
            !attempt.is_going() || !attempt.overtakes || !attempt.asked.mode.takes_over()
        };
        let mut done: Vec<bool> = attempts.iter().map(is_over).collect();
        for _ in 0..TRIES {
            let mut requests = Vec::new();
            let mut asked = Vec::new();
            for (index, attempt) in attempts.iter().enumerate() {
                if !done[index]
                    && let Some(number) = attempt.number()
                {
                    let key = attempt.asked.key;
                    requests.push(Request::Renumber { key, number });
                    requests.push(attempt.asked.reading());
                    asked.push(index);
                }
            }
            if requests.is_empty() {
                return;
            }
            let mut answers = self.servers.ask_all(requests).await.into_iter();
            for index in asked {
                done[index] = attempts[index].is_renumbered(&mut answers);
            }
        }
        for (attempt, _) in attempts.iter_mut().zip(done).filter(|(_, done)| !done) {
            attempt.fail(BackendError::unavailable("too many others change the key"));
        }
    }
}

impl Attempt<'_, '_> {
    /// Has the value another number now? If not, what is there instead is noted.
    fn is_renumbered(&mut self, answers: &mut impl Iterator<Item = Answer>) -> bool {
        let mut next = || answers.next().unwrap_or_else(|| Err(strange(&Reply::Missing)));
        match (next(), next()) {
            (Ok(Reply::Done { number }), Ok(_)) => {
                self.renumbered(number);
                true
            }
            (Ok(Reply::Refused | Reply::Missing), Ok(value)) => {
                self.read(&value);
                self.number().is_none()
            }
            (Ok(other), Ok(_)) => {
                self.fail(strange(&other));
                true
            }
            (Err(error), _) | (_, Err(error)) => {
                self.fail(error);
                true
            }
        }
    }
}

/// When a lock may be taken that is held so; none if another program holds it.
fn taken_from(holder: &Reply) -> Option<Only> {
    match holder {
        Reply::Item { number, value, .. } if value.starts_with(b"dogpile-") => {
            Some(Only::IfUnchanged(*number))
        }
        Reply::Missing => Some(Only::IfAbsent),
        _ => None,
    }
}

fn number_and_value(
    answers: &mut impl Iterator<Item = Answer>,
) -> Result<(Number, Reply), BackendError> {
    let mut next = || answers.next().unwrap_or_else(|| Err(strange(&Reply::Missing)));
    match (next(), next()) {
        (Ok(Reply::Done { number }), Ok(value)) => Ok((number, value)),
        (Ok(other), Ok(_)) => Err(strange(&other)),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}
