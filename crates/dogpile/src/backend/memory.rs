//! Objects in this process's memory, bounded by count or by weight.

use std::cell::RefCell;
use std::fmt;
use std::num::NonZero;
use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Options, OptionsBuilder, Weighter};

use super::stored_object::{Asked, Looking, Moments, Stored};
use super::{Backend, BackendError, KeepsObjects, Looked};
use crate::clock::Timestamp;
use crate::key::{AskedKey, KeyHashes};
use crate::value::{Entry, Metadata, Object, Payload};

/// The memory backend: live objects, none of them serialized, the least
/// useful evicted when the bound is reached.
///
/// What a caller gets is a clone of what is kept. For a type whose clones are
/// expensive, cache an `Arc` of it: then a hit is a reference count, and all
/// callers share one object. A clone of a value no larger than two pointers is made while a
/// part of the map is locked, so that hits need no count of their own: such a `Clone` must not use the
/// same backend.
///
/// There is no unbounded form here, because a cache that only grows ends a
/// process sooner or later; where that is wanted there is
/// [`MapBackend::unbounded`](super::MapBackend::unbounded).
pub struct Memory {
    cache: Cache<Stored, Moments, Weigher, KeyHashes>,
}

/// An entry whose metadata say something rare, in the place of its object: so all others are
/// the smaller.
#[derive(Clone)]
struct Whole(Entry);

impl Whole {
    /// Returns the object that is stored.
    fn object_of(stored: &Stored) -> &Object {
        match stored.object.downcast_ref::<Self>().map(|whole| &whole.0.payload) {
            Some(Payload::Object(object)) => object,
            _ => &stored.object,
        }
    }
}

type Weigh = dyn Fn(&str, &Object) -> u64 + Send + Sync;

#[derive(Clone)]
struct Weigher(Option<Arc<Weigh>>);

impl Weighter<Stored, Moments> for Weigher {
    fn weight(&self, stored: &Stored, _moments: &Moments) -> u64 {
        // What weighs nothing would never be evicted, and the cache would grow without end.
        let weigh = |weigh: &Arc<Weigh>| weigh(stored.key(), Whole::object_of(stored)).max(1);
        self.0.as_ref().map_or(1, weigh)
    }
}

/// A guess at how many entries a cache bounded by weight will have; only the
/// size of its first allocation follows from it.
const WEIGHTED_ENTRIES: usize = 1_000;

/// Returns the number of parts, each with a lock and a bound of its own, for so many objects, where
/// that is more than the map would choose: threads meet at fewer locks. In parts of 1,024 objects and
/// more that fill unevenly less than half a point of a hundred is lost, also where a circle of reads is
/// about as long as the room (`cargo xtask bench --only=ratio`).
fn shards(max_entries: usize) -> Option<usize> {
    const PER_SHARD: usize = 1_024;
    const MOST: usize = 256;
    let usual = 4 * std::thread::available_parallelism().map_or(1, NonZero::get);
    let shards = 1 << (max_entries / PER_SHARD).clamp(1, MOST).ilog2();
    (shards > usual).then_some(shards)
}

/// Returns the number of places to begin with in a part of the map for so many objects.
///
/// A part has twice as many places whenever it is full. From here it comes to just as many as its
/// objects need (keys do not fall evenly into parts), and to twice that when it evicts: then it keeps the
/// hashes of half as many that it has evicted, each in the place of an object. From any other beginning it
/// may end with twice as many.
const fn first_places(objects: usize) -> usize {
    const MOST: usize = 24;
    let mut places = objects + 3 * objects.isqrt();
    while places > MOST {
        places = places.div_ceil(2);
    }
    places
}

impl Memory {
    /// A backend for at most `max_entries` objects. Zero keeps nothing. Its parts fill unevenly, so from
    /// about a hundred objects on it begins to evict a little before it is full.
    pub fn new(max_entries: usize) -> Self {
        let mut options = OptionsBuilder::new();
        options.estimated_items_capacity(max_entries).weight_capacity(max_entries as u64);
        if let Some(shards) = shards(max_entries) {
            options.shards(shards);
        }
        let Ok(options) = options.build() else { unreachable!("both capacities are set") };
        let memory = Self::with(options, Weigher(None));
        let shards = memory.cache.num_shards();
        // The map adds as many for what it will evict.
        memory.cache.reserve(first_places(max_entries.div_ceil(shards)).div_ceil(2) * shards);
        memory
    }

    fn with(options: Options, weigher: Weigher) -> Self {
        let (hashes, lifecycle) = (KeyHashes::default(), DefaultLifecycle::default());
        Self { cache: Cache::with_options(options, weigher, hashes, lifecycle) }
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
        let mut options = OptionsBuilder::new();
        options.estimated_items_capacity(WEIGHTED_ENTRIES).weight_capacity(max_weight);
        let Ok(options) = options.build() else { unreachable!("both capacities are set") };
        Self::with(options, Weigher(Some(Arc::new(weigh))))
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

    fn look_now(&self, key: &str, look: &mut dyn FnMut(&Object) -> bool) -> Looked {
        let look = RefCell::new(look);
        match self.look(key.into(), |object| (look.borrow_mut())(object).then_some(())) {
            None => Looked::ABSENT,
            Some((ct, begun, Some(()))) => Looked::object(ct, begun),
            Some((.., None)) => Looked::UNKNOWN,
        }
    }

    async fn set(&self, key: &str, entry: Entry) -> Result<(), BackendError> {
        let Payload::Object(object) = &entry.payload else {
            return Err(BackendError::refused("the memory backend keeps objects, not bytes"));
        };
        let Metadata { ct, begun, .. } = entry.metadata;
        let (object, ct) = if entry.metadata.is_of_times_alone() {
            (object.clone(), ct)
        } else {
            (Object::new(Whole(entry)), f64::NAN)
        };
        self.cache.insert(Stored::new(key, object), Moments { ct, begun });
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        self.cache.remove(&Asked::of(key));
        Ok(())
    }
}

impl Memory {
    /// Looks at an object under the lock of a part of the map. Returns its moments, with what the look has
    /// taken of it: nothing of an entry whose metadata say more.
    #[expect(clippy::inline_always, reason = "measured: a tenth of a hit")]
    #[inline(always)]
    pub(crate) fn look<S>(
        &self,
        key: AskedKey<'_>,
        look: impl Fn(&Object) -> Option<S>,
    ) -> Option<(Timestamp, Timestamp, Option<S>)> {
        let looking = Looking::new(Asked::of(key), look);
        let Moments { ct, begun } = self.cache.get(&looking)?;
        Some((ct, begun, looking.seen()))
    }

    fn lookup(&self, key: &str) -> Option<Entry> {
        let (ct, begun, object) = self.look(key.into(), |it| Some(it.clone()))?;
        let object = object?;
        if ct.is_nan()
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
