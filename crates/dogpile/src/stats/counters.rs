//! Counters striped over threads.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What is counted; see the fields of [`Statistics`](super::Statistics).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Hits,
    Stale,
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
}

impl Count {
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: [Self; KINDS] = [
        Self::Hits,
        Self::Stale,
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
    ];
}

pub(super) const KINDS: usize = Count::BytesWritten as usize + 1;

/// More than most machines have busy cores; two threads in one stripe only
/// slow each other down.
const STRIPES: usize = 16;

/// One thread's counters, alone on their cache lines.
#[repr(align(128))]
#[derive(Default)]
struct Stripe([AtomicU64; KINDS]);

pub(super) struct Counters(Box<[Stripe]>);

thread_local! {
    static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// This thread's stripe.
#[inline]
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    STRIPE.with(|stripe| {
        if stripe.get() == usize::MAX {
            stripe.set(NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
        }
        stripe.get()
    })
}

impl Counters {
    pub(super) fn new() -> Self {
        Self((0..STRIPES).map(|_| Stripe::default()).collect())
    }

    #[inline]
    pub(super) fn add(&self, what: Count, amount: u64) {
        self.0[stripe()].0[what as usize].fetch_add(amount, Ordering::Relaxed);
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
            for _ in 0..20 {
                scope.spawn(|| (0..1000).for_each(|_| counters.add(Count::Hits, 2)));
            }
        });
        assert_eq!(counters.sum(Count::Hits), 40_000);
        assert_eq!(counters.sum(Count::Misses), 0);
    }
}
