//! Claims in plain commands, for servers that refuse scripts.
//!
//! Here a change does not end a lock, only the mark, and a new creation waits for the
//! one that it has outdated. So a mark that is there while its lock is held is that of
//! the holder, and a commit can need it within a transaction: `SET mark value XX`, then
//! `RENAME mark key`, which fails where there is no mark. A lease that ends between the
//! look at the lock and that, or a mark that is another's by then, is found out afterwards,
//! and the value withdrawn.
//!
//! A claim without a lock has nothing but its mark, which others may share or replace: its
//! commit stores, looks at the mark in the same round trip, and withdraws the value if the
//! mark is not whole.

use std::sync::Arc;

use redis::{Value, cmd};

use super::Shared;
use super::asked::{Asked, in_words, life_of};
use super::change::Change;
use super::commit::Bound;
use super::connection::Batch;
use super::frame::{Frame, entry_of};
use super::lock::{Before, Held, LockToken, get, is_held_by};
use crate::backend::{BackendError, ClaimMode, Claimed, Seen};

impl Shared {
    /// First the marks, then the values.
    pub(super) async fn change_plainly(&self, changes: &[Change<'_>]) -> Result<(), BackendError> {
        let mut batch = Batch::new();
        for Change { key, frame } in changes {
            let mark = self.mark_of(key);
            batch.add(key, cmd("DEL").arg(mark).take());
            batch.add(
                key,
                match frame {
                    Some(frame) => frame.storing(key),
                    None => cmd("DEL").arg(key).take(),
                },
            );
        }
        self.send_changes(batch).await
    }

    /// Takes the locks, then puts the marks and reads the values.
    pub(super) async fn claim_plainly(
        self: &Arc<Self>,
        asked: &[Asked<'_>],
    ) -> Result<Vec<Claimed>, BackendError> {
        let held = self.lock_plainly(asked).await?;
        let is_claimed = |asked: &Asked<'_>, held: &Option<Held>| {
            held.is_some() || asked.forces() || !self.options.locks
        };
        let mut look = Batch::new();
        for (asked, held) in asked.iter().zip(&held) {
            if is_claimed(asked, held) {
                self.add_marking(&mut look, asked);
                look.add(asked.key, cmd("PTTL").arg(asked.key).take());
                look.add(asked.key, get(asked.key));
            }
        }
        let mut looked = Vec::new();
        if !look.is_empty() {
            // A key of another kind is an error among the answers.
            let mut answers = self.link.send_all(&look).await?.into_iter().skip(2);
            while let (Some(mark), Some(left), Some(value)) =
                (answers.next(), answers.next(), answers.next())
            {
                let token = mark.ok().and_then(|token| redis::from_redis_value(token).ok());
                let left = if let Ok(Value::Int(left)) = left { left } else { -1 };
                looked.push((token, life_of(left), entry_of(&self.link, value)?));
                answers.by_ref().take(2).for_each(drop);
            }
        }
        let mut looked = looked.into_iter();
        let mut claims = Vec::with_capacity(asked.len());
        for (asked, held) in asked.iter().zip(held) {
            if !is_claimed(asked, &held) {
                claims.push(Claimed::Held);
                continue;
            }
            let (token, life, entry) = looked.next().unwrap_or_default();
            let before = Before { state: in_words(Seen::of(entry.as_ref())), life };
            claims.push(match entry {
                // Dropping what is held releases it.
                Some(entry) if asked.mode.is_settled_by(Some(&entry)) => Claimed::Changed(entry),
                _ => {
                    let has_lock = held.is_some();
                    if let Some(held) = held {
                        held.mark_released();
                    }
                    // One that has gone at once is whole for nobody.
                    let token = token.filter(|_| asked.shares);
                    asked.won(self, has_lock, token.unwrap_or_else(|| asked.token.clone()), before)
                }
            });
        }
        Ok(claims)
    }

    /// Puts the mark, or keeps the one that is to be shared, and reads it.
    fn add_marking(&self, batch: &mut Batch, Asked { key, mark, token, shares, .. }: &Asked<'_>) {
        let life = self.mark_milliseconds();
        let mut put = cmd("SET");
        put.arg(mark).arg(token).arg("PX").arg(life);
        if *shares {
            put.arg("NX");
        }
        batch.add(key, put);
        batch.add(key, cmd("PEXPIRE").arg(mark).arg(life).take());
        batch.add(key, get(mark));
    }

    /// The locks that were taken, or could be taken from another creation.
    async fn lock_plainly(
        self: &Arc<Self>,
        asked: &[Asked<'_>],
    ) -> Result<Vec<Option<Held>>, BackendError> {
        if !self.options.locks {
            return Ok(asked.iter().map(|_| None).collect());
        }
        let mut take = Batch::new();
        for Asked { lock, token, .. } in asked {
            self.add_taking(&mut take, lock, token);
        }
        let taken = self.link.send_all_or_fail(&take).await?;
        let mut held = Vec::with_capacity(asked.len());
        for (asked, answers) in asked.iter().zip(taken.chunks_exact(2)) {
            held.push(self.hold_plainly(asked, &answers[1]).await?);
        }
        Ok(held)
    }

    /// The lock, if it was taken, or can be taken from another creation.
    async fn hold_plainly(
        self: &Arc<Self>,
        asked: &Asked<'_>,
        holder: &Value,
    ) -> Result<Option<Held>, BackendError> {
        let Value::BulkString(holder) = holder else { return Ok(None) };
        let is_ours = holder == asked.token.as_bytes();
        let may_take = asked.mode.takes_over() && holder.starts_with(b"dogpile-");
        if !is_ours && !may_take {
            return Ok(None);
        }
        if !is_ours {
            let mut take = cmd("SET");
            take.arg(&asked.lock).arg(&asked.token).arg("PX").arg(self.lease_milliseconds());
            self.link.send(&take).await?;
        }
        Ok(Some(Held::new(self, asked.token(true))))
    }

    /// Looks whether lock and mark are there, stores by a transaction that needs the
    /// mark, looks again, and releases.
    pub(super) async fn commit_plainly(
        self: &Arc<Self>,
        bound: Vec<Bound>,
    ) -> Result<Vec<bool>, BackendError> {
        let mut made = Vec::with_capacity(bound.len());
        for bound in bound {
            let outcome = self.commit_one_plainly(&bound).await;
            // Waiters of its own are woken by the release.
            let released = self.unlock(&bound.claim.held.token);
            if released.await.is_ok() {
                bound.claim.held.mark_released();
            }
            made.push(outcome);
        }
        made.into_iter().collect()
    }

    async fn commit_one_plainly(&self, bound: &Bound) -> Result<bool, BackendError> {
        let Bound { key, frame, claim, is_over } = bound;
        let token = &claim.held.token;
        let mut look = Batch::new();
        look.add(key, get(key)).add(key, get(&claim.mark)).add(&token.lock, get(&token.lock));
        let mut answers = self.link.send_all(&look).await?.into_iter();
        let mut next = || answers.next().unwrap_or(Ok(Value::Nil));
        let state = in_words(Seen::of(entry_of(&self.link, next())?.as_ref()));
        let is_token = |answer: Result<Value, redis::RedisError>| matches!(answer, Ok(Value::BulkString(held)) if held == token.value.as_bytes());
        let (is_marked, is_locked) = (is_token(next()), is_token(next()));
        let is_unchanged = state == claim.before.state;
        let may_follow = is_unchanged || (claim.may_find_nothing() && state == "nothing");
        if *is_over || !(is_marked && is_locked && may_follow) {
            if claim.mode == ClaimMode::Refresh && is_unchanged && state != "nothing" {
                self.link.send(cmd("DEL").arg(key)).await?;
            }
            return Ok(false);
        }
        let Some(frame) = frame else {
            self.change_plainly(&[Change { key, frame: None }]).await?;
            return Ok(true);
        };
        if token.lock == claim.mark {
            return self.store_and_look(key, frame, token).await;
        }
        let store = frame.storing(&claim.mark).arg("XX").take();
        let rename = cmd("RENAME").arg(&claim.mark).arg(key).take();
        let mut transaction = Batch::new();
        transaction.add(key, get(&claim.mark)).add(key, store).add(key, rename);
        let Some(answers) = self.link.send_transaction(&transaction).await? else {
            return Ok(false);
        };
        // A creation that needs no lock may have put its own mark meanwhile.
        let is_own = matches!(answers.first(), Some(Value::BulkString(held)) if held == token.value.as_bytes());
        if is_own && is_held_by(&self.link, &token.lock, &token.value).await? {
            return Ok(true);
        }
        self.link.send(cmd("DEL").arg(key)).await?;
        Ok(false)
    }

    /// Stores under a claim without a lock.
    async fn store_and_look(
        &self,
        key: &str,
        frame: &Frame,
        LockToken { lock: mark, value, .. }: &LockToken,
    ) -> Result<bool, BackendError> {
        let mut store = Batch::new();
        store.add(key, frame.storing(key)).add(key, get(mark));
        let looked = self.link.send_all_or_fail(&store).await?.pop();
        let is_whole = matches!(looked, Some(Value::BulkString(held)) if held == value.as_bytes());
        let over = if is_whole { mark } else { key };
        self.link.send(cmd("DEL").arg(over)).await?;
        Ok(is_whole)
    }
}
