//! Holding a lock of a server's: a lease that is renewed while its creator
//! runs, released once and by its owner only.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use super::link::Limits;
use super::{io, random_share, timer};
use crate::backend::BackendError;

/// How long locks live.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// A lock that is not renewed ends after this long.
    pub(crate) lease: Duration,
    /// A lock is renewed for this long at most.
    pub(crate) longest_creation: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self { lease: Duration::from_secs(30), longest_creation: Duration::from_mins(10) }
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
    let shortest = Duration::from_millis(10);
    if [terms.lease, limits.connect, limits.response].iter().any(|time| *time < shortest) {
        return Err(BackendError::other("a lease or time-out has at least 10 ms"));
    }
    Ok(())
}

/// A server, or several, that have locks with leases.
pub(crate) trait Leases: Send + Sync + 'static {
    /// What the owner of a lock knows of it.
    type Grip: Send + Sync + 'static;

    fn terms(&self) -> Terms;

    /// Counts the locks that are being released behind.
    fn releases(&self) -> &AtomicUsize;

    /// Begins the lease anew; false if the lock is not the owner's any more.
    fn extend(&self, grip: &Self::Grip) -> impl Future<Output = Result<bool, BackendError>> + Send;

    /// Frees the lock, if it is still the owner's.
    fn release(&self, grip: &Self::Grip) -> impl Future<Output = Result<(), BackendError>> + Send;
}

/// A lock that was taken.
pub(crate) struct Held<L: Leases> {
    leases: Arc<L>,
    pub(crate) grip: Arc<L::Grip>,
    renewal: Option<AbortHandle>,
    over: AtomicBool,
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
        let renewal = renewal.ok().map(|task| task.abort_handle());
        Self { leases: leases.clone(), grip, renewal, over: AtomicBool::new(false) }
    }

    /// It is given up, or known to be lost.
    pub(crate) fn is_over(&self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

impl<L: Leases> Drop for Held<L> {
    fn drop(&mut self) {
        if let Some(renewal) = &self.renewal {
            renewal.abort();
        }
        if !self.over.load(Ordering::Relaxed) {
            release_behind(&self.leases, self.grip.clone());
        }
    }
}

/// Releases a lock that nobody waits to see released: again and again where
/// the server is away, as long as the lease may last.
fn release_behind<L: Leases>(leases: &Arc<L>, grip: Arc<L::Grip>) {
    const PAUSE: Duration = Duration::from_millis(200);
    leases.releases().fetch_add(1, Ordering::Relaxed);
    let behind = leases.clone();
    let released = io::spawn(async move {
        let (began, lease) = (Instant::now(), behind.terms().lease);
        while behind.release(&grip).await.is_err() && began.elapsed() < lease {
            tokio::time::sleep(PAUSE).await;
        }
        behind.releases().fetch_sub(1, Ordering::Relaxed);
    });
    if released.is_err() {
        leases.releases().fetch_sub(1, Ordering::Relaxed);
    }
}

/// The answer to a claim was lost: what it may have locked is released.
///
/// While a server is away, failing calls must not pile up work: beyond some
/// releases at a time, the leases end by themselves.
pub(crate) fn give_up<L: Leases>(leases: &Arc<L>, grips: impl Iterator<Item = L::Grip>) {
    const MOST: usize = 64;
    for grip in grips {
        if leases.releases().load(Ordering::Relaxed) < MOST {
            release_behind(leases, Arc::new(grip));
        }
    }
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
