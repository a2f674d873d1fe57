//! The sources of a collection's data: the store, or the user's loader.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{Either, select};
use tokio::runtime::Handle;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::format::{DecodeError, Format};
use super::stats::{Count, Stats};
use super::table::Table;
use crate::backend::{
    BackendError, CollectionPlace, CollectionStore, ErrorKind, Upload, revision_number,
};
use crate::clock::Clock;
use crate::error::{CollectionLoad, CollectionOperation, Error};
use crate::lock::{KeyedLock as _, Lease};
use crate::log;
use crate::remote::{io, new_token, random_share};
use crate::sync::Mutex;

/// An error of a user's loader.
pub(super) type LoadError = Box<dyn StdError + Send + Sync>;

type Loading<D> = Pin<Box<dyn Future<Output = Result<D, LoadError>> + Send>>;

/// A user's loader, async or blocking.
pub(super) struct Loader<D>(Box<dyn Fn() -> Loading<D> + Send + Sync>);

impl<D: Send + 'static> Loader<D> {
    pub(super) fn new<L, F, E>(load: L) -> Self
    where
        L: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<D, E>> + Send + 'static,
        E: Into<LoadError>,
    {
        Self(Box::new(move || {
            let loading = load();
            Box::pin(async { loading.await.map_err(Into::into) })
        }))
    }

    /// It runs on a thread where it may block.
    pub(super) fn blocking<L, E>(load: L) -> Self
    where
        L: Fn() -> Result<D, E> + Send + Sync + 'static,
        E: Into<LoadError>,
    {
        let load = Arc::new(load);
        Self(Box::new(move || {
            let load = load.clone();
            Box::pin(async move { io::run_blocking(move || load().map_err(Into::into)).await? })
        }))
    }
}

/// A collection, seen from its source.
pub(super) struct Source<D> {
    pub(super) name: String,
    pub(super) store: Arc<dyn CollectionStore>,
    pub(super) place: CollectionPlace,
    pub(super) loader: Loader<D>,
    pub(super) format: Arc<Format>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) stats: Stats,
    /// The time that the loader may take.
    pub(super) load_timeout: Duration,
    /// Held by the one revision on its way to the readers.
    pub(super) arriving: Arc<AsyncMutex<()>>,
    /// A revision that was left to those who can read it, and why: it is not decoded
    /// again.
    pub(super) unreadable: Mutex<Option<(u64, String)>>,
    /// The runtime on which the collection was opened: where its loader feels
    /// at home.
    pub(super) home: Option<Handle>,
}

/// A revision on its way to the readers. As long as it is, no other one is decoded
/// or published in this process: so there are two in memory at most.
pub(super) struct Arrival<D> {
    pub(super) number: u64,
    pub(super) data: D,
    pub(super) turn: OwnedMutexGuard<()>,
}

/// The state of the store, beside what readers have.
pub(super) enum Fetched<D> {
    Newer(Arrival<D>),
    /// The revision that readers have.
    Known,
    /// A revision that cannot be read here.
    Unreadable(u64, String),
    /// One that nobody can read any more: some of it is gone.
    Gone(u64, &'static str),
    /// None, or one that is older: the store has lost something.
    Nothing,
}

/// The treatment of unreadable data in the store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Replace them.
    Replace,
    /// Leave them to those who can.
    Leave,
}

/// As often as data may be replaced while they are being read.
const TRIES: u32 = 20;

impl<D: Table> Source<D> {
    pub(super) fn error(&self, operation: &'static str, source: BackendError) -> Error {
        self.stats.count(Count::Failures);
        let collection = self.name.clone();
        Error::Collection(CollectionOperation { collection, operation, source }.into())
    }

    /// The error of a revision that is left to those who can read it.
    fn left_alone(&self, why: &str) -> Error {
        let message = format!(
            "the stored data cannot be read ({why}): if another shape of them has the same version, \
             change the version"
        );
        self.error("pull", BackendError::other(message))
    }

    /// An error if `stored` is known to be a revision that cannot be read here.
    pub(super) fn check_readable(&self, stored: Option<u64>) -> Result<(), Error> {
        match &*self.unreadable.lock() {
            Some((number, why)) if stored == Some(*number) => Err(self.left_alone(why)),
            _ => Ok(()),
        }
    }

