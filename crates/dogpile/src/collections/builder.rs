//! The builder of collections.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::format::Format;
use super::shared::{Prepare, Shared, Terms};
use super::source::{Arrival, Loader, Source, Unreadable, is_away, pause_before};
use super::stats::Stats;
use super::table::Table;
use super::{Cached, Snapshot, keeper, refuse_blocking};
use crate::backend::{AnyBackend, BackendError};
use crate::bridge::block_on;
use crate::clock::{Clock, SystemClock};
use crate::codec::{Codec, RegionCodec};
use crate::error::{CollectionOperation, Error};
use crate::log;
use crate::proxy::Algorithm;
use crate::remote::io;
use crate::sync::Mutex;

/// The behaviour of a collection whose store cannot be reached when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenAway {
    /// Load, and keep what was loaded to this process; catch up with the store
    /// when it is there.
    #[default]
    LoadLocally,
    /// Wait until the store is there.
    Wait,
    /// Fail.
    Fail,
}

/// A collection that is not open yet; see [`Cached::builder`].
#[must_use = "a collection is there once it is opened"]
pub struct CollectionBuilder<D> {
    name: String,
    version: String,
    backend: AnyBackend,
    loader: Loader<D>,
    format: Format,
    check_interval: Duration,
    when_away: WhenAway,
    prepare: Option<Prepare<D>>,
    load_timeout: Duration,
    clock: Arc<dyn Clock>,
}

impl<D: Table> CollectionBuilder<D> {
    pub(super) fn new(name: &str, backend: AnyBackend, loader: Loader<D>) -> Self {
        Self {
            name: name.to_owned(),
            version: "0".to_owned(),
            backend,
            loader,
            format: Format::default(),
            check_interval: Duration::from_secs(10),
            when_away: WhenAway::default(),
            prepare: None,
            load_timeout: Duration::from_secs(600),
            clock: Arc::new(SystemClock),
        }
    }

    /// The version of the application, or of the shape of the data: it is a part
    /// of the keys, so that several versions live side by side and a rollback
    /// finds its own data. `"0"` by default; `env!("CARGO_PKG_VERSION")` is a
    /// good one.
    ///
    /// Under one version, data whose entries had other fields when they were stored cannot be
    /// read.
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// Sets how often the store is asked for a newer revision, whatever it tells by
    /// itself; ten seconds by default. Over a store that tells of new revisions
    /// at once this is the safety net.
    pub fn check_interval(mut self, interval: Duration) -> Self {
        self.check_interval = interval;
        self
    }

    /// Sets the codec of entries; JSON by default, of whatever types the keys are.
    pub fn codec<C: Codec>(mut self, codec: C) -> Self {
        self.format.codec = RegionCodec::of(codec);
        self
    }

    /// Shares the collection with Python's cached-collections: one pickle of plain
    /// data, as large as it may be, neither compressed nor in parts.
    #[cfg(feature = "pickle")]
    pub fn python(mut self) -> Self {
        self.format.codec = RegionCodec::of(crate::codec::Pickle);
        self.format.bare = true;
        self
    }

    /// Sets the compression of the data, from 1 KiB on; by Zstandard's fastest level by
    /// default.
    pub fn compression(mut self, algorithm: Option<Algorithm>) -> Self {
        self.format.compression = algorithm;
        self
    }

    /// Data of more than this many bytes are stored in parts of about this size,
    /// before compression; 4 MiB by default. While they are pulled, one part is in
    /// memory beside what it becomes.
    pub fn part_bytes(mut self, bytes: usize) -> Self {
        self.format.part_size = bytes;
        self
    }

