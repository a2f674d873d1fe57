//! Whole tables kept in every process, in step, read at the speed of a local map
//! (Python's cached-collections).
//!
//! A collection is loaded by one process, put into a store that all share, and
//! kept by each of them as a plain map or list. A [`push`](Cached::push) loads it
//! again and gives it to everybody: the store tells them at once, each pulls the
//! new revision in the background, and readers go on without waiting.
//!
//! ```
//! use std::collections::HashMap;
//! use dogpile::backend::File;
//! use dogpile::collections::CachedMapping;
//!
//! type People = HashMap<u32, String>;
//!
//! async fn load() -> Result<People, std::io::Error> {
//!     Ok(HashMap::from([(1, "Ada".to_owned()), (2, "Alan".to_owned())])) // the slow query
//! }
//!
//! fn by_initial(people: &People) -> HashMap<char, Vec<u32>> {
//!     let mut found: HashMap<char, Vec<u32>> = HashMap::new();
//!     for (id, name) in people {
//!         found.entry(name.chars().next().unwrap_or('?')).or_default().push(*id);
//!     }
//!     found
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let backend = File::open(directory.path().join("collections.db"))?;
//! // let backend = Redis::open("redis://localhost")?;
//! let people = CachedMapping::builder("people", backend, load)
//!     .version(env!("CARGO_PKG_VERSION"))
//!     .open()
//!     .await?;
//!
//! assert_eq!(people.get(&1).as_deref(), Some("Ada"));
//! let now = people.snapshot(); // one revision, as long as it is held
//! assert_eq!(now.view(by_initial)[&'A'].len(), now.len());
//!
//! people.push().await?; // after the table has changed
//! # Ok(())
//! # }
//! ```
//!
//! # What readers can rely on
//!
//! A [`Snapshot`] is one revision from start to end, and so are its
//! [views](Snapshot::view). In one process the revision never goes back. Reading
//! never waits: a new revision is decoded, and [prepared](CollectionBuilder::prepare)
//! if asked for, before readers get it, and an old one is taken apart once
//! nobody has it any more, in the background. So in memory there are two revisions while
//! one gives way to the next, and older ones that somebody still holds.
//!
//! Numbers of revisions rise with each push; they are not counted from one, but are
//! about the milliseconds since the epoch at which they were pushed. So a store that
//! comes back empty, or older, does not give a number again that somebody knows.
//!
//! # The store
//!
//! Redis in any of its forms, or a file for the processes of one machine. Over an
//! existing connection of redis-rs's nothing tells of new revisions, and they are
//! found within the check interval. Keys are `cached.NAME.VERSION.data` and
//! `.revision` (in a cluster, `cached.{NAME.VERSION}..`), changed together. Give a
//! file to collections alone, or make it large: what is evicted is loaded again. It
//! must have room for two revisions of each, or else a push is refused.
//! A backend's proxies and retention are not for collections.
//!
//! Revisions are made under a lock, so that a push that began later has data that
//! were read later. A process that loses the lock while it loads stores nothing.
//!
//! # When the store is away
//!
//! What is there goes on being served; [`statistics`](Cached::statistics) and the
//! metric `dogpile_collection_in_step` say that it may be behind. When the store is
//! back, the collection catches up. If it came back empty, or older than what
//! is known, one process loads and pushes. [`WhenAway`] is about opening. Data in
//! the store that cannot be read (another shape under the same version) are replaced
//! by who opens the collection, and left alone by those who have it. Those that are
//! gone, or parts of them, while their number is not are made again by whoever
//! misses them.

mod builder;
mod format;
mod keeper;
mod lazy;
mod list;
mod shared;
mod snapshot;
mod source;
mod stats;
mod table;

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

pub use builder::{CollectionBuilder, WhenAway};
pub use lazy::LazyCached;
pub use list::{StoredCollection, list, purge};
pub use snapshot::Snapshot;
pub use stats::CollectionStatistics;
pub use table::Table;

