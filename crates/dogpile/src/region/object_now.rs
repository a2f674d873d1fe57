//! The short way to a hit: a fresh value that is at hand, in most cases an object of this process, looked
//! at where its backend keeps it.

use std::cell::Cell;

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

/// The result of a look at an object, with what it has taken of it.
enum Seen<S> {
    Fresh {
        seen: S,
        ct: Timestamp,
        now: Timestamp,
    },
    Absent,
    Unclear,
    /// Whatever there is, it is to be looked for in the usual way.
    Unknown,
}

impl<S> Seen<S> {
    /// Returns what there is to say of the value that `open` makes of what was taken.
    #[inline]
    fn now<T, A>(
        self,
        open: impl FnOnce(S) -> Option<T>,
        take: impl FnOnce(Answer<T>) -> A,
    ) -> Option<Now<A>> {
        match self {
            Self::Fresh { seen, ct, now } => {
                Some(Now::Hit(take(Answer { value: open(seen)?, status: Status::Hit, ct, now })))
            }
            Self::Absent => Some(Now::Absent),
            Self::Unclear => Some(Now::Unclear),
            Self::Unknown => None,
        }
    }

    /// The same with what was taken elsewhere.
    fn with<O>(self, other: Option<O>) -> Seen<O> {
        match (self, other) {
            (Self::Fresh { ct, now, .. }, Some(seen)) => Seen::Fresh { seen, ct, now },
            (Self::Absent, _) => Seen::Absent,
            (Self::Unclear, _) => Seen::Unclear,
            (Self::Fresh { .. } | Self::Unknown, _) => Seen::Unknown,
        }
    }
}

/// The bounds that a look judges by. They are read before the look: a load that comes after the lock of a part
/// of a map was given back waits for that, which was a sixteenth of a hit.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// The last moment of an invalidation, if values and invalidations are this process's own: then their order
    /// needs no clock.
    invalidated: Option<Timestamp>,
    /// Not a number where more counts than the age.
    greatest_age: f64,
    pub(super) now: Timestamp,
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
        if is_small::<T>() {
            let look = |object: &Object| object.downcast_ref().cloned();
            self.see_object(key, options, code, look).now(Some, take)
        } else {
            let is_it = |object: &Object| object.downcast_ref::<T>().is_some();
            let look = |object: &Object| is_it(object).then(|| object.clone());
            let open = |object: Object| object.downcast_ref().cloned();
            self.see_object(key, options, code, look).now(open, take)
        }
    }

    #[expect(clippy::inline_always, reason = "measured: a tenth of a hit")]
    #[inline(always)]
    fn see_object<S>(
        &self,
        key: AskedKey<'_>,
        options: &Options,
        code: Code,
        look: impl Fn(&Object) -> Option<S>,
    ) -> Seen<S> {
        if let (Some(core), Code::Caller) = (self.first_core(), code) {
            return core.see_object(key, options, look);
        }
        let taken = Cell::new(None);
        let look = |object: &Object| {
            let seen = look(object);
            let is_it = seen.is_some();
            taken.set(seen);
            is_it
        };
        // As text: an `AskedKey` is handed on by its address, and would stay in memory for the short way too.
        self.see_object_once(key.as_str(), options, &look).with(taken.take())
    }

    /// Looks by code that was compiled once, for values of all types.
    #[inline(never)]
    fn see_object_once(
        &self,
        key: &str,
        options: &Options,
        look: &dyn Fn(&Object) -> bool,
    ) -> Seen<()> {
        let look = |object: &Object| look(object).then_some(());
        match self.in_force() {
            Some(core) => core.see_object(key.into(), options, look),
            None => Seen::Unknown,
        }
    }
}

impl Core {
    #[expect(clippy::inline_always, reason = "measured: a seventh of a hit")]
    #[inline(always)]
    fn see_object<S>(
        &self,
        key: AskedKey<'_>,
        options: &Options,
        look: impl Fn(&Object) -> Option<S>,
    ) -> Seen<S> {
        if self.owed.are_any() || self.kept.are_any() || self.invalidation_is_due() {
            return Seen::Unknown;
        }
        #[cfg(feature = "memory")]
        if let Some(memory) = &self.short_way.memory {
            let bounds = self.bounds(options);
            return match memory.look(key, look) {
                None => Seen::Absent,
                Some((ct, begun, Some(seen))) if !ct.is_nan() => {
                    if !self.is_fresh_now(key, options, (ct, begun), bounds) {
                        return Seen::Unclear;
                    }
                    // No near tier lies over memory.
                    self.stats().count(Count::Hits);
                    Seen::Fresh { seen, ct, now: bounds.now }
                }
                Some(_) => Seen::Unknown,
            };
        }
        if !self.objects && !self.has_near() {
            return Seen::Unknown;
        }
        // Nearly the same again: a function of its own takes the key by its address, which was a tenth of the hits above.
        let bounds = self.bounds(options);
        let mut taken = None;
        let looked = self.look_around(key.as_str(), &mut |object| {
            taken = look(object);
            taken.is_some()
        });
        match (looked.moments(), taken) {
            (Some(moments @ (ct, _)), Some(seen)) => {
                if !self.is_fresh_now(key, options, moments, bounds) {
                    return Seen::Unclear;
                }
                self.count_hit();
                Seen::Fresh { seen, ct, now: bounds.now }
            }
            _ if looked.is_absent() => Seen::Absent,
            _ => Seen::Unknown,
        }
    }

    /// Looks at an object in another backend than [`Memory`](crate::backend::Memory), behind proxies
    /// or by a key that is to be mangled.
    #[inline(never)]
    fn look_around(&self, key: &str, take: &mut dyn FnMut(&Object) -> bool) -> Looked {
        self.backend.look_now(&self.stored_key(key), take)
    }

    /// Is an object of these moments fresh, for a call with these options?
    #[expect(clippy::inline_always, reason = "measured: a tenth of a hit")]
    #[inline(always)]
    fn is_fresh_now(
        &self,
        key: AskedKey<'_>,
        options: &Options,
        (ct, begun): (Timestamp, Timestamp),
        bounds: Bounds,
    ) -> bool {
        self.is_plainly_fresh(ct, begun, bounds)
            || self.is_fresh_or_early(key.as_str(), (ct, begun), options, bounds.now)
    }

    /// Returns the bounds of a look, in a call with these options.
    #[inline]
    pub(super) fn bounds(&self, options: &Options) -> Bounds {
        let moments = self.short_way.moments.as_ref();
        Bounds {
            invalidated: moments.map(|moments| moments.latest_of_both()),
            greatest_age: self.short_way.greatest_age(options),
            now: self.coarse_now(),
        }
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
    pub(super) fn is_plainly_fresh(&self, ct: Timestamp, begun: Timestamp, bounds: Bounds) -> bool {
        let is_valid = match bounds.invalidated {
            Some(moment) => begun > moment,
            None => self.is_valid(ct, begun),
        };
        let youngest = -CLOCK_SKEW.as_secs_f64();
        is_valid && (youngest..=bounds.greatest_age).contains(&(bounds.now - ct))
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
            let bounds = Bounds { now, ..core.bounds(&options) };
            if core.is_plainly_fresh(ct, begun, bounds) {
                prop_assert_eq!(found, Freshness::Fresh);
            } else if !is_early && jitter.is_none() {
                prop_assert_ne!(found, Freshness::Fresh);
            }
        }
    }
}
