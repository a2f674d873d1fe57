//! Holding a lock of a server's: a lease that is renewed while its creator
//! runs, released once and by its owner only.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::finish::to_the_end;
use super::release::{UnderWay, release};
use super::renewal;
use super::terms::Leases;
use super::{random_share, timer};
use crate::backend::BackendError;

/// A lock that was taken.
pub(crate) struct Held<L: Leases> {
    leases: Arc<L>,
    pub(crate) token: Arc<L::LockToken>,
    /// Its place in the ledger, if it has one.
    number: Option<u64>,
}

impl<L: Leases> Held<L> {
    /// Renews the lease of the lock that was just taken from now on.
    pub(crate) fn new(leases: &Arc<L>, token: L::LockToken) -> Self {
        Self::renewed_for(leases.terms().longest_creation, leases, token)
    }

    /// The same, for as long as `longest`.
    pub(crate) fn renewed_for(longest: Duration, leases: &Arc<L>, token: L::LockToken) -> Self {
        let token = Arc::new(token);
        let entered = leases.ledger().enter(token.clone(), renewal::period(&**leases), longest);
        match &entered {
            Some(entered) if entered.is_first => renewal::begin(leases),
            Some(_) => {}
            None => release(leases, token.clone()),
        }
        Self { leases: leases.clone(), token, number: entered.map(|entered| entered.number) }
    }

    /// It is given up, or known to be lost.
    pub(crate) fn mark_released(&self) {
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
            release(&self.leases, self.token.clone());
        }
    }
}

/// The answer to a claim was lost: what it may have locked is released.
pub(crate) fn give_up<L: Leases>(leases: &Arc<L>, grips: impl Iterator<Item = L::LockToken>) {
    for token in grips {
        release(leases, Arc::new(token));
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
