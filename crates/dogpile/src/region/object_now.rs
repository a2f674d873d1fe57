//! The short way to a hit: an object of this process, looked at where its backend keeps it.

use super::core::Core;
use super::lookup::Answer;
use super::options::{Expiration, Options};
use super::state::{Now, State};
use crate::backend::Looked;
use crate::clock::Timestamp;
use crate::freshness::Freshness;
use crate::lock::{CLOCK_SKEW, Status};
use crate::stats::Count;
use crate::value::{Metadata, Object};

/// The result of a look at an object.
enum Seen {
    Fresh {
        ct: Timestamp,
        now: Timestamp,
    },
    Absent,
    Unclear,
    /// Whatever there is, it is to be looked for in the usual way.
    Unknown,
}

/// What a caller takes of an object: a clone of the value, or where that is larger than a pointer
/// and may be expensive a clone of the object, since the map is locked meanwhile.
enum Taken<T> {
    Value(T),
    Object(Object),
}

impl<T: Clone + 'static> Taken<T> {
    const IS_SMALL: bool = size_of::<T>() <= 2 * size_of::<usize>();

    #[inline]
    fn of(object: &Object) -> Option<Self> {
        let value = object.downcast_ref::<T>()?;
        Some(if Self::IS_SMALL { Self::Value(value.clone()) } else { Self::Object(object.clone()) })
    }

    #[inline]
    fn into_value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Object(object) => object.downcast_ref().cloned(),
        }
    }
}

impl State {
    /// Returns what there is to say of an object; nothing if the backend keeps none, or keeps it
    /// in another way.
    #[expect(clippy::inline_always, reason = "measured: a tenth of a hit")]
    #[inline(always)]
    pub(super) fn object_now<T: Clone + 'static>(
        &self,
        key: &str,
        options: &Options,
    ) -> Option<Now<T>> {
        let mut taken = None;
        let mut take = |object: &Object| {
            taken = Taken::of(object);
            taken.is_some()
        };
        match self.see_object(key, options, &mut take) {
            Seen::Fresh { ct, now } => {
                let value = taken?.into_value()?;
                Some(Now::Hit(Answer { value, status: Status::Hit, ct, now }))
            }
            Seen::Absent => Some(Now::Absent),
            Seen::Unclear => Some(Now::Unclear),
            Seen::Unknown => None,
        }
    }

    /// Compiled once, for values of all types.
    fn see_object(
        &self,
        key: &str,
        options: &Options,
        take: &mut dyn FnMut(&Object) -> bool,
    ) -> Seen {
        match self.in_force() {
            Some(core) if core.objects => core.see_object(key, options, take),
            _ => Seen::Unknown,
        }
    }
}

impl Core {
    #[inline]
    fn see_object(
        &self,
        key: &str,
        options: &Options,
        take: &mut dyn FnMut(&Object) -> bool,
    ) -> Seen {
        if self.owed.are_any() || self.kept.are_any() || self.invalidation_is_due() {
            return Seen::Unknown;
        }
        let stored = self.stored_key(key);
        let (ct, begun) = match self.backend.look_now(&stored, take) {
            Looked::Object { ct, begun } => (ct, begun),
            Looked::Absent => return Seen::Absent,
            Looked::Unknown => return Seen::Unknown,
        };
        let now = self.clock.coarse_now();
        if !self.is_plainly_fresh(ct, begun, options, now) {
            let metadata = Metadata::created_at(ct).with_begin(begun);
            let found = self.freshness(key, &metadata, options, now);
            if found != Freshness::Fresh && !self.is_created_early(found, &stored) {
                return Seen::Unclear;
            }
        }
        self.stats().count(Count::Hits);
        Seen::Fresh { ct, now }
    }

    /// Is an object fresh, by its age and the invalidations alone? Nothing is said where more than
    /// that counts: [`freshness`](Self::freshness) has the whole answer.
    #[inline]
    fn is_plainly_fresh(
        &self,
        ct: Timestamp,
        begun: Timestamp,
        options: &Options,
        now: Timestamp,
    ) -> bool {
        if options.early.or(self.defaults.early).is_some()
            || options.jitter.or(self.defaults.jitter).is_some()
        {
            return false;
        }
        let oldest = match options.expiration.as_ref().or(self.defaults.expiration.as_ref()) {
            None | Some(Expiration::Never) => f64::INFINITY,
            Some(Expiration::After(time)) => time.as_secs_f64(),
            Some(Expiration::Computed(_)) => return false,
        };
        let as_of = if self.keeps_order() { begun } else { ct.min(begun) };
        (-CLOCK_SKEW.as_secs_f64()..=oldest).contains(&(now - ct))
            && self.invalidation.verdict(as_of).is_none()
    }
}