    /// The revision in the store, whatever it holds.
    pub(super) async fn revision(&self) -> Result<Option<u64>, Error> {
        self.stats.count(Count::Checks);
        self.store.revision(&self.place).await.map_err(|error| self.error("check", error))
    }

    /// A revision above that which readers have, whose number `known` tells: that of
    /// the store, or a new one, made by this process or by another one that is faster.
    /// It waits for that one. `None` if readers have got it meanwhile.
    pub(super) async fn above(
        self: &Arc<Self>,
        known: impl Fn() -> u64 + Send + Sync,
        unreadable: Unreadable,
    ) -> Result<Option<Arrival<D>>, Error> {
        loop {
            let useless = match self.fetch(&known).await? {
                Fetched::Newer(arrival) => return Ok(Some(arrival)),
                Fetched::Known => return Ok(None),
                Fetched::Unreadable(number, why) => {
                    self.stats.count(Count::Unreadable);
                    log::collection_unreadable(&self.name, number, &why);
                    if unreadable == Unreadable::Leave {
                        *self.unreadable.lock() = Some((number, why.clone()));
                        return Err(self.left_alone(&why));
                    }
                    Some(number)
                }
                Fetched::Gone(number, why) => {
                    self.stats.count(Count::Unreadable);
                    log::collection_gone(&self.name, number, why);
                    Some(number)
                }
                Fetched::Nothing => None,
            };
            let Some(lease) = self.try_lock_or_wait().await? else { continue };
            let (now, known) = (self.revision().await?, known());
            if now.is_some_and(|now| now >= known.max(1)) && now != useless {
                self.unlock(lease).await;
                continue;
            }
            if let Some(made) = self.make(known, lease).await? {
                return Ok(Some(made));
            }
        }
    }

