//! Values as backends hold them: a payload plus its metadata.
//!
//! ```text
//!   T  --codec-->  Payload::Bytes   \
//!                                    Entry { metadata: ct, v, .. }  --wire-->  bytes
//!   T  ---------->  Payload::Object /
//! ```
//!
//! A backend either keeps objects, and then an [`Entry`] passes through as it
//! is, or it keeps bytes, and then [`Entry::to_frame`] and
//! [`Entry::from_frame`] are its whole contact with the format.

#[cfg(feature = "serialized")]
pub(crate) mod extra;
mod malformed;
#[cfg(not(feature = "serialized"))]
mod no_bytes;
mod object;
#[cfg(feature = "serialized")]
mod wire;

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
#[cfg(feature = "serialized")]
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;

#[cfg(feature = "serialized")]
pub(crate) use bytes::Bytes;
#[cfg(feature = "serialized")]
pub use extra::Extra;
pub use malformed::Malformed;
#[cfg(not(feature = "serialized"))]
pub(crate) use no_bytes::Bytes;
pub use object::Object;
#[cfg(feature = "serialized")]
pub use wire::MAX_HEADER;

/// The value format version that this library writes and reads.
/// A value of any other version is a miss.
pub const VERSION: u32 = 2;

/// The metadata of a value, beside its payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    /// When its creation ended, in epoch seconds.
    pub ct: Timestamp,
    /// When its creation began, in epoch seconds: the value is as old as that to
    /// an invalidation. `b` in the header, where it differs from `ct`. Later than `ct` in this
    /// process's memory for a while after its clock was set back.
    pub begun: Timestamp,
    /// The value format version; [`VERSION`] on everything written here.
    pub v: u32,
    /// A number for the names of all fields in the value, where it has some and this crate
    /// has written it: `s` in the header. A value whose type has other fields now is a miss.
    pub shape: Option<u32>,
    /// Stays in its backend for longer than values do: no time to live and no bound on sizes
    /// ends it there. `keep` in the header, where it is true. The moments of
    /// [shared invalidations](crate::invalidation::SharedInvalidation) are kept, since they must outlive
    /// the creations that they are about.
    pub kept: bool,
    /// Was [expired](crate::Entry::expire) before its time: stale, whatever its age. `x` in the
    /// header, where it is true. Its `ct` is a microsecond earlier than before.
    pub expired: bool,
    /// The bits of its own lifetime in seconds, if it has one of its own.
    lifetime: Option<NonZeroU32>,
    /// The bits of the moment at which a creation failed that the value stands in for: `f` in the
    /// header, in epoch seconds.
    failed: Option<NonZeroU64>,
    /// Further keys of the header, kept as they were found.
    #[cfg(feature = "serialized")]
    pub extra: Option<Arc<Extra>>,
    /// For how many seconds a store is to keep it: not written anywhere.
    retention: Option<NonZeroU32>,
}

impl Metadata {
    /// Metadata of a value created at `ct` (epoch seconds).
    pub fn created_at(ct: Timestamp) -> Self {
        Self {
            ct,
            begun: ct,
            v: VERSION,
            shape: None,
            kept: false,
            expired: false,
            lifetime: None,
            failed: None,
            #[cfg(feature = "serialized")]
            extra: None,
            retention: None,
        }
    }

    /// The same metadata of a value whose creation began at `begun` (epoch
    /// seconds).
    #[must_use]
    pub fn with_begin(self, begun: Timestamp) -> Self {
        Self { begun, ..self }
    }

    /// The same metadata of an entry that is [kept](Self::kept).
    #[must_use]
    pub fn with_keeping(self) -> Self {
        Self { kept: true, ..self }
    }

    /// Do the moments of the creation say all that is to be known of an object of this process?
    #[cfg(feature = "memory")]
    pub(crate) const fn is_of_times_alone(&self) -> bool {
        let Self { v, kept, expired, lifetime, failed, .. } = self;
        let has_marks = *kept || *expired || lifetime.is_some() || failed.is_some();
        *v == VERSION && !has_marks && !self.has_extra()
    }

    /// Returns the time after `ct` for which the value is fresh, where it has one of its own: `e` in
    /// the header, in seconds. Otherwise the call's or region's expiration says it.
    #[inline]
    pub fn lifetime(&self) -> Option<Duration> {
        if self.lifetime.is_none() { None } else { self.own_lifetime() }
    }

    #[cold]
    fn own_lifetime(&self) -> Option<Duration> {
        Duration::try_from_secs_f32(self.lifetime_seconds()?).ok()
    }

    fn lifetime_seconds(&self) -> Option<f32> {
        self.lifetime.map(|bits| f32::from_bits(bits.get()))
    }

    /// Returns the same metadata of a value with a lifetime of its own, kept to seven digits.
    #[must_use]
    pub fn with_lifetime(self, lifetime: Option<Duration>) -> Self {
        // Zero is as short as can be, and there is a longest time too.
        let seconds = |time: Duration| time.as_secs_f32().clamp(f32::MIN_POSITIVE, 1e18);
        let seconds = lifetime.map(seconds);
        self.with_lifetime_seconds(seconds)
    }

