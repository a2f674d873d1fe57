//! The short way to a hit: a fresh value that is at hand, in most cases an object of this process, looked
//! at where its backend keeps it.

use super::Region;
use super::core::Core;
use super::kind::{Cacheable, Kind};
use super::lookup::Answer;
use super::options::Options;
use super::state::{Now, State};
use crate::backend::Looked;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::freshness::Freshness;
use crate::key::AskedKey;
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

/// The place of the code that looks at an object.
#[derive(Clone, Copy)]
pub(super) enum Code {
    /// A part of the caller's: a seventh of a hit quicker.
    Caller,
    /// Compiled once, for all callers and values of all types.
    Shared,
}

/// Is a clone of a value made while the map is locked? One that is larger than two pointers may be
/// expensive: then it is the object that is cloned, and the value from that.
const fn is_small<T>() -> bool {
    size_of::<T>() <= 2 * size_of::<usize>()
}

impl<K: Kind> Region<K> {
    /// The hit path: a fresh value that the backend has at hand, without a
    /// look at any mutex.
    #[expect(clippy::inline_always, reason = "measured: a tenth of a hit")]
    #[inline(always)]
    pub(super) fn hit_now<T: Cacheable<K>>(
        &self,
        key: &str,
        options: &Options,
    ) -> Option<Answer<T>> {
        match self.look_now(key.into(), options, Code::Shared, |answer| answer) {
            Now::Hit(answer) => Some(answer),
            Now::Absent | Now::Unclear => None,
        }
    }

    /// Returns the value of a hit alone, of a call without options.
    #[expect(clippy::inline_always, reason = "measured: a tenth of a hit")]
    #[inline(always)]
    pub(super) fn value_now<'k, T: Cacheable<K>>(&self, key: impl Into<AskedKey<'k>>) -> Option<T> {
        match self.look_now(key.into(), Options::NONE, Code::Caller, Answer::into_value) {
            Now::Hit(value) => Some(value),
            Now::Absent | Now::Unclear => None,
        }
    }

    /// Looks, and takes of a hit what is needed: to move the rest along would be a tenth of it.
    #[expect(clippy::inline_always, reason = "measured: a tenth of a hit")]
    #[inline(always)]
    fn look_now<T: Cacheable<K>, A>(
        &self,
        key: AskedKey<'_>,
        options: &Options,
        code: Code,
        mut take: impl FnMut(Answer<T>) -> A,
    ) -> Now<A> {
        let state = self.state();
        match state.object_now(key, options, code, &mut take) {
            Some(now) => now,
            None => state.look_now::<K, T, A>(key.as_str(), options, take),
        }
    }

    /// Returns the result of `get` if that is clear without waiting.
    #[expect(clippy::option_option, reason = "whether it is clear, and whether there is a value")]
    #[expect(clippy::inline_always, reason = "measured: a tenth of a hit")]
    #[inline(always)]
    pub(super) fn get_now<T: Cacheable<K>>(
        &self,
        key: &str,
        options: &Options,
        code: Code,
    ) -> Option<Option<T>> {
        match self.look_now(key.into(), options, code, Answer::into_value) {
            Now::Hit(value) => Some(Some(value)),
            Now::Absent => {
                self.state().shared().stats.count(Count::Misses);
                Some(None)
            }
            Now::Unclear => None,
        }
    }
}

impl State {
    /// Returns what there is to say of an object; nothing if the backend keeps none, or keeps it
    /// in another way.
    #[expect(clippy::inline_always, reason = "measured: a tenth of a hit")]
    #[inline(always)]
    fn object_now<T: Clone + 'static, A>(
        &self,
        key: AskedKey<'_>,
        options: &Options,
        code: Code,
        take: impl FnOnce(Answer<T>) -> A,
    ) -> Option<Now<A>> {
        let mut value: Option<T> = None;
        let seen = if is_small::<T>() {
            self.see_object(key, options, code, |object| {
                value = object.downcast_ref().cloned();
                value.is_some()
            })
        } else {
            let mut taken = None;
            let seen = self.see_object(key, options, code, |object| {
                let is_it = object.downcast_ref::<T>().is_some();
                taken = is_it.then(|| object.clone());
                is_it
            });
            value = taken.and_then(|object| object.downcast_ref().cloned());
            seen
        };
        match seen {
            Seen::Fresh { ct, now } => {
                Some(Now::Hit(take(Answer { value: value?, status: Status::Hit, ct, now })))
            }
            Seen::Absent => Some(Now::Absent),
            Seen::Unclear => Some(Now::Unclear),
            Seen::Unknown => None,
        }
    }

    #[expect(clippy::inline_always, reason = "measured: a tenth of a hit")]
    #[inline(always)]
    fn see_object(
        &self,
        key: AskedKey<'_>,
        options: &Options,
        code: Code,
        mut take: impl FnMut(&Object) -> bool,
    ) -> Seen {
        match (self.first_core(), code) {
            (Some(core), Code::Caller) => core.see_object(key, options, take),
            (Some(core), Code::Shared) => core.see_object_once(key, options, &mut take),
            (None, _) => self.see_object_later(key, options, &mut take),
        }
    }

    #[cold]
    fn see_object_later(
        &self,
        key: AskedKey<'_>,
        options: &Options,
        take: &mut dyn FnMut(&Object) -> bool,
    ) -> Seen {
        self.in_force().map_or(Seen::Unknown, |core| core.see_object_once(key, options, take))
    }
}

