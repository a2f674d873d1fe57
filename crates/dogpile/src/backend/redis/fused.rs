//! Claiming and committing in as few round trips as can be: by script where
//! the server allows it and both keys are in one place, in plain commands
//! elsewhere.

use std::sync::Arc;

use bytes::Bytes;
use redis::{Value, cmd};

use super::link::Link;
use super::mutex::{Grip, Held, get};
use super::scripts::{CLAIM, COMMIT, Call};
use super::wire::{Answer, Batch};
use super::{Shared, get_multi, slot};
use crate::backend::{BackendError, Claimed, Seen};
use crate::lock::Lease;
use crate::remote::{lease, new_token};
use crate::value::Entry;

impl Shared {
    /// Runs `calls` in one round trip; `None` if the server refuses scripts.
    pub(super) async fn run(&self, calls: Vec<Call>) -> Result<Option<Vec<Value>>, BackendError> {
        self.run_over(&self.link, calls).await
    }

    /// The same over another connection.
    pub(super) async fn run_over(
        &self,
        link: &Link,
        calls: Vec<Call>,
    ) -> Result<Option<Vec<Value>>, BackendError> {
        if self.refuses_scripts.is_known() {
            return Ok(None);
        }
        let mut answers = link.send_all(&all(&calls, Call::by_hash)).await?;
        if answers.iter().any(|answer| self.refuses_scripts.is_in(answer)) {
            return Ok(None);
        }
        let unknown = |answer: &Answer| has_code(answer, "NOSCRIPT");
        if answers.iter().any(unknown) {
            let again: Vec<usize> =
                (0..answers.len()).filter(|&index| unknown(&answers[index])).collect();
            let calls: Vec<Call> = again.iter().map(|&index| calls[index].clone()).collect();
            let full = link.send_all(&all(&calls, Call::in_full)).await?;
            if full.iter().any(|answer| self.refuses_scripts.is_in(answer)) {
                return Ok(None);
            }
            for (index, answer) in again.into_iter().zip(full) {
                answers[index] = answer;
            }
        }
        let checked = answers.into_iter().map(|answer| answer.map_err(|e| link.fault(&e)));
        checked.collect::<Result<_, _>>().map(Some)
    }

    /// Can a script take both the value and its lock?
    fn are_together(&self, key: &str, lock: &str) -> bool {
        !self.target.is_cluster() || slot::of(key) == slot::of(lock)
    }

    pub(super) async fn claim(
        self: &Arc<Self>,
        keys: &[(&str, Seen)],
    ) -> Result<Vec<Claimed>, BackendError> {
        let wanted: Vec<_> = keys.iter().map(|&(key, seen)| Wanted::new(self, key, seen)).collect();
        let together = wanted.iter().all(|wanted| self.are_together(wanted.key, &wanted.lock));
        let lease = self.lease_milliseconds().to_string();
        let answers = if together {
            let calls = wanted.iter().map(|wanted| wanted.by_script(&lease)).collect();
            self.run(calls).await.inspect_err(|_| self.give_up(&wanted))?
        } else {
            None
        };
        let Some(answers) = answers else { return self.claim_plainly(wanted).await };
        let mut claims = Vec::with_capacity(wanted.len());
        for (wanted, answer) in wanted.into_iter().zip(answers) {
            let seen = wanted.seen;
            let key = wanted.key;
            let claim = wanted.outcome(self, answer)?;
            // A header that the script reads in another way than we do.
            let same = |entry| !seen.is_outdated_by(Some(entry));
            if matches!(&claim, Claimed::Changed(entry) if same(entry)) {
                let wanted = Wanted::new(self, key, seen);
                claims.extend(self.claim_plainly(vec![wanted]).await?);
            } else {
                claims.push(claim);
            }
        }
        Ok(claims)
    }