    /// The most that the data may take before compression, in bytes; 1 GiB by
    /// default. Larger ones are neither pushed nor pulled.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.format.max_size = bytes;
        self
    }

    /// Sets what to do if the store cannot be reached when the collection is opened.
    pub fn when_away(mut self, then: WhenAway) -> Self {
        self.when_away = then;
        self
    }

    /// Calls `prepare` with each revision before readers get it, on a thread where
    /// it may take its time: what [views](Snapshot::view) it looks at are made
    /// by then.
    pub fn prepare(mut self, prepare: impl Fn(&Snapshot<D>) + Send + Sync + 'static) -> Self {
        self.prepare = Some(Arc::new(prepare));
        self
    }

    /// Sets how long the loader may take, ten minutes by default: one that hangs would keep
    /// every process from pushing. After that it counts as failed, if it is waiting for
    /// something then: one that blocks its thread cannot be stopped. As long as it runs, the
    /// lock is kept; then the data may take as long to be packed and stored as the backend
    /// allows any creation (`longest_creation`).
    pub fn load_timeout(mut self, limit: Duration) -> Self {
        self.load_timeout = limit;
        self
    }

    /// Sets the clock, for tests.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Opens the collection: it has its first revision then, from the store, or
    /// else by its loader. Of many processes that open it at once, one loads.
    ///
    /// Dropping the future opens nothing; what it has pushed by then stays.
    ///
    /// # Errors
    ///
    /// If the name or the version breaks the [rules](Cached::builder), the backend cannot keep
    /// collections, the loader fails, or the store does, as far as [`WhenAway`] says so.
    ///
    /// # Panics
    ///
    /// If the loader does, or what [prepares](Self::prepare).
    pub async fn open(self) -> Result<Cached<D>, Error> {
        let when_away = self.when_away;
        let (source, terms) = self.source()?;
        let first = first(&source, when_away).await?;
        let shared = Shared::new(source, terms, first).await?;
        keeper::start(&shared).map_err(|error| shared.source.error("open", error))?;
        Ok(Cached(shared))
    }

    /// The same for code that is not async. Outside of a runtime an async loader runs inside
    /// this crate's.
    ///
    /// # Errors
    ///
    /// Also inside a current-thread runtime, which could not go on meanwhile.
    ///
    /// # Panics
    ///
    /// As [`open`](Self::open).
    pub fn open_blocking(self) -> Result<Cached<D>, Error> {
        let name = self.name.clone();
        block_on(io::inside(self.open())).unwrap_or_else(|_| Err(refuse_blocking(&name)))
    }

    fn source(self) -> Result<(Arc<Source<D>>, Terms<D>), Error> {
        let refused = |source| {
            let collection = self.name.clone();
            Err(Error::Collection(
                CollectionOperation { collection, operation: "open", source }.into(),
            ))
        };
        if let Err(why) = check_names(&self.name, &self.version, self.format.bare) {
            return refused(why);
        }
        let Some(store) = self.backend.collections() else {
            return refused(self.backend.keeps_no_collections());
        };
        let source = Source {
            place: store.place(&self.name, &self.version),
            store,
            loader: self.loader,
            format: Arc::new(self.format),
            clock: self.clock,
            stats: Stats::new(&self.name),
            load_timeout: self.load_timeout,
            arriving: Arc::default(),
            unreadable: Mutex::default(),
            home: io::home_of_caller(),
            name: self.name,
        };
        let terms = Terms { check_interval: self.check_interval, prepare: self.prepare };
        Ok((Arc::new(source), terms))
    }
}

/// The first revision, or number zero for what no other process has.
async fn first<D: Table>(
    source: &Arc<Source<D>>,
    when_away: WhenAway,
) -> Result<Arrival<D>, Error> {
    let mut attempt = 0;
    loop {
        let error = match source.above(|| 0, Unreadable::Replace).await {
            Ok(Some(found)) => {
                source.stats.looked(true);
                return Ok(found);
            }
            Ok(None) => continue,
            Err(error) => error,
        };
        match when_away {
            WhenAway::LoadLocally if is_away(&error) => {
                log::collection_out_of_step(&source.name, &error, true);
                let (data, turn) = (source.load().await?, source.arriving.clone().lock_owned());
                return Ok(Arrival { number: 0, data, turn: turn.await });
            }
            WhenAway::Wait if is_away(&error) => {
                log::collection_out_of_step(&source.name, &error, attempt == 0);
                source.clock.sleep(pause_before(attempt)).await;
                attempt += 1;
            }
            _ => return Err(error),
        }
    }
}

/// Names are parts of keys, which people and Python read.
fn check_names(name: &str, version: &str, python: bool) -> Result<(), BackendError> {
    const LONGEST: usize = 200;
    for (what, text) in [("name", name), ("version", version)] {
        if text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control) {
            return Err(BackendError::refused(format!(
                "the {what} of a collection has from 1 to {LONGEST} bytes and no control characters"
            )));
        }
    }
    if name.contains('.') && !python {
        return Err(BackendError::refused(
            "the name of a collection has no dot: in its keys the version begins after the first",
        ));
    }
    Ok(())
}

impl<D> fmt::Debug for CollectionBuilder<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectionBuilder")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("backend", &self.backend)
            .field("check_interval", &self.check_interval)
            .field("when_away", &self.when_away)
            .finish_non_exhaustive()
    }
}
