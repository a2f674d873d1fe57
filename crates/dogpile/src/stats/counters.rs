//! Counters striped over threads.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::process::{PerProcess, is_forked};

/// The counted events; see the fields of [`Statistics`](super::Statistics).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Hits,
    Kept,
    Stale,
    StaleOnError,
    Misses,
    Creations,
    CreatorFailures,
    Waits,
    Background,
    Vetoed,
    Uncached,
    Unreadable,
    BackendErrors,
    NotStored,
    LeasesLost,
    Outdated,
    BytesRead,
    BytesWritten,
    NearHits,
    NearMisses,
    NearChanged,
    NearFlushed,
    NearLost,
    NearUnverified,
}

impl Count {
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: [Self; KINDS] = [
        Self::Hits,
        Self::Kept,
        Self::Stale,
        Self::StaleOnError,
        Self::Misses,
        Self::Creations,
        Self::CreatorFailures,
        Self::Waits,
        Self::Background,
        Self::Vetoed,
        Self::Uncached,
        Self::Unreadable,
        Self::BackendErrors,
        Self::NotStored,
        Self::LeasesLost,
        Self::Outdated,
        Self::BytesRead,
        Self::BytesWritten,
        Self::NearHits,
        Self::NearMisses,
        Self::NearChanged,
        Self::NearFlushed,
        Self::NearLost,
        Self::NearUnverified,
    ];
}

pub(super) const KINDS: usize = Count::NearUnverified as usize + 1;

/// Each of so many threads has a stripe to itself, and adds by a load and a store: a fifth of
/// what an atomic addition costs.
const OWNED: usize = 32;

/// The others share these.
const SHARED: usize = 8;

/// Counters alone on their cache lines.
#[repr(align(128))]
struct Stripe([AtomicU64; KINDS]);

impl Default for Stripe {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; KINDS])
    }
}

pub(super) struct Counters(Box<[Stripe]>);

/// Not looked for yet.
const UNKNOWN: usize = usize::MAX;

thread_local! {
    static STRIPE: Cell<usize> = const { Cell::new(UNKNOWN) };
    static OWN: Own = Own::take();
}

/// This thread's stripe.
#[inline]
fn stripe() -> usize {
    match STRIPE.get() {
        UNKNOWN => look_for_stripe(),
        known => known,
    }
}

#[cold]
fn look_for_stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let shared = || OWNED + NEXT.fetch_add(1, Ordering::Relaxed) % SHARED;
    // A thread that is ending has given its own back.
    let own = OWN.try_with(|own| own.0).ok().flatten();
    let stripe = own.unwrap_or_else(shared);
    STRIPE.set(stripe);
    stripe
}

/// A stripe that no other thread writes to, until this one ends.
struct Own(Option<usize>);

/// Those that nobody has. In a forked process, where threads end without a word, they are
/// its parent's.
static FREE: PerProcess<Mutex<[bool; OWNED]>> = PerProcess::new();

fn free() -> MutexGuard<'static, [bool; OWNED]> {
    let free = FREE.get_or_init(|| Mutex::new([!is_forked(); OWNED]));
    free.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Own {
    fn take() -> Self {
        let mut free = free();
        let first = free.iter().position(|free| *free);
        first.into_iter().for_each(|index| free[index] = false);
        Self(first)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = STRIPE.try_with(|stripe| stripe.set(UNKNOWN));
        if let Some(index) = self.0.take() {
            free()[index] = true;
        }
    }
}

impl Counters {
    pub(super) fn new() -> Self {
        Self((0..OWNED + SHARED).map(|_| Stripe::default()).collect())
    }

    #[expect(clippy::inline_always, reason = "measured: a thirtieth of a hit")]
    #[inline(always)]
    pub(super) fn add(&self, what: Count, amount: u64) {
        let stripe = stripe();
        let counter = &self.0[stripe].0[what as usize];
        if stripe < OWNED {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
        } else {
            counter.fetch_add(amount, Ordering::Relaxed);
        }
    }

    pub(super) fn sum(&self, what: Count) -> u64 {
        self.0.iter().map(|stripe| stripe.0[what as usize].load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_threads_are_summed() {
        let counters = Counters::new();
        std::thread::scope(|scope| {
            for _ in 0..2 * OWNED {
                scope.spawn(|| (0..1000).for_each(|_| counters.add(Count::Hits, 2)));
            }
        });
        assert_eq!(counters.sum(Count::Hits), 128_000);
        assert_eq!(counters.sum(Count::Misses), 0);
    }

    /// Threads that come and go take over each other's stripes, and lose no count.
    #[test]
    fn stripes_are_given_back() {
        let counters = Counters::new();
        for _ in 0..4 {
            std::thread::scope(|scope| {
                for _ in 0..OWNED / 2 {
                    scope.spawn(|| counters.add(Count::Stale, 1));
                }
            });
        }
        assert_eq!(counters.sum(Count::Stale), 2 * OWNED as u64);
    }
}