    /// Seconds that are no time say nothing.
    fn with_lifetime_seconds(mut self, seconds: Option<f32>) -> Self {
        let is_time = |seconds: &f32| Duration::try_from_secs_f32(*seconds).is_ok();
        self.lifetime = seconds.filter(is_time).and_then(|it| NonZeroU32::new(it.to_bits()));
        self
    }

    /// For how long a store should keep the value at least; after that it may drop it. `None`
    /// is for ever, and what is said of a value that was read.
    pub fn retention(&self) -> Option<Duration> {
        self.retention.map(|seconds| Duration::from_secs(u64::from(seconds.get())))
    }

    /// Returns the same metadata of a value that a store need not keep for longer, in whole
    /// seconds, rounded up. No retention, and one of more than a century, is for ever.
    #[must_use]
    pub fn with_retention(self, retention: Option<Duration>) -> Self {
        let seconds = |time: Duration| {
            let seconds = time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0)).max(1);
            u32::try_from(seconds).ok().and_then(NonZeroU32::new)
        };
        Self { retention: retention.and_then(seconds), ..self }
    }

    /// Returns the moment, in epoch seconds, at which a creation failed that the value stands in for: `f` in
    /// the header.
    pub fn failed_at(&self) -> Option<Timestamp> {
        self.failed.map(|bits| f64::from_bits(bits.get()))
    }

    /// The same metadata of a value that stands in for a creation that failed at `at`, in epoch seconds. A moment
    /// that is not finite is none.
    #[must_use]
    pub fn with_failure(self, at: Option<Timestamp>) -> Self {
        let at = at.filter(|at| at.is_finite());
        Self { failed: at.and_then(|at| NonZeroU64::new(at.to_bits())), ..self }
    }

    /// Is there more to it than this crate writes for every value?
    #[cfg(feature = "memory")]
    #[cfg_attr(
        not(feature = "serialized"),
        expect(clippy::unused_self, reason = "only a header has more")
    )]
    const fn has_extra(&self) -> bool {
        #[cfg(feature = "serialized")]
        let has_extra = self.extra.is_some();
        #[cfg(not(feature = "serialized"))]
        let has_extra = false;
        has_extra
    }

    /// Returns the time that its creation took, as far as that is known.
    pub(crate) fn cost(&self) -> Duration {
        Duration::try_from_secs_f64(self.ct - self.begun).unwrap_or_default()
    }

    /// The moment that an invalidation judges the value by: the earlier one of
    /// begin and end.
    #[inline]
    pub fn as_of(&self) -> Timestamp {
        self.ct.min(self.begun)
    }
}

/// The value itself, in the form that its backend keeps.
#[derive(Clone)]
pub enum Payload {
    /// A live object of this process.
    Object(Object),
    /// The codec's output.
    Bytes(Bytes),
    /// Something is stored that cannot be read: a header that does not parse,
    /// a proxy that could not undo its work. Counts as missing and is
    /// overwritten by the next creation.
    Unreadable(Malformed),
}

impl Payload {
    /// Its size in bytes, where that is known: objects have none.
    pub fn size(&self) -> Option<usize> {
        match self {
            Self::Bytes(bytes) => Some(bytes.len()),
            Self::Object(_) | Self::Unreadable(_) => None,
        }
    }
}

/// Shows the kind and size, never the content: payloads may be secret.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(object) => write!(f, "Object({})", object.type_name()),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Unreadable(why) => write!(f, "Unreadable({why})"),
        }
    }
}

/// One stored value: metadata and payload.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its creation time, and its format.
    pub metadata: Metadata,
    /// The created value.
    pub payload: Payload,
}

impl Entry {
    /// An entry holding the codec's output `payload`, created at `ct` (epoch
    /// seconds).
    #[cfg_attr(
        not(feature = "serialized"),
        expect(unreachable_code, reason = "there are no bytes")
    )]
    pub fn bytes(payload: impl Into<Bytes>, ct: Timestamp) -> Self {
        Self { metadata: Metadata::created_at(ct), payload: Payload::Bytes(payload.into()) }
    }

    /// An entry holding a live object, created at `ct` (epoch seconds).
    pub fn object<T: Clone + Send + Sync + 'static>(object: T, ct: Timestamp) -> Self {
        Self::sharing(Object::new(object), ct)
    }

    /// Returns an entry holding an object that others may hold too.
    pub(crate) fn sharing(object: Object, ct: Timestamp) -> Self {
        Self { metadata: Metadata::created_at(ct), payload: Payload::Object(object) }
    }

    /// Returns the entry for stored bytes whose header cannot be read: not even the
    /// creation time is known, and stands as not-a-number.
    pub fn unreadable(why: Malformed) -> Self {
        Self { metadata: Metadata::created_at(f64::NAN), payload: Payload::Unreadable(why) }
    }

    /// This entry with a payload that could not be read.
    #[must_use]
    pub fn with_unreadable_payload(self, why: &str) -> Self {
        Self { metadata: self.metadata, payload: Payload::Unreadable(Malformed::new(why)) }
    }
}
