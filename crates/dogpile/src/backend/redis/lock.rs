//! The lock that reaches every process: Python's key and rule of release, a
//! lease that is renewed while its creator runs.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value, cmd};

use super::Shared;
use super::connection::Batch;
use super::link::Link;
use super::scripts::{Call, EXTEND, RELEASE};
use crate::backend::{BackendError, ClaimMode};
use crate::lock::{KeyedLock, Lease};
use crate::process::Rebuilt;
use crate::remote::lease;
use crate::remote::ledger::Ledger;
use crate::remote::life::Life;
use crate::remote::terms::{Leases, Terms};
use crate::remote::{ends, new_token};

/// The locks of a server.
pub(super) struct Locks {
    shared: Rebuilt<Arc<Shared>>,
    /// For how long those that are taken are renewed at most.
    longest: Duration,
}

impl Locks {
    /// Those under which values are created, or something that may take `more` than
    /// they may.
    pub(super) fn new(shared: &Rebuilt<Arc<Shared>>, more: Duration) -> Self {
        let longest = shared.options.terms.longest_creation.saturating_add(more);
        Self { shared: shared.clone(), longest }
    }
}

/// Holding a lock.
pub(super) type Held = lease::Held<Shared>;

/// The content of this backend's leases.
pub(super) struct Claim {
    pub(super) held: Held,
    pub(super) mark: String,
    pub(super) mode: ClaimMode,
    pub(super) before: Before,
}

/// The value when the key was claimed.
pub(super) struct Before {
    /// Its state, in the scripts' words.
    pub(super) state: String,
    /// An end by its time to live is not a change.
    pub(super) life: Life,
}

/// A lock's key and the token that makes it ours.
pub(super) struct LockToken {
    pub(super) lock: String,
    pub(super) value: String,
    /// The mark that is given up together with the lock.
    pub(super) mark: Option<String>,
    /// Other creations may share it: then it is not given up, and ends by itself.
    pub(super) is_shared: bool,
}

impl LockToken {
    /// Releases the lock without the mark.
    pub(super) fn releasing_lock(&self) -> Call {
        Call::new(&RELEASE, &[&self.lock], &[self.value.as_bytes()])
    }
}

impl Leases for Shared {
    type LockToken = LockToken;

    fn terms(&self) -> Terms {
        self.options.terms
    }

    fn ledger(&self) -> &Ledger<LockToken> {
        &self.ledger
    }

    async fn extend(
        &self,
        LockToken { lock, value, .. }: &LockToken,
    ) -> Result<bool, BackendError> {
        let lease = self.lease_milliseconds();
        let arguments = [value.as_bytes(), lease.to_string().as_bytes()].map(<[u8]>::to_vec);
        let call = Call::new(&EXTEND, &[lock], &[&arguments[0], &arguments[1]]);
        if let Some(answers) = self.run_over(&self.leases, vec![call]).await? {
            return Ok(matches!(answers[..], [Value::Int(1)]));
        }
        let held = is_held_by(&self.leases, lock, value).await?;
        if held {
            self.leases.send(cmd("PEXPIRE").arg(lock).arg(lease)).await?;
        }
        Ok(held)
    }

    async fn release(&self, token: &LockToken) -> Result<(), BackendError> {
        self.release_over(&self.leases, token).await
    }
}

impl Shared {
    /// Frees a lock, if it is still its owner's, for somebody who waits for that.
    pub(super) async fn unlock(&self, token: &LockToken) -> Result<(), BackendError> {
        self.release_over(&self.link, token).await
    }

    async fn release_over(&self, link: &Link, token: &LockToken) -> Result<(), BackendError> {
        if token.is_shared {
            return Ok(());
        }
        let mut calls = vec![token.releasing_lock()];
        if let Some(mark) = &token.mark {
            calls.push(Call::new(&RELEASE, &[mark], &[token.value.as_bytes()]));
        }
        if self.run_over(link, calls).await?.is_some() {
            return Ok(());
        }
        for key in [Some(&token.lock), token.mark.as_ref()].into_iter().flatten() {
            if is_held_by(link, key, &token.value).await? {
                link.send(cmd("DEL").arg(key)).await?;
            }
        }
        Ok(())
    }