/// For fuzzing: reads what a store may hold as a collection.
#[cfg(fuzzing)]
#[doc(hidden)]
pub fn read_data(data: &bytes::Bytes, part: &bytes::Bytes) -> bool {
    let format = format::Format { max_size: 1 << 20, ..format::Format::default() };
    let read = |_: &str, _| Ok(Some(part.clone()));
    format.unpack::<HashMap<u32, String>>(data, read).is_ok()
}

use crate::backend::{AnyBackend, BackendError};
use crate::bridge::block_on;
use crate::error::{CollectionOperation, Error};
use crate::remote::io;
use shared::Shared;
use source::Loader;

/// A mapping kept whole in every process.
pub type CachedMapping<K, V> = Cached<HashMap<K, V>>;

/// A sequence kept whole in every process.
pub type CachedSequence<T> = Cached<Vec<T>>;

/// A collection kept whole in this process, in step with other processes; see the
/// [module](self). Clones share it; when the last one is dropped, so is the
/// collection.
///
/// `D` is a `HashMap`, a `BTreeMap` or a `Vec`.
pub struct Cached<D>(Arc<Shared<D>>);

impl<D> Clone for Cached<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<D: Table> Cached<D> {
    /// A collection called `name`, stored in `backend`, whose data `load` returns. A name has from
    /// 1 to 200 bytes, no control characters and no dot (with `.python()` it may).
    ///
    /// A loader that needs something of its own takes it along:
    ///
    /// ```
    /// # use std::collections::HashMap;
    /// # use dogpile::{backend::AnyBackend, collections::CachedMapping};
    /// # #[derive(Clone)] struct Pool;
    /// # async fn query(pool: &Pool) -> Result<HashMap<u32, String>, std::io::Error> { Ok(HashMap::new()) }
    /// # fn example(backend: AnyBackend, pool: Pool) {
    /// let load = move || {
    ///     let pool = pool.clone();
    ///     async move { query(&pool).await }
    /// };
    /// let people = CachedMapping::builder("people", backend, load);
    /// # drop(people);
    /// # }
    /// ```
    ///
    /// The loader is called by [`push`](Self::push), on the caller's task; by
    /// opening, if the store has no data; and in the background, on the runtime where the
    /// collection was opened, if the store has lost them. On a current-thread
    /// runtime it runs in the background on a thread of this crate's, inside a tokio runtime.
    pub fn builder<L, F, E>(
        name: &str,
        backend: impl Into<AnyBackend>,
        load: L,
    ) -> CollectionBuilder<D>
    where
        L: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<D, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        CollectionBuilder::new(name, backend.into(), Loader::new(load))
    }

    /// The same with a loader that blocks. It is called on a thread where it may.
    pub fn builder_blocking<L, E>(
        name: &str,
        backend: impl Into<AnyBackend>,
        load: L,
    ) -> CollectionBuilder<D>
    where
        L: Fn() -> Result<D, E> + Send + Sync + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        CollectionBuilder::new(name, backend.into(), Loader::blocking(load))
    }

    /// The data as they are now. Waits for nothing.
    pub fn snapshot(&self) -> Snapshot<D> {
        Snapshot::new(self.0.current())
    }

    /// The [view](Snapshot::view) `make` of the data as they are now. It waits for
    /// nothing unless it is the first use of the view in this revision.
    pub fn view<A, U, F>(&self, make: F) -> Snapshot<U>
    where
        A: ?Sized,
        D: Borrow<A>,
        U: Send + Sync + 'static,
        F: Fn(&A) -> U + 'static,
    {
        // Here too, so that the message points at the caller.
        const { assert!(size_of::<F>() == 0, "a view is a function, or a closure without captures") };
        self.snapshot().view(make)
    }

    /// The number of the revision that readers get now; see
    /// [`Snapshot::revision`].
    pub fn revision(&self) -> u64 {
        self.0.number()
    }

    /// Returns the number of entries now.
    pub fn len(&self) -> usize {
        self.0.current().data().count()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name it was opened with.
    pub fn name(&self) -> &str {
        &self.0.source.name
    }

    /// Loads the data again and gives them to all processes: returns the number of
    /// the new revision once it is stored and readers of this process have it.
    /// Pushes of several processes come one after the other.
    ///
    /// Dropping the future in the middle leaves the old revision, or the new one.
    ///
    /// # Errors
    ///
    /// If the loader or the store fails. Then all goes on as before.
    ///
    /// # Panics
    ///
    /// If the loader does, or what [prepares](CollectionBuilder::prepare) (then the revision
    /// is stored, and other processes have it).
    pub async fn push(&self) -> Result<u64, Error> {
        self.0.push().await
    }

    /// Catches up with the store now, without waiting to be told; true if there
    /// was a newer revision.
    ///
    /// Dropping the future in the middle leaves the old revision.
    ///
    /// # Errors
    ///
    /// If the store fails or has what cannot be read, or if it has lost the data
    /// and the loader fails. Then all goes on as before.
    pub async fn pull(&self) -> Result<bool, Error> {
        self.0.pull().await
    }

    /// Removes what is stored for another version of the application; false if
    /// there was nothing. Of this version, everything would be loaded and pushed
    /// again.
    ///
    /// # Errors
    ///
    /// If the store fails.
    pub async fn purge(&self, version: &str) -> Result<bool, Error> {
        let source = &self.0.source;
        let place = source.store.place(&source.name, version);
        source.store.purge(&place).await.map_err(|error| source.error("purge", error))
    }

    /// The same calls for code that is not async.
    pub fn blocking(&self) -> BlockingCached<'_, D> {
        BlockingCached(self)
    }

    /// Returns the counts of this process.
    pub fn statistics(&self) -> CollectionStatistics {
        let current = self.0.current();
        self.0.source.stats.snapshot(current.number(), current.data().count())
    }
}

