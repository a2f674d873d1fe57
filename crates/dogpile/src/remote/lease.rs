//! Holding a lock of a server's: a lease that is renewed while its creator
//! runs, released once and by its owner only.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::finish::to_the_end;
use super::io::{self, AbortOnDrop};
use super::ledger::{Ledger, UnderWay, release};
use super::link::Limits;
use super::{random_share, timer};
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
    type Grip: Send + Sync + 'static;

    fn terms(&self) -> Terms;

    /// The locks that are held, and those that are being released in the background.
    fn ledger(&self) -> &Ledger<Self::Grip>;

    /// Begins the lease again; false if the lock is not the owner's any more.
    fn extend(&self, grip: &Self::Grip) -> impl Future<Output = Result<bool, BackendError>> + Send;

    /// Frees the lock, if it is still the owner's.
    fn release(&self, grip: &Self::Grip) -> impl Future<Output = Result<(), BackendError>> + Send;
}

/// A lock that was taken.
pub(crate) struct Held<L: Leases> {
    leases: Arc<L>,
    pub(crate) grip: Arc<L::Grip>,
    /// Its place in the ledger, if it has one.
    number: Option<u64>,
}

impl<L: Leases> Held<L> {
    /// Renews the lease of the lock that was just taken from now on.
    pub(crate) fn new(leases: &Arc<L>, grip: L::Grip) -> Self {
        Self::renewed_for(leases.terms().longest_creation, leases, grip)
    }

    /// The same, for as long as `longest`.
    pub(crate) fn renewed_for(longest: Duration, leases: &Arc<L>, grip: L::Grip) -> Self {
        let grip = Arc::new(grip);
        let renewal = io::spawn(renew(leases.clone(), grip.clone(), longest));
        let number = leases.ledger().enter(grip.clone(), renewal.ok().map(AbortOnDrop));
        if number.is_none() {
            release(leases, grip.clone());
        }
        Self { leases: leases.clone(), grip, number }
    }

    /// It is given up, or known to be lost.
    pub(crate) fn is_over(&self) {
        self.strike_out();
    }

    /// True if it was to be given up still.
    fn strike_out(&self) -> bool {
        self.number.is_some_and(|number| self.leases.ledger().strike_out(number))
    }
}

impl<L: Leases> Drop for Held<L> {
    fn drop(&mut self) {
        if self.strike_out() {
            release(&self.leases, self.grip.clone());
        }
    }
}

/// The answer to a claim was lost: what it may have locked is released.
pub(crate) fn give_up<L: Leases>(leases: &Arc<L>, grips: impl Iterator<Item = L::Grip>) {
    for grip in grips {
        release(leases, Arc::new(grip));
    }
}

/// Carries out `claim`; `None` if the process takes no more locks.
///
/// The claim is carried out to its end also when this is dropped: its answer says what it
/// has locked, and dropping that releases it. A release that is sent instead could
/// overtake the claim.
pub(crate) async fn claiming<L: Leases, T: Send + 'static>(
    leases: &Arc<L>,
    claim: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    // First this, or who closes the ledger could miss the claim.
    let under_way = UnderWay::new(leases);
    if leases.ledger().is_closed() {
        return None;
    }
    let claim = async move { (claim.await, under_way) };
    let (claimed, _under_way) = to_the_end(claim).await;
    Some(claimed)
}

/// Extends the lease each third of it, as long as it is ours and not for longer than
/// `longest`, which is what a creation may take.
async fn renew<L: Leases>(leases: Arc<L>, grip: Arc<L::Grip>, longest: Duration) {
    let lease = leases.terms().lease;
    let turns = longest.as_secs_f64() / (lease.as_secs_f64() / 3.0);
    let mut turn = 1.0;
    while turn < turns {
        tokio::time::sleep(lease / 3).await;
        if matches!(leases.extend(&grip).await, Ok(false)) {
            return;
        }
        turn += 1.0;
    }
}

/// Asks whether a lock is free again and again, after longer and longer pauses,
/// and gives up some time later.
pub(crate) async fn poll<F>(longest: Duration, is_free: impl Fn() -> F) -> Result<(), BackendError>
where
    F: Future<Output = Result<bool, BackendError>>,
{
    const FIRST: Duration = Duration::from_millis(5);
    const TIMES: u32 = 12;
    for time in 0..TIMES {
        let pause = FIRST.saturating_mul(1 << time.min(8)).min(longest);
        timer::sleep(pause.mul_f64(0.75 + 0.5 * random_share()))?.await;
        if is_free().await? {
            break;
        }
    }
    Ok(())
}