    /// Returns the key of the lock of the stored key `key`.
    pub(super) fn lock_key(&self, key: &str) -> String {
        [&self.options.lock_prefix, key].concat()
    }

    async fn try_take(
        self: &Arc<Self>,
        lock: String,
        longest: Duration,
    ) -> Result<Option<Held>, BackendError> {
        let token = LockToken { lock, value: new_token(), mark: None, is_shared: false };
        let mut take = Batch::new();
        self.add_taking(&mut take, &token.lock, &token.value);
        match self.link.send_all_or_fail(&take).await {
            Ok(answers) => {
                // The second one says it, also if the first was sent twice.
                let ours = matches!(answers.get(1), Some(Value::BulkString(held)) if held == token.value.as_bytes());
                Ok(ours.then(|| Held::renewed_for(longest, self, token)))
            }
            // It may be taken all the same: only the answer was lost.
            Err(error) => {
                lease::give_up(self, std::iter::once(token));
                Err(error)
            }
        }
    }

    /// Takes the lock if it is free, and then asks whose it is.
    pub(super) fn add_taking(&self, batch: &mut Batch, lock: &str, token: &str) {
        let mut take = cmd("SET");
        take.arg(lock).arg(token).arg("NX").arg("PX").arg(self.lease_milliseconds());
        batch.add(lock, take).add(lock, get(lock));
    }
}

pub(super) async fn is_held_by(link: &Link, lock: &str, token: &str) -> Result<bool, BackendError> {
    let held = link.send(&get(lock)).await?;
    Ok(matches!(held, Value::BulkString(held) if held == token.as_bytes()))
}

pub(super) fn get(key: &str) -> Cmd {
    cmd("GET").arg(key).take()
}

impl KeyedLock for Locks {
    async fn try_lock(&self, key: &str) -> Result<Option<Lease>, BackendError> {
        let (shared, longest) = (Arc::clone(&self.shared), self.longest);
        let lock = self.shared.lock_key(&self.shared.stored(key));
        let take = async move { shared.try_take(lock, longest).await };
        let taken = lease::claiming::<Shared, _>(&self.shared, take).await.ok_or_else(ends)??;
        Ok(taken.map(Lease::new))
    }

    async fn wait(&self, key: &str) -> Result<Option<Lease>, BackendError> {
        let key = self.shared.stored(key);
        let lock = self.shared.lock_key(&key);
        let told = match &self.shared.tracker {
            Some(tracker) => tracker.wait(&lock, &key).await.is_ok(),
            None => false,
        };
        if !told {
            let is_free = async || {
                Ok(self.shared.link.send(cmd("EXISTS").arg(&lock)).await? == Value::Int(0))
            };
            lease::poll(self.shared.options.longest_poll, is_free).await?;
        }
        Ok(None)
    }

    async fn unlock(&self, lease: Lease) -> Result<(), BackendError> {
        let claim = || lease.get::<Claim>().map(|claim| &claim.held);
        let Some(held) = lease.get::<Held>().or_else(claim) else {
            return Err(BackendError::other("lease belongs to a different backend"));
        };
        self.shared.unlock(&held.token).await?;
        held.mark_released();
        Ok(())
    }

    async fn is_locked(&self, key: &str) -> Result<bool, BackendError> {
        let lock = self.shared.lock_key(&self.shared.stored(key));
        Ok(self.shared.link.send(cmd("EXISTS").arg(lock)).await? == Value::Int(1))
    }

    fn wait_timeout(&self) -> Option<Duration> {
        self.shared.options.wait_timeout
    }
}
