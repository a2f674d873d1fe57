//! The lock that reaches every process: Python's key, taken with `add`. Ours
//! has a token for a value, and a lease that is renewed while its creator runs.
//!
//! Each change gives an item another number, and servers store or remove an
//! item of a given number only. So a release or a renewal that comes too late
//! does nothing to a successor's lock.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Shared;
use super::answer::strange;
use super::item::ttl;
use super::marks::Mark;
use super::protocol::{Number, Only, Reply, Request};
use super::servers::Servers;
use crate::backend::BackendError;
use crate::lock::{KeyedLock, Lease};
use crate::process::Rebuilt;
use crate::remote::lease;
use crate::remote::ledger::Ledger;
use crate::remote::terms::{Leases, Terms};
use crate::remote::{ends, new_token};
use crate::sync;

/// The locks of the servers.
pub(super) struct Locks(pub(super) Rebuilt<Arc<Shared>>);

/// Holding a lock.
pub(super) type Held = lease::Held<Shared>;

/// The token of a lock that was taken.
pub(super) struct LockToken {
    pub(super) lock: String,
    pub(super) token: Bytes,
    state: sync::Mutex<State>,
    /// Held while the lock is renewed; true once it is being given up.
    ///
    /// A renewal takes an evicted lock again. One that came after the release, over
    /// another connection, would take it for nobody.
    is_ending: tokio::sync::Mutex<bool>,
}

#[derive(Default)]
struct State {
    /// The lock's number, if it was told.
    number: Option<Number>,
    /// The mark that is given up together with the lock.
    mark: Option<Mark>,
}

/// A server's clock goes by whole seconds and is read once a second: what it says can be nearly two seconds
/// old, and so much sooner does an item end that is stored then.
const STALE_CLOCK: Duration = Duration::from_secs(2);

impl LockToken {
    /// A lock that is about to be taken.
    pub(super) fn new(lock: String, token: Bytes) -> Self {
        let is_ending = tokio::sync::Mutex::new(false);
        Self { lock, token, state: sync::Mutex::default(), is_ending }
    }

    /// Waits for a renewal that is under way; none comes after this.
    pub(super) async fn ends(&self) {
        *self.is_ending.lock().await = true;
    }

    /// The server says that the lock has this number.
    pub(super) fn confirm(&self, number: Number) {
        self.state.lock().number = Some(number);
    }

    /// The creation under the lock has put this mark.
    pub(super) fn marks(&self, mark: Mark) {
        self.state.lock().mark = Some(mark);
    }

    pub(super) fn number(&self) -> Option<Number> {
        self.state.lock().number
    }

    /// The request that takes the lock, or takes it again.
    pub(super) fn taking(&self, lease: Duration, only: Only) -> Request<'_> {
        let ttl = ttl(Some(lease.saturating_add(STALE_CLOCK)));
        Request::Store { key: &self.lock, flags: 0, value: self.token.clone(), ttl, only }
    }

    pub(super) fn looking(&self) -> Request<'_> {
        Request::Get { key: &self.lock, value: true }
    }

    /// The request that gives the lock up. A lock without a number was not taken, or is
    /// looked for.
    pub(super) fn removing(&self) -> Request<'_> {
        let number = Some(self.number().unwrap_or(Number::NONE));
        Request::Delete { key: &self.lock, number }
    }

    /// The lock's number, if an answer says that it is still ours.
    pub(super) fn is_in(&self, reply: &Reply) -> Option<Number> {
        match reply {
            Reply::Item { number, value, .. } if *value == self.token => Some(*number),
            _ => None,
        }
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

    async fn extend(&self, token: &LockToken) -> Result<bool, BackendError> {
        let lease = self.options.terms.lease;
        let is_ending = token.is_ending.lock().await;
        if *is_ending {
            return Ok(false);
        }
        // The second time with the number that the first one found.
        for _ in 0..2 {
            let only = token.number().map_or(Only::IfAbsent, Only::IfUnchanged);
            let reply = self.leases.ask(token.taking(lease, only)).await?;
            match reply {
                Reply::Done { number } => {
                    token.confirm(number);
                    return Ok(true);
                }
                // It was evicted. Nobody has taken it yet, or it is lost.
                Reply::Missing => token.state.lock().number = None,
                Reply::Refused => {
                    let looked = self.leases.ask(token.looking()).await?;
                    let number = token.is_in(&looked);
                    if number.is_none() && looked != Reply::Missing {
                        break;
                    }
                    token.state.lock().number = number;
                }
                other => return Err(strange(&other)),
            }
        }
        Ok(false)
    }

    async fn release(&self, token: &LockToken) -> Result<(), BackendError> {
        self.release_over(&self.leases, token).await
    }
}

