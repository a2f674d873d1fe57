//! The short way to a hit: an object of this process, looked at where its backend keeps it.

use super::core::Core;
use super::lookup::Answer;
use super::options::{Expiration, Options};
use super::state::{Now, State};
use crate::backend::Looked;
use crate::clock::Timestamp;
use crate::freshness::Freshness;
use crate::lock::{CLOCK_SKEW, Status};
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
            Some(core) if core.objects || core.has_near() => core.see_object(key, options, take),
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
        self.count_hit();
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

#[cfg(all(test, feature = "memory", not(shuttle)))]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::backend::Memory;
    use crate::invalidation::Mode;
    use crate::{Config, Early, Region};

    proptest! {
        /// The short test says nothing else than the whole one.
        #[test]
        fn what_is_plainly_fresh_is_fresh(
            ct in 0_u32..200, begun in 0_u32..200, now in 0_u32..400,
            of_region in proptest::option::of(0_u64..200), of_call in proptest::option::of(0_u64..200),
            hard in proptest::option::of(0_u32..200), soft in proptest::option::of(0_u32..200),
            is_early: bool, jitter in proptest::option::of(0.0..1.0_f64),
        ) {
            let region: Region = Region::new("plainly");
            let mut config = Config::new(Memory::new(1));
            if let Some(seconds) = of_region {
                config = config.expiration(Duration::from_secs(seconds));
            }
            if is_early {
                config = config.early(Early::at(0.5));
            }
            if let Some(share) = jitter {
                config = config.jitter(share);
            }
            region.configure(config).unwrap();
            let core = region.core().unwrap();
            for (mode, at) in [(Mode::Hard, hard), (Mode::Soft, soft)] {
                if let Some(at) = at {
                    pollster::block_on(core.invalidation.invalidate(mode, f64::from(at))).unwrap();
                }
            }
            let expiration = of_call.map(|seconds| Duration::from_secs(seconds).into());
            let options = Options { expiration, ..Options::default() };
            let (ct, begun, now) = (f64::from(ct), f64::from(begun), f64::from(now));
            let metadata = Metadata::created_at(ct).with_begin(begun);
            let found = core.freshness("k", &metadata, &options, now);
            if core.is_plainly_fresh(ct, begun, &options, now) {
                prop_assert_eq!(found, Freshness::Fresh);
            } else if !is_early && jitter.is_none() {
                prop_assert_ne!(found, Freshness::Fresh);
            }
        }
    }
}