    /// Returns what the store has, once no other revision is on its way.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        known: &(impl Fn() -> u64 + Send + Sync),
    ) -> Result<Fetched<D>, Error> {
        let turn = self.arriving.clone().lock_owned().await;
        let (began, known) = (Instant::now(), known());
        let mut last = known;
        let mut incomplete = None;
        for _ in 0..TRIES {
            let stored = self.store.read(&self.place).await;
            let (number, data) = match stored.map_err(|error| self.error("pull", error))? {
                Some((number, Some(data))) if number > known => (number, data),
                Some((number, None)) if number > known => {
                    return Ok(Fetched::Gone(number, "its data are missing"));
                }
                Some((number, _)) if number == known && known > 0 => return Ok(Fetched::Known),
                _ => return Ok(Fetched::Nothing),
            };
            last = number;
            match self.unpack(data).await? {
                Ok((data, bytes)) => {
                    self.stats.pulled(began.elapsed(), bytes);
                    log::collection_pulled(&self.name, number, bytes, began.elapsed());
                    return Ok(Fetched::Newer(Arrival { number, data, turn }));
                }
                // It is still what is there: nothing has superseded it.
                Err(DecodeError::Superseded) if incomplete == Some(number) => {
                    return Ok(Fetched::Gone(number, "parts of its data are missing"));
                }
                Err(DecodeError::Superseded) => incomplete = Some(number),
                Err(DecodeError::Unreadable(why)) => return Ok(Fetched::Unreadable(number, why)),
                Err(DecodeError::Backend(error)) => return Err(self.error("pull", error)),
            }
        }
        let message = "the data are replaced faster than they can be read";
        Ok(Fetched::Unreadable(last, message.to_owned()))
    }

    /// The table that the store has as `data`, and how many bytes it was.
    async fn unpack(self: &Arc<Self>, data: Bytes) -> Result<Result<(D, u64), DecodeError>, Error> {
        let source = self.clone();
        let unpack = move || {
            let part = |upload: &str, index| {
                io::block_on(source.store.read_part(&source.place, upload, index))
            };
            source.format.unpack(&data, part)
        };
        io::run_blocking(unpack).await.map_err(|error| self.error("pull", error))
    }

    /// Loads, and publishes what was loaded as a revision above `known`. `None` if
    /// the lease was lost meanwhile: somebody else's revision came in between.
    pub(super) async fn make(
        self: &Arc<Self>,
        known: u64,
        lease: Lease,
    ) -> Result<Option<Arrival<D>>, Error> {
        match self.load().await {
            Ok(data) => self.publish(data, known, lease).await,
            Err(error) => {
                self.unlock(lease).await;
                Err(error)
            }
        }
    }

    /// Returns the data of the loader.
    pub(super) async fn load(self: &Arc<Self>) -> Result<D, Error> {
        let began = Instant::now();
        let limit = self.clock.sleep(self.load_timeout);
        let loaded = match select((self.loader.0)(), limit).await {
            Either::Left((loaded, _)) => loaded,
            Either::Right(_) => Err(format!(
                "it was not done after {:?}: if it needs longer, raise `load_timeout` of the collection",
                self.load_timeout
            )
            .into()),
        };
        self.stats.loaded(began.elapsed(), loaded.is_ok());
        log::collection_loaded(
            &self.name,
            began.elapsed(),
            loaded.as_ref().err().map(AsRef::as_ref),
        );
        let collection = self.name.clone();
        loaded.map_err(|source| Error::Load(CollectionLoad { collection, source }.into()))
    }

    async fn publish(
        self: &Arc<Self>,
        data: D,
        known: u64,
        lease: Lease,
    ) -> Result<Option<Arrival<D>>, Error> {
        let turn = self.arriving.clone().lock_owned().await;
        let (began, source) = (Instant::now(), self.clone());
        let pack = move || {
            let upload = new_token();
            let write = |index, part| {
                io::block_on(source.store.write_part(&source.place, &upload, index, part))
            };
            let packed = source.format.pack(&data, source.clock.now(), &upload, write);
            (packed, data)
        };
        let error = |error| self.error("push", error);
        let (packed, data) = io::run_blocking(pack).await.map_err(error)?;
        let packed = match packed {
            Ok(packed) => packed,
            Err(why) => {
                self.unlock(lease).await;
                return Err(error(why));
            }
        };
        let parts = packed.parts;
        let upload = packed.upload.as_deref().map(|id| Upload { id, parts });
        let above = known.max(moment(&*self.clock));
        let published = self.store.publish(&self.place, packed.data, upload, above, lease).await;
        let Some(number) = published.map_err(error)? else {
            log::collection_lease_lost(&self.name);
            return Ok(None);
        };
        self.stats.pushed(began.elapsed(), packed.written);
        log::collection_pushed(&self.name, number, packed.written, began.elapsed());
        Ok(Some(Arrival { number, data, turn }))
    }

    /// The lock under which revisions are made, once whoever has it is done.
    pub(super) async fn lock(&self) -> Result<Lease, Error> {
        loop {
            if let Some(lease) = self.try_lock_or_wait().await? {
                return Ok(lease);
            }
        }
    }

    /// `None` if it waited: everything may be different now.
    async fn try_lock_or_wait(&self) -> Result<Option<Lease>, Error> {
        let (mutex, key) = (self.store.mutex(self.load_timeout), self.place.revision());
        let locked = match mutex.try_lock(&key).await {
            Ok(None) => mutex.wait(&key).await,
            other => other,
        };
        locked.map_err(|error| self.error("lock", error))
    }

    /// On the way to another answer, which this one's failure must not replace.
    async fn unlock(&self, lease: Lease) {
        let _ = self.store.mutex(self.load_timeout).unlock(lease).await;
    }
}

/// Returns the number that a new revision's must exceed, whatever the store says: the time in
/// milliseconds. So a store that has lost its number, all of it or the last steps, never
/// gives one again that somebody knows.
fn moment(clock: &dyn Clock) -> u64 {
    Duration::try_from_secs_f64(clock.now())
        .ok()
        .and_then(|since| u64::try_from(since.as_millis()).ok())
        // A clock that is so far ahead is none.
        .filter(|moment| revision_number((moment + 1).to_string().as_bytes()).is_some())
        .unwrap_or_default()
}

/// Is it the store that failed, because it is away?
pub(super) fn is_away(error: &Error) -> bool {
    matches!(error, Error::Collection(of) if of.source.kind() == ErrorKind::Unavailable)
}

/// Before another attempt at a store that is away: not all at once, and not
/// too often.
pub(super) fn pause_before(attempt: u32) -> Duration {
    const LONGEST: Duration = Duration::from_secs(1);
    let pause = Duration::from_millis(20).saturating_mul(1 << attempt.min(10)).min(LONGEST);
    pause.mul_f64(0.5 + 0.5 * random_share())
}