    /// The answer to a claim was lost: what it may have locked is released.
    fn give_up(self: &Arc<Self>, wanted: &[Wanted<'_>]) {
        lease::give_up(self, wanted.iter().map(Wanted::grip));
    }

    /// Locks, then reads what was locked, and unlocks what has changed.
    async fn claim_plainly(
        self: &Arc<Self>,
        wanted: Vec<Wanted<'_>>,
    ) -> Result<Vec<Claimed>, BackendError> {
        let mut take = Batch::new();
        for Wanted { lock, token, .. } in &wanted {
            self.add_taking(&mut take, lock, token);
        }
        let taken = self.link.send_all_or_fail(&take).await;
        let taken = taken.inspect_err(|_| self.give_up(&wanted))?;
        let mut claims = Vec::with_capacity(wanted.len());
        let mut held: Vec<Option<Held>> = Vec::with_capacity(wanted.len());
        for (wanted, answers) in wanted.iter().zip(taken.chunks_exact(2)) {
            let token = &wanted.token;
            let ours = matches!(&answers[1], Value::BulkString(held) if held == token.as_bytes());
            held.push(ours.then(|| Held::new(self, wanted.grip())));
        }
        let keys: Vec<&str> = wanted.iter().map(|wanted| wanted.key).collect();
        // Of the master: a replica may be behind.
        let entries = get_multi(&self.link, &keys).await?;
        for ((wanted, held), entry) in wanted.iter().zip(held).zip(entries) {
            claims.push(match (held, entry) {
                (None, _) => Claimed::Held,
                // Dropping what is held releases it.
                (Some(_), Some(entry)) if wanted.seen.is_outdated_by(Some(&entry)) => {
                    Claimed::Changed(entry)
                }
                (Some(held), _) => Claimed::Won(Lease::new(held)),
            });
        }
        Ok(claims)
    }

    pub(super) async fn commit(
        &self,
        entries: Vec<(&str, Entry, Lease)>,
    ) -> Result<Vec<bool>, BackendError> {
        let mut stores = Vec::with_capacity(entries.len());
        for (key, entry, lease) in entries {
            let held = lease.into_inner::<Held>();
            let held = held.map_err(|_| BackendError::other("this is no lease of a Redis lock"))?;
            stores.push((key, super::frame(&entry)?, held));
        }
        let together = stores.iter().all(|(key, _, held)| self.are_together(key, &held.grip.lock));
        let storage = self.storage_milliseconds().unwrap_or(0).to_string();
        let call = |(key, frame, held): &(&str, Bytes, Held)| {
            let seen = held.grip.seen.as_deref().unwrap_or_default();
            let arguments =
                [held.grip.token.as_bytes(), frame, storage.as_bytes(), seen.as_bytes()];
            Call::new(&COMMIT, &[key, &held.grip.lock], &arguments)
        };
        let answers =
            if together { self.run(stores.iter().map(call).collect()).await? } else { None };
        let Some(answers) = answers else { return self.commit_plainly(stores).await };
        let stored = stores.iter().zip(answers).map(|((.., held), answer)| {
            held.is_over();
            answer == Value::Int(1)
        });
        Ok(stored.collect())
    }

    /// Checks, stores, releases: between the first two a lease can still end.
    async fn commit_plainly(
        &self,
        stores: Vec<(&str, Bytes, Held)>,
    ) -> Result<Vec<bool>, BackendError> {
        let mut check = Batch::new();
        for (.., held) in &stores {
            check.add(&held.grip.lock, get(&held.grip.lock));
        }
        let holders = self.link.send_all_or_fail(&check).await?;
        let ours = |(store, holder): (&(&str, Bytes, Held), &Value)| matches!(holder, Value::BulkString(holder) if holder == store.2.grip.token.as_bytes());
        let ours: Vec<bool> = stores.iter().zip(&holders).map(ours).collect();
        let mut store = Batch::new();
        for ((key, frame, held), ours) in stores.iter().zip(&ours) {
            held.is_over();
            if *ours {
                store.add(key, self.set_command(key, frame));
            }
        }
        self.send_changes(store).await?;
        // Only then: who waits must find the value.
        let mut free = Batch::new();
        for ((.., held), ours) in stores.iter().zip(&ours) {
            if *ours {
                free.add(&held.grip.lock, cmd("DEL").arg(&held.grip.lock).take());
            }
        }
        self.send_changes(free).await?;
        Ok(ours)
    }
}

/// A key on its way to be claimed.
struct Wanted<'k> {
    key: &'k str,
    seen: Seen,
    lock: String,
    token: String,
}

impl<'k> Wanted<'k> {
    fn new(shared: &Shared, key: &'k str, seen: Seen) -> Self {
        Self { key, seen, lock: shared.lock_key(key), token: new_token() }
    }

    fn grip(&self) -> Grip {
        Grip { lock: self.lock.clone(), token: self.token.clone(), seen: None }
    }

    fn by_script(&self, lease: &str) -> Call {
        let seen = in_words(self.seen);
        let arguments = [self.token.as_bytes(), lease.as_bytes(), seen.as_bytes()];
        Call::new(&CLAIM, &[self.key, &self.lock], &arguments)
    }

    fn outcome(self, shared: &Arc<Shared>, answer: Value) -> Result<Claimed, BackendError> {
        let Value::Array(parts) = answer else {
            return Err(BackendError::other("the server gives a strange answer to a claim"));
        };
        let mut parts = parts.into_iter();
        Ok(match (parts.next(), parts.next()) {
            (Some(Value::Int(1)), still) => {
                // What was seen may have vanished since; nothing else may have happened.
                let seen = if still == Some(Value::Int(1)) { self.seen } else { Seen::Nothing };
                let grip = Grip { seen: Some(in_words(seen)), ..self.grip() };
                Claimed::Won(Lease::new(Held::new(shared, grip)))
            }
            (Some(Value::Int(2)), Some(Value::BulkString(frame))) => {
                Claimed::Changed(Entry::from_frame(&frame.into()))
            }
            _ => Claimed::Held,
        })
    }
}

/// As the scripts have it.
fn in_words(seen: Seen) -> String {
    match seen {
        Seen::Nothing => "nothing".to_owned(),
        Seen::Unreadable => "unreadable".to_owned(),
        Seen::Created(ct) => ct.to_string(),
    }
}

fn all(calls: &[Call], form: fn(&Call) -> redis::Cmd) -> Batch {
    let mut batch = Batch::new();
    for call in calls {
        batch.add(call.key(), form(call));
    }
    batch
}

pub(super) fn has_code(answer: &Answer, code: &str) -> bool {
    answer.as_ref().is_err_and(|error| error.code() == Some(code))
}
