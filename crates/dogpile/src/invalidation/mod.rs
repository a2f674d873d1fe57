//! Invalidation of a whole region.
//!
//! `invalidate` does not touch the backend: it notes a moment, and values
//! created up to then count as missing (hard) or expired (soft) from now on.
//! Where the moment is kept is an [`Invalidation`] strategy. The default
//! keeps it in this process; [`SharedInvalidation`] keeps it in the backend and so reaches
//! every process.

#[cfg(feature = "serialized")]
mod shared;

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::backend::BackendError;
use crate::clock::Timestamp;

pub use crate::freshness::Mode;
#[cfg(feature = "serialized")]
pub use shared::SharedInvalidation;

/// The future of [`Invalidation::invalidate`].
pub type Invalidating<'a> = Pin<Box<dyn Future<Output = Result<(), BackendError>> + Send + 'a>>;

/// A store of a region's invalidation moments, by which values are judged
/// by them.
///
/// The questions are asked on every read and must answer at once, from
/// memory; only [`invalidate`](Self::invalidate) and
/// [`refresh`](Self::refresh) may do I/O.
pub trait Invalidation: Send + Sync + 'static {
    /// Invalidates what was created up to `at` (epoch seconds).
    fn invalidate(&self, mode: Mode, at: Timestamp) -> Invalidating<'_>;

    /// Does a value created at `ct` count as missing?
    fn is_hard_invalidated(&self, ct: Timestamp) -> bool;

    /// Does a value created at `ct` count as expired?
    fn is_soft_invalidated(&self, ct: Timestamp) -> bool;

    /// Was there ever a hard invalidation?
    fn was_hard_invalidated(&self) -> bool;

    /// Was there ever a soft invalidation?
    fn was_soft_invalidated(&self) -> bool;

    /// Does a value created at `ct` count as missing or expired?
    fn is_invalidated(&self, ct: Timestamp) -> bool {
        self.verdict(ct).is_some()
    }

    /// The latest moment known, if there was any invalidation: what is created from
    /// now on is later than that.
    fn latest(&self) -> Option<Timestamp> {
        None
    }

    /// Moves moments that lie after `now` back to it. Called when the clock was set
    /// back by more than machines' clocks may differ, where the moments or the values are
    /// not this process's alone. Where they are, it is not needed: there `at` is a moment in
    /// the order of events, which goes on whatever the clock says, and so is what a value is
    /// judged by.
    fn retract(&self, _now: Timestamp) {}

    /// Are the moments kept outside of this process, so that what is known of
    /// them here gets old? Asked once, when a region is configured.
    fn is_remote(&self) -> bool {
        false
    }

    /// Is it time to look at the moments again? Asked before each read, where
    /// they [are remote](Self::is_remote).
    fn is_due(&self, _now: Timestamp) -> bool {
        false
    }

    /// Looks at the moments again. Of several callers one does, the others go
    /// on with what is known.
    ///
    /// # Errors
    ///
    /// If what is known is too old to go by, and nothing newer can be had. Whoever can read
    /// values all the same looks again before they are used, for 200 ms at most since looks began
    /// to fail; then what is known stays in force.
    fn refresh(&self, _now: Timestamp) -> Invalidating<'_> {
        Box::pin(ready(Ok(())))
    }

    /// Returns the verdict on a value created at `ct`: the question that
    /// the hit path asks. `None` if it is valid.
    fn verdict(&self, ct: Timestamp) -> Option<Mode> {
        if self.is_hard_invalidated(ct) {
            Some(Mode::Hard)
        } else if self.is_soft_invalidated(ct) {
            Some(Mode::Soft)
        } else {
            None
        }
    }
}

/// The default strategy: two moments in this process's memory.
///
/// A soft invalidation after a hard one does not bring hard-invalidated
/// values back.
#[derive(Debug)]
pub struct InProcess {
    hard: Moment,
    soft: Moment,
}