impl Shared {
    /// Frees a lock, if it is still its owner's, for somebody who waits for that.
    pub(super) async fn unlock(&self, token: &LockToken) -> Result<(), BackendError> {
        self.release_over(&self.servers, token).await
    }

    async fn release_over(&self, servers: &Servers, token: &LockToken) -> Result<(), BackendError> {
        token.ends().await;
        let mark = token.state.lock().mark.clone();
        // The mark goes first: who takes the lock next is to find none.
        let mut requests: Vec<Request<'_>> = mark.iter().map(Mark::removing).collect();
        requests.push(token.removing());
        let mut answers = servers.ask_all(requests).await;
        let mut released = answers.pop().unwrap_or(Ok(Reply::Missing))?;
        let unmarked = match (&mark, answers.pop()) {
            (Some(mark), Some(removed)) => self.remove_mark(servers, mark, removed).await.map(drop),
            _ => Ok(()),
        };
        // The number changes with each renewal: one may have come in between.
        for _ in 0..3 {
            match released {
                Reply::Done { .. } | Reply::Missing => break,
                Reply::Refused => {}
                other => return Err(strange(&other)),
            }
            let Some(number) = token.is_in(&servers.ask(token.looking()).await?) else { break };
            token.confirm(number);
            released = servers.ask(token.removing()).await?;
        }
        unmarked
    }

    async fn is_free(&self, lock: &str) -> Result<bool, BackendError> {
        let reply = self.servers.ask(Request::Get { key: lock, value: false }).await?;
        Ok(reply == Reply::Missing)
    }
}

impl KeyedLock for Locks {
    async fn try_lock(&self, key: &str) -> Result<Option<Lease>, BackendError> {
        let token = LockToken::new(self.0.lock_key(&self.0.stored(key)?)?, new_token().into());
        let (shared, grips) = (Arc::clone(&self.0), vec![token]);
        let take = async move {
            let answers = shared.servers.ask_all(shared.takings(&grips)).await;
            shared.taken(grips, answers).pop()
        };
        let taken = lease::claiming::<Shared, _>(&self.0, take).await.ok_or_else(ends)?;
        let taken = taken.ok_or_else(|| BackendError::other("a lock was not answered for"))??;
        Ok(taken.ok().map(Lease::new))
    }

    async fn wait(&self, key: &str) -> Result<Option<Lease>, BackendError> {
        let lock = self.0.lock_key(&self.0.stored(key)?)?;
        lease::poll(self.0.options.longest_poll, || self.0.is_free(&lock)).await?;
        Ok(None)
    }

    async fn unlock(&self, lease: Lease) -> Result<(), BackendError> {
        let Some(held) = lease.get::<Held>() else {
            return Err(BackendError::other("lease belongs to a different backend"));
        };
        self.0.unlock(&held.token).await?;
        held.mark_released();
        Ok(())
    }

    async fn is_locked(&self, key: &str) -> Result<bool, BackendError> {
        let lock = self.0.lock_key(&self.0.stored(key)?)?;
        Ok(!self.0.is_free(&lock).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_outlives_its_lease_whatever_the_clock_of_its_server_says() {
        let token = LockToken::new("_lockk".to_owned(), Bytes::new());
        let lease = |seconds| match token.taking(seconds, Only::IfAbsent) {
            Request::Store { ttl, .. } => ttl,
            _ => 0,
        };
        // A clock that says 10 until it says 12 ends it at 42.
        assert_eq!(lease(Duration::from_secs(30)), 32);
        assert_eq!(lease(Duration::from_millis(10)), 3);
    }
}