impl<K, V, S> Cached<HashMap<K, V, S>>
where
    HashMap<K, V, S>: Table,
    K: Eq + Hash,
    S: BuildHasher,
{
    /// A copy of the value of `key`. For a reference, take a
    /// [`snapshot`](Self::snapshot).
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
        V: Clone,
    {
        self.0.current().data().get(key).cloned()
    }

    /// Is there a value of `key`?
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.0.current().data().contains_key(key)
    }
}

impl<K: Ord, V> Cached<BTreeMap<K, V>>
where
    BTreeMap<K, V>: Table,
{
    /// A copy of the value of `key`. For a reference or a range, take a
    /// [`snapshot`](Self::snapshot).
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
        V: Clone,
    {
        self.0.current().data().get(key).cloned()
    }
}

impl<T> Cached<Vec<T>>
where
    Vec<T>: Table,
{
    /// A copy of the item at `index`. For a reference or a slice, take a
    /// [`snapshot`](Self::snapshot).
    pub fn get(&self, index: usize) -> Option<T>
    where
        T: Clone,
    {
        self.0.current().data().get(index).cloned()
    }
}

impl<D: Table> fmt::Debug for Cached<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached")
            .field("name", &self.name())
            .field("place", &self.0.source.place)
            .field("revision", &self.revision())
            .field("entries", &self.len())
            .finish_non_exhaustive()
    }
}

/// The calls of [`Cached`] that wait, for code that is not async. Inside a
/// current-thread runtime, which could not go on meanwhile, they are errors.
#[derive(Debug)]
pub struct BlockingCached<'c, D: Table>(&'c Cached<D>);

impl<D: Table> BlockingCached<'_, D> {
    /// See [`Cached::push`].
    pub fn push(&self) -> Result<u64, Error> {
        self.wait(self.0.push())
    }

    /// See [`Cached::pull`].
    pub fn pull(&self) -> Result<bool, Error> {
        self.wait(self.0.pull())
    }

    /// See [`Cached::purge`].
    pub fn purge(&self, version: &str) -> Result<bool, Error> {
        self.wait(self.0.purge(version))
    }

    fn wait<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        block_on(io::inside(work)).unwrap_or_else(|_| Err(refuse_blocking(self.0.name())))
    }
}

fn refuse_blocking(collection: &str) -> Error {
    let source = BackendError::other(
        "a blocking call would have to wait inside a current-thread runtime, which cannot go on \
         meanwhile: use the async call, `spawn_blocking`, or a multi-thread runtime",
    );
    let collection = collection.to_owned();
    Error::Collection(
        CollectionOperation { collection, operation: "a blocking call", source }.into(),
    )
}