impl InProcess {
    /// A strategy under which nothing is invalidated yet.
    pub const fn new() -> Self {
        Self { hard: Moment::never(), soft: Moment::never() }
    }

    /// Returns the last moment of any invalidation: minus infinity before the first.
    #[inline]
    pub(crate) fn latest_of_both(&self) -> Timestamp {
        let (hard, soft) = (self.hard.get(), self.soft.get());
        if hard > soft { hard } else { soft }
    }

    fn advance(&self, mode: Mode, at: Timestamp) {
        match mode {
            Mode::Hard => self.hard.advance(at),
            Mode::Soft => self.soft.advance(at),
        }
    }

    fn retract_both(&self, now: Timestamp) {
        self.hard.retract(now);
        self.soft.retract(now);
    }
}

impl Default for InProcess {
    fn default() -> Self {
        Self::new()
    }
}

impl Invalidation for InProcess {
    fn invalidate(&self, mode: Mode, at: Timestamp) -> Invalidating<'_> {
        self.advance(mode, at);
        Box::pin(ready(Ok(())))
    }

    fn is_hard_invalidated(&self, ct: Timestamp) -> bool {
        ct <= self.hard.get()
    }

    fn is_soft_invalidated(&self, ct: Timestamp) -> bool {
        ct <= self.soft.get()
    }

    fn was_hard_invalidated(&self) -> bool {
        self.hard.get() > f64::NEG_INFINITY
    }

    fn was_soft_invalidated(&self) -> bool {
        self.soft.get() > f64::NEG_INFINITY
    }

    fn latest(&self) -> Option<Timestamp> {
        Some(self.latest_of_both()).filter(|at| *at > f64::NEG_INFINITY)
    }

    fn retract(&self, now: Timestamp) {
        self.retract_both(now);
    }
}

/// A timestamp that threads share; minus infinity until it is first set.
#[derive(Debug)]
struct Moment(AtomicU64);

impl Moment {
    const fn never() -> Self {
        Self(AtomicU64::new(f64::NEG_INFINITY.to_bits()))
    }

    #[inline]
    fn get(&self) -> Timestamp {
        f64::from_bits(self.0.load(Ordering::Acquire))
    }

    fn retract(&self, now: Timestamp) {
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |old| {
            Some(now.min(f64::from_bits(old)).to_bits())
        });
    }

    /// Of two invalidations at once the later one stays.
    fn advance(&self, at: Timestamp) {
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |old| {
            Some(at.max(f64::from_bits(old)).to_bits())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invalidate(strategy: &InProcess, mode: Mode, at: Timestamp) {
        std::mem::drop(strategy.invalidate(mode, at));
    }

    #[test]
    fn values_up_to_the_moment_are_invalidated_and_later_ones_are_not() {
        let strategy = InProcess::new();
        assert!(!strategy.was_hard_invalidated() && !strategy.was_soft_invalidated());
        assert_eq!(strategy.verdict(5.0), None);
        invalidate(&strategy, Mode::Soft, 10.0);
        assert!(strategy.was_soft_invalidated() && !strategy.was_hard_invalidated());
        assert_eq!(strategy.verdict(10.0), Some(Mode::Soft));
        assert_eq!(strategy.verdict(10.1), None);
        assert!(strategy.is_invalidated(3.0));
    }

    #[test]
    fn a_later_soft_invalidation_does_not_revive_what_a_hard_one_took() {
        let strategy = InProcess::new();
        invalidate(&strategy, Mode::Hard, 10.0);
        invalidate(&strategy, Mode::Soft, 20.0);
        assert_eq!(strategy.verdict(5.0), Some(Mode::Hard));
        assert_eq!(strategy.verdict(15.0), Some(Mode::Soft));
        invalidate(&strategy, Mode::Hard, 8.0);
        assert_eq!(strategy.verdict(9.0), Some(Mode::Hard), "time does not go back");
    }
}
