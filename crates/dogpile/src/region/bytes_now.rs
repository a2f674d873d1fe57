//! The short way to a hit in [`SerializedMemory`](crate::backend::SerializedMemory): its bytes are
//! decoded where they lie, and nothing is read of a header.

use super::core::Core;
use super::kind::{Cacheable, Encoding};
use super::lookup::Answer;
use super::object_now::Bounds;
use super::options::Options;
use super::state::Now;
use crate::backend::{Said, Taken};
use crate::clock::Timestamp;
use crate::lock::Status;
use crate::stats::Count;

/// The result of a look at bytes.
enum Seen {
    Fresh {
        said: Said,
        now: Timestamp,
    },
    Absent,
    Unclear,
    /// Whatever there is, it is to be looked for in the usual way.
    Unknown,
}

impl Core {
    /// Returns what there is to say of a value's bytes; nothing if they lie elsewhere.
    #[expect(
        clippy::inline_always,
        reason = "measured: each move of a value is a twentieth of a hit"
    )]
    #[inline(always)]
    pub(super) fn bytes_now<K, T: Cacheable<K>, A>(
        &self,
        key: &str,
        options: &Options,
        take: impl FnOnce(Answer<T>) -> A,
    ) -> Option<Now<A>> {
        let mut taken = Taken::nothing();
        let (Said { ct, shape, .. }, now) = match self.see_bytes(key, options, &mut taken) {
            Seen::Fresh { said, now } => (said, now),
            Seen::Absent => return Some(Now::Absent),
            Seen::Unclear => return Some(Now::Unclear),
            Seen::Unknown => return None,
        };
        let bytes = taken.as_slice();
        let encoding = Encoding { bytes, whole: taken.whole(), shape };
        match T::decode(&self.codec, encoding) {
            Ok(value) => {
                self.count_hit();
                self.stats().add(Count::BytesRead, bytes.len() as u64);
                Some(Now::Hit(take(Answer { value, status: Status::Hit, ct, now })))
            }
            Err(_) => Some(Now::Unclear),
        }
    }

    /// Compiled once, for values of all types.
    fn see_bytes(&self, key: &str, options: &Options, taken: &mut Taken) -> Seen {
        let Some(memory) = &self.serialized else { return Seen::Unknown };
        if self.owed.are_any() || self.kept.are_any() || self.invalidation_is_due() {
            return Seen::Unknown;
        }
        let stored = self.stored_key(key);
        let bounds = self.bounds(options);
        let Some(said) = memory.look(&stored, taken) else { return Seen::Absent };
        let Said { ct, begun, .. } = said;
        if ct.is_nan() {
            return Seen::Unknown;
        }
        let Bounds { now, .. } = bounds;
        if !self.is_plainly_fresh(ct, begun, bounds)
            && !self.is_fresh_or_early(key, (ct, begun), options, now)
        {
            return Seen::Unclear;
        }
        Seen::Fresh { said, now }
    }
}
