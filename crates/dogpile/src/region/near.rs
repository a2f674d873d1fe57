//! A region's near tier, where it has one: reading through it, and what it is told of the region.

#[cfg(feature = "near")]
use std::time::Duration;

use super::core::Core;
#[cfg(feature = "near")]
use super::core::Shared;
use crate::backend::{AnyBackend, BackendError};
use crate::clock::Timestamp;
#[cfg(feature = "near")]
use crate::key;
#[cfg(feature = "near")]
use crate::log;
#[cfg(feature = "near")]
use crate::near::{Observer, Tier};
use crate::stats::Count;
use crate::value::{Entry, Object, Payload};

impl Core {
    /// The backend with its proxies, without the near tier.
    pub(crate) fn beneath(&self) -> &AnyBackend {
        #[cfg(feature = "near")]
        if let Some(near) = &self.near {
            return near.inner();
        }
        &self.backend
    }

    /// Returns what this process has under `key`, where the backend does not answer: what could not be
    /// stored, or a copy of the near tier.
    pub(crate) fn kept_at(&self, key: &str, now: Timestamp) -> Option<Entry> {
        let kept = self.kept.at(key, now);
        #[cfg(feature = "near")]
        let kept = kept.or_else(|| self.near.as_ref()?.stand_in(key));
        kept
    }

    /// Reads a value; a copy in the near tier only if that `fits`.
    pub(crate) async fn read_one(
        &self,
        key: &str,
        #[cfg_attr(not(feature = "near"), expect(unused_variables, reason = "of the near tier"))]
        fits: impl Fn(&Object) -> bool,
    ) -> Result<Option<Entry>, BackendError> {
        #[cfg(feature = "near")]
        if let Some(near) = &self.near {
            return near.read(key, fits).await;
        }
        self.backend.get(key).await
    }

    /// Reads several values; copies in the near tier only if they fit.
    pub(crate) async fn read_all(
        &self,
        keys: &[&str],
        #[cfg_attr(not(feature = "near"), expect(unused_variables, reason = "of the near tier"))]
        fits: impl Fn(&Object) -> bool,
    ) -> Result<Vec<Option<Entry>>, BackendError> {
        #[cfg(feature = "near")]
        if let Some(near) = &self.near {
            return near.read_all(keys, fits).await;
        }
        self.backend.get_multi(keys).await
    }

    /// A stored value was decoded: a copy in the near tier need not be again.
    #[cfg_attr(not(feature = "near"), expect(clippy::unused_self, reason = "of the near tier"))]
    pub(crate) fn note_decoded(
        &self,
        key: &str,
        payload: &Payload,
        value: impl FnOnce() -> Object,
    ) {
        #[cfg(feature = "near")]
        if let (Some(near), Payload::Bytes(bytes)) = (&self.near, payload) {
            near.note_decoded(key, bytes, value);
        }
        #[cfg(not(feature = "near"))]
        let _ = (key, payload, value);
    }

    #[cfg_attr(not(feature = "near"), expect(clippy::unused_self, reason = "it has none"))]
    #[inline]
    pub(super) const fn has_near(&self) -> bool {
        #[cfg(feature = "near")]
        return self.near.is_some();
        #[cfg(not(feature = "near"))]
        false
    }

    /// Another core will be in force when this is called.
    #[cfg(feature = "near")]
    pub(super) fn replace_near(&self, by: &Self) {
        if let Some(near) = &self.near {
            *self.shared.near.lock() = by.near.as_ref().map(Tier::downgrade).unwrap_or_default();
            near.replace();
        }
    }

    /// Another core is in force: the copies of this one are of no use, and nobody needs tell of
    /// changes to them.
    #[cfg(feature = "near")]
    pub(super) fn end_near(&self) {
        if let Some(near) = &self.near {
            near.end();
        }
    }

    /// Counts a hit that was given at once.
    #[inline]
    pub(super) fn count_hit(&self) {
        self.stats().count(Count::Hits);
        if self.has_near() {
            self.stats().count(Count::NearHits);
        }
    }
}

#[cfg(feature = "near")]
impl Observer for Shared {
    fn count(&self, what: Count) {
        self.stats.count(what);
    }

    #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "gauges of theirs"))]
    fn measured(&self, copies: usize, age: Duration) {
        #[cfg(feature = "metrics")]
        self.stats.note_near(copies, age);
    }

    fn is_unfollowed(&self) {
        log::near_by_age(&self.name);
    }

    fn changed_late(&self, keys: &[&str]) {
        let now = self.near.lock().upgrade();
        if let Some(now) = now {
            now.end_copies(keys);
        }
    }
}

#[cfg(feature = "near")]
impl Core {
    /// Returns how the stored keys of a region begin, as far as that is known.
    pub(super) fn near_prefix(backend: &AnyBackend, has_prefix: bool, region: &str) -> String {
        if !has_prefix || backend.recommended_mangler().is_some() {
            return String::new();
        }
        key::of_region(region).mangle("").into_owned()
    }
}
