//! Objects in this process's memory, bounded by count or by weight.

use std::fmt;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::{Backend, BackendError, KeepsObjects};
use crate::value::{Entry, Metadata, Object, Payload};

/// The memory backend: live objects, none of them serialized, the least
/// useful evicted when the bound is reached.
///
/// What a caller gets is a clone of what is kept. For a type whose clones are
/// expensive, cache an `Arc` of it: then a hit is two reference counts, and all
/// callers share one object.
///
/// There is no unbounded form here, because a cache that only grows ends a
/// process sooner or later; where that is wanted there is
/// [`MapBackend::unbounded`](super::MapBackend::unbounded).
pub struct Memory {
    cache: Cache<Box<str>, Slot, Weigher>,
}

/// The stored part of an entry: the rest of its metadata says nothing about an
/// object of this very process.
#[derive(Clone)]
struct Slot {
    object: Object,
    ct: f64,
    /// Not a number where the object is a [`Whole`].
    begun: f64,
}

/// An entry whose metadata say something rare, in the place of its object: so all others are
/// the smaller.
struct Whole(Entry);

impl Whole {
    /// Returns the object that a slot is for.
    fn object_of(slot: &Slot) -> &Object {
        match slot.object.downcast_ref::<Self>().map(|whole| &whole.0.payload) {
            Some(Payload::Object(object)) => object,
            _ => &slot.object,
        }
    }
}

type Weigh = dyn Fn(&str, &Object) -> u64 + Send + Sync;

#[derive(Clone)]
struct Weigher(Option<Arc<Weigh>>);

impl Weighter<Box<str>, Slot> for Weigher {
    fn weight(&self, key: &Box<str>, slot: &Slot) -> u64 {
        // What weighs nothing would never be evicted, and the cache would grow without end.
        self.0.as_ref().map_or(1, |weigh| weigh(key, Whole::object_of(slot)).max(1))
    }
}

/// A guess at how many entries a cache bounded by weight will have; only the
/// size of its first allocation follows from it.
const WEIGHTED_ENTRIES: usize = 1_000;

impl Memory {
    /// A backend for at most `max_entries` objects. Zero keeps nothing.
    pub fn new(max_entries: usize) -> Self {
        Self { cache: Cache::with_weighter(max_entries, max_entries as u64, Weigher(None)) }
    }

    /// A backend for objects of `max_weight` in total, weighed by `weigh`
    /// when they are stored, in any unit. One that weighs more than its share
    /// of the bound is not kept at all. One that is said to weigh nothing counts as 1, so
    /// that there are about `max_weight` objects at most.
    ///
    /// ```
    /// use dogpile::backend::Memory;
    ///
    /// // At most about 64 MiB of strings.
    /// let memory = Memory::weighted(64 << 20, |key, object| {
    ///     let text = object.downcast_ref::<String>().map_or(0, String::len);
    ///     (key.len() + text) as u64
    /// });
    /// # let _ = memory;
    /// ```
    pub fn weighted(
        max_weight: u64,
        weigh: impl Fn(&str, &Object) -> u64 + Send + Sync + 'static,
    ) -> Self {
        let weigher = Weigher(Some(Arc::new(weigh)));
        Self { cache: Cache::with_weighter(WEIGHTED_ENTRIES, max_weight, weigher) }
    }

    /// Returns the number of objects.
    pub fn len(&self) -> usize {
        self.cache.len()
    }

    /// Does it hold none?
    pub fn is_empty(&self) -> bool {
        self.cache.is_empty()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("len", &self.len())
            .field("capacity", &self.cache.capacity())
            .finish()
    }
}

impl Backend for Memory {
    type Keeps = KeepsObjects;

    async fn get(&self, key: &str) -> Result<Option<Entry>, BackendError> {
        Ok(self.lookup(key))
    }

    fn get_now(&self, key: &str) -> Option<Result<Option<Entry>, BackendError>> {
        Some(Ok(self.lookup(key)))
    }

    async fn set(&self, key: &str, entry: Entry) -> Result<(), BackendError> {
        let Payload::Object(object) = &entry.payload else {
            return Err(BackendError::refused("the memory backend keeps objects, not bytes"));
        };
        let Metadata { ct, begun, .. } = entry.metadata;
        let slot = if entry.metadata.is_of_times_alone() {
            Slot { object: object.clone(), ct, begun }
        } else {
            Slot { object: Object::new(Whole(entry)), ct, begun: f64::NAN }
        };
        self.cache.insert(key.into(), slot);
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        self.cache.remove(key);
        Ok(())
    }
}

impl Memory {
    #[inline]
    fn lookup(&self, key: &str) -> Option<Entry> {
        let Slot { object, ct, begun } = self.cache.get(key)?;
        if begun.is_nan()
            && let Some(Whole(entry)) = object.downcast_ref()
        {
            return Some(entry.clone());
        }
        let metadata = Metadata::created_at(ct).with_begin(begun);
        Some(Entry { metadata, payload: Payload::Object(object) })
    }
}

/// A bound that suits a process which was given none: far from nothing, far from all memory.
#[cfg(feature = "config")]
pub(super) const DEFAULT_ENTRIES: usize = 10_000;

#[cfg(feature = "config")]
impl super::Named for Memory {
    const NAMES: &'static [&'static str] = &["memory"];

    fn from_arguments(
        _name: &str,
        arguments: &mut crate::settings::Arguments,
    ) -> Result<Self, crate::settings::ConfigError> {
        Ok(Self::new(arguments.take("max_entries")?.unwrap_or(DEFAULT_ENTRIES)))
    }
}
