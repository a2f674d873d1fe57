//! The terms of locks, and what a server must offer for them.

use std::future::Future;
use std::time::Duration;

use super::ledger::Ledger;
use super::link::Limits;
use crate::backend::{BackendError, own_mark_key};

/// The time that locks live.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// A lock that is not renewed ends after this long.
    pub(crate) lease: Duration,
    /// A lock is renewed for this long at most.
    pub(crate) longest_creation: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self { lease: Duration::from_secs(30), longest_creation: Duration::from_secs(600) }
    }
}

/// Are these settings of locks and of a link within their bounds?
pub(crate) fn check(prefix: &str, terms: Terms, limits: Limits) -> Result<(), BackendError> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-');
    if !(2..=10).contains(&prefix.len()) || !prefix.chars().all(good) {
        return Err(BackendError::other(
            "a lock prefix has from 2 to 10 of the characters A-Z a-z 0-9 _ . : -",
        ));
    }
    // Or a mark would be taken for a lock.
    if own_mark_key("").starts_with(prefix) {
        return Err(BackendError::other(format!(
            "the lock prefix `{prefix}` is the beginning of `{}`, which marks have",
            own_mark_key("").trim_end_matches('}')
        )));
    }
    let shortest = Duration::from_millis(10);
    if [terms.lease, limits.connect, limits.response].iter().any(|time| *time < shortest) {
        return Err(BackendError::other("a lease or time-out has at least 10 ms"));
    }
    Ok(())
}

/// A server, or several, that have locks with leases.
///
/// Extending and releasing go over a connection that the I/O thread drives, since a
/// creator may block every thread of its own runtime.
pub(crate) trait Leases: Send + Sync + 'static {
    /// The owner's knowledge of a lock.
    type LockToken: Send + Sync + 'static;

    fn terms(&self) -> Terms;

    /// The locks that are held, and those that are being released in the background.
    fn ledger(&self) -> &Ledger<Self::LockToken>;

    /// Begins the lease again; false if the lock is not the owner's any more.
    fn extend(
        &self,
        token: &Self::LockToken,
    ) -> impl Future<Output = Result<bool, BackendError>> + Send;

    /// Frees the lock, if it is still the owner's.
    fn release(
        &self,
        token: &Self::LockToken,
    ) -> impl Future<Output = Result<(), BackendError>> + Send;
}