impl Core {
    #[inline(never)]
    fn see_object_once(
        &self,
        key: AskedKey<'_>,
        options: &Options,
        take: &mut dyn FnMut(&Object) -> bool,
    ) -> Seen {
        self.see_object(key, options, take)
    }

    #[expect(clippy::inline_always, reason = "measured: a seventh of a hit")]
    #[inline(always)]
    fn see_object(
        &self,
        key: AskedKey<'_>,
        options: &Options,
        mut take: impl FnMut(&Object) -> bool,
    ) -> Seen {
        if self.owed.are_any() || self.kept.are_any() || self.invalidation_is_due() {
            return Seen::Unknown;
        }
        #[cfg(feature = "memory")]
        let looked = match &self.short_way.memory {
            Some(memory) => memory.look(key, take),
            None => self.look_around(key.as_str(), &mut take),
        };
        #[cfg(not(feature = "memory"))]
        let looked = self.look_around(key.as_str(), &mut take);
        let Some((ct, begun)) = looked.moments() else {
            return if looked.is_absent() { Seen::Absent } else { Seen::Unknown };
        };
        let now = self.coarse_now();
        if !self.is_plainly_fresh(ct, begun, options, now)
            && !self.is_fresh_or_early(key.as_str(), (ct, begun), options, now)
        {
            return Seen::Unclear;
        }
        self.count_hit();
        Seen::Fresh { ct, now }
    }

    /// Looks at an object in another backend than [`Memory`](crate::backend::Memory), behind proxies
    /// or by a key that is to be mangled.
    #[inline(never)]
    fn look_around(&self, key: &str, take: &mut dyn FnMut(&Object) -> bool) -> Looked {
        if !self.objects && !self.has_near() {
            return Looked::UNKNOWN;
        }
        self.backend.look_now(&self.stored_key(key), take)
    }

    #[inline]
    pub(super) fn coarse_now(&self) -> Timestamp {
        if self.short_way.is_system_time { SystemClock.coarse_now() } else { self.own_now() }
    }

    #[inline(never)]
    fn own_now(&self) -> Timestamp {
        self.clock.coarse_now()
    }

    /// Is an object fresh, by its age and the invalidations alone? Nothing is said where more than
    /// that counts: [`freshness`](Self::freshness) has the whole answer.
    #[inline]
    pub(super) fn is_plainly_fresh(
        &self,
        ct: Timestamp,
        begun: Timestamp,
        options: &Options,
        now: Timestamp,
    ) -> bool {
        let is_valid = if self.short_way.are_own_moments && self.keeps_order() {
            self.shared.moments.is_valid(begun)
        } else {
            self.is_valid(ct, begun)
        };
        let youngest = -CLOCK_SKEW.as_secs_f64();
        is_valid && (youngest..=self.short_way.greatest_age(options)).contains(&(now - ct))
    }

    #[inline(never)]
    fn is_valid(&self, ct: Timestamp, begun: Timestamp) -> bool {
        let as_of = if self.keeps_order() { begun } else { ct.min(begun) };
        self.invalidation.verdict(as_of).is_none()
    }

    #[inline(never)]
    pub(super) fn is_fresh_or_early(
        &self,
        key: &str,
        (ct, begun): (Timestamp, Timestamp),
        options: &Options,
        now: Timestamp,
    ) -> bool {
        let metadata = Metadata::created_at(ct).with_begin(begun);
        let found = self.freshness(key, &metadata, options, now);
        found == Freshness::Fresh || self.is_created_early(found, &self.stored_key(key))
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
