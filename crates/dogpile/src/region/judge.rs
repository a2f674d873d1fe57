//! Judging stored values: by their age, by invalidations, and by whether their creation is to be
//! attempted again.

use std::time::Duration;

use super::core::Core;
use super::early::Early;
use super::options::Options;
use crate::clock::Timestamp;
use crate::invalidation::Mode;
use crate::lock::{AgeLimits, Freshness, freshness, jittered, own_draw};
use crate::value::{Metadata, VERSION};

/// The time without another attempt, where none was chosen.
const RETRY_AFTER: Duration = Duration::from_secs(10);

impl Core {
    /// Judges a stored value `now`, for a call with these options.
    #[inline]
    pub(crate) fn freshness(
        &self,
        key: &str,
        metadata: &Metadata,
        options: &Options,
        now: Timestamp,
    ) -> Freshness {
        if metadata.v != VERSION {
            return Freshness::Missing;
        }
        if options.ignore_expiration {
            return Freshness::Fresh;
        }
        let limits = self.limits(key, metadata, options);
        let found = freshness(metadata.ct, now, limits, self.verdict(metadata));
        match options.early.or(self.defaults.early) {
            Some(early) if found == Freshness::Fresh => {
                self.early_or_fresh(key, metadata, options, early, now)
            }
            _ => found,
        }
    }

    /// Returns whether a fresh value is early, and its successor may be created now.
    #[cold]
    fn early_or_fresh(
        &self,
        key: &str,
        metadata: &Metadata,
        options: &Options,
        early: Early,
        now: Timestamp,
    ) -> Freshness {
        let limits = self.limits(key, metadata, options);
        let Some(expiration) = limits.expiration else { return Freshness::Fresh };
        let stored_key = self.stored_key(key);
        let draw = || own_draw(&stored_key, metadata.ct);
        let limits =
            AgeLimits { early: Some(early.age(expiration, metadata.cost(), draw)), ..limits };
        let found = freshness(metadata.ct, now, limits, None);
        let rests = || self.rests(&stored_key, metadata, options, now);
        if found == Freshness::Early && rests() { Freshness::Fresh } else { found }
    }

    /// Does somebody of this process create the successor of an early value already? Then all
    /// others have the value.
    #[cold]
    pub(crate) fn is_created_early(&self, found: Freshness, stored_key: &str) -> bool {
        found == Freshness::Early && self.shared.keys.is_held(stored_key)
    }

    /// Has a creation of the value's successor failed a moment ago, so that none is attempted now?
    pub(crate) fn rests(
        &self,
        stored_key: &str,
        metadata: &Metadata,
        options: &Options,
        now: Timestamp,
    ) -> bool {
        let noted = metadata.failed_at();
        let known = self.shared.failed.at(stored_key);
        let rest = options.retry_after.or(self.defaults.retry_after).unwrap_or(RETRY_AFTER);
        // What was stored after a failure says nothing of it. A moment of another clock that
        // is far ahead must not stop creations for ever.
        let rests =
            |failed: Timestamp| failed >= metadata.ct && (now - failed).abs() <= rest.as_secs_f64();
        noted.is_some_and(rests) || known.is_some_and(rests)
    }

    /// Returns what invalidations say of a value.
    #[inline]
    pub(crate) fn verdict(&self, metadata: &Metadata) -> Option<Mode> {
        let as_of = self.as_of(metadata);
        let verdict = self.owed.verdict(as_of, || self.invalidation.verdict(as_of));
        verdict.or(metadata.expired.then_some(Mode::Soft))
    }

    /// Was the region invalidated after this moment?
    pub(crate) fn is_invalidated(&self, moment: Timestamp) -> bool {
        self.owed.verdict(moment, || self.invalidation.verdict(moment)).is_some()
    }

    /// Returns the age that a value of `key` may have in a call with these options.
    #[inline]
    pub(crate) fn limits(&self, key: &str, metadata: &Metadata, options: &Options) -> AgeLimits {
        let expiration = options.expiration.as_ref().or(self.defaults.expiration.as_ref());
        let expiration = || expiration.and_then(super::options::Expiration::after);
        let expiration = metadata.lifetime().or_else(expiration);
        let jitter = options.jitter.or(self.defaults.jitter);
        AgeLimits {
            expiration: match (expiration, jitter) {
                (Some(expiration), Some(jitter)) => {
                    Some(jittered(expiration, jitter, &self.stored_key(key), metadata.ct))
                }
                _ => expiration,
            },
            early: None,
            stale_while_revalidate: options
                .stale_while_revalidate
                .or(self.defaults.stale_while_revalidate),
            stale_if_error: options.stale_if_error.or(self.defaults.stale_if_error),
        }
    }

    /// The moment that an invalidation judges a value by.
    #[inline]
    pub(super) fn as_of(&self, metadata: &Metadata) -> Timestamp {
        if self.keeps_order() { metadata.begun } else { metadata.as_of() }
    }
}
