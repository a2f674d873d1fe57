//! A configured region: the backend and everything that judging, opening and
//! storing a value needs. Knows nothing of who creates.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::background::Runner;
use super::config::Config;
use super::failed::FailedCreations;
use super::kept::Kept;
use super::kind::{Cacheable, Codec, EncodedValue, Encoding, Kind};
use super::options::{Options, Retention};
use super::owed::Owed;
use super::short_way::ShortWay;
use super::streak::Streak;
use super::unseen::Unseen;
use super::values::Values;
#[cfg(feature = "serialized")]
use crate::backend::SerializedMemory;
use crate::backend::{AnyBackend, BackendError};
use crate::clock::{Clock, Stamp, SystemClock, TICK, Timeline, Timestamp};
use crate::codec::CodecError;
use crate::error::{Error, Operation, Types, WithBackend, shown};
use crate::invalidation::{InProcess, Invalidation, Mode};
use crate::key::{self, KeyGenerator, Mangler};
use crate::lock::{AnyMutex, CLOCK_SKEW, Freshness, KeyedMutex};
use crate::log;
#[cfg(feature = "near")]
use crate::near::Tier;
use crate::process::PerProcess;
use crate::shutdown::Counts;
use crate::stats::{Count, Stats};
use crate::tally::Tally;
use crate::value::{Bytes, Entry, Metadata, Object, Payload, VERSION};

/// The state of a region that lasts through reconfigurations.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) keys: KeyedMutex,
    pub(crate) stats: Stats,
    pub(crate) timeline: Timeline,
    /// The moments of a local invalidation: what was stored before outlives the configuration.
    pub(crate) moments: Arc<InProcess>,
    /// Somebody was told that the region is used unconfigured.
    pub(crate) warned: std::sync::Once,
    pub(crate) failures: FailureSeries,
    pub(crate) failed: FailedCreations,
    /// Creations in the background.
    pub(crate) background: PerProcess<Tally>,
    /// Held while a configuration is replaced by one that is made of it.
    pub(crate) changing: crate::sync::Mutex<()>,
    /// The near tier that has replaced another one.
    #[cfg(feature = "near")]
    pub(super) near: crate::sync::Mutex<crate::near::WeakTier>,
}

impl Counts for Shared {
    fn background(&self) -> &Tally {
        self.background.get_or_init(Tally::new)
    }
}

/// When a failure of the backend was last worth a warning.
pub(crate) struct FailureSeries {
    /// Epoch seconds, as bits.
    warned: AtomicU64,
}

impl FailureSeries {
    /// A failure after so many seconds begins another series.
    const SECONDS: f64 = 10.0;

    pub(crate) fn new() -> Self {
        Self { warned: AtomicU64::new(f64::NEG_INFINITY.to_bits()) }
    }

    fn is_first_of_series(&self, now: Timestamp) -> bool {
        let warned = self.warned.load(Ordering::Relaxed);
        let since = now - f64::from_bits(warned);
        let quiet = (0.0..Self::SECONDS).contains(&since);
        let warn = || {
            self.warned.compare_exchange(
                warned,
                now.to_bits(),
                Ordering::Relaxed,
                Ordering::Relaxed,
            )
        };
        !quiet && warn().is_ok()
    }
}

/// A region's configuration in force.
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) backend: AnyBackend,
    pub(crate) mutex: Option<AnyMutex>,
    pub(crate) objects: bool,
    pub(crate) mangler: Option<Mangler>,
    pub(crate) key_generator: KeyGenerator,
    pub(crate) codec: Codec,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) invalidation: Arc<dyn Invalidation>,
    pub(crate) invalidation_is_remote: bool,
    /// Other processes may share the backend.
    is_shared: bool,
    pub(crate) runner: Arc<dyn Runner>,
    pub(crate) defaults: Options,
    retention: Retention,
    pub(crate) owed: Owed,
    unseen: Unseen,
    pub(super) kept: Kept,
    /// `None` where a claim costs more than a look, or is no look.
    pub(super) streak: Option<Streak>,
    pub(super) short_way: ShortWay,
    /// The backend, if it keeps bytes in memory and nothing is around it.
    #[cfg(feature = "serialized")]
    pub(super) serialized: Option<Arc<SerializedMemory>>,
    /// Around the backend, if there is one.
    #[cfg(feature = "near")]
    pub(super) near: Option<Tier>,
}

/// A value with its creation time.
#[derive(Clone)]
pub(crate) struct Timestamped {
    pub(crate) value: Object,
    pub(crate) ct: Timestamp,
}

/// Why a payload is no `T`.
pub(crate) enum Undecodable {
    WrongType { stored: &'static str },
    Unreadable(String),
}

impl Core {
    pub(crate) fn new<K: Kind>(shared: Arc<Shared>, config: Config<K>) -> Result<Self, Error> {
        let Config {
            backend,
            codec,
            mangler,
            clock,
            invalidation,
            runner,
            defaults,
            retention,
            keep_when_down,
            #[cfg(feature = "near")]
            near,
            ..
        } = config;
        let key_generator = config.key_generator;
        let is_system_time = clock.is_none();
        let clock = clock.unwrap_or_else(|| Arc::new(SystemClock));
        let objects = backend.keeps_objects();
        if K::NEEDS_OBJECTS && !objects {
            let region = shared.name.clone();
            return Err(Error::NeedsObjects(
                WithBackend { region, backend: backend.name() }.into(),
            ));
        }
        let (mutex, is_shared) = (backend.mutex(), backend.is_shared());
        let has_prefix = is_shared && config.has_prefix;
        #[cfg(feature = "near")]
        let prefix = Self::near_prefix(&backend, has_prefix, &shared.name);
        let mangler = mangler.of(&backend, has_prefix.then(|| key::of_region(&shared.name)));
        let mangler =
            if is_shared && !has_prefix { Some(key::beside_moments(mangler)) } else { mangler };
        let mangler = match config.version {
            Some(version) => Some(key::version(&version, mangler)),
            None => mangler,
        };
        let invalidation = invalidation.of(&backend, &shared.name, &shared.moments);
        #[cfg(feature = "near")]
        let near = match near {
            Some(_) if objects => {
                let region = shared.name.clone();
                return Err(Error::NearInMemory(
                    WithBackend { region, backend: backend.name() }.into(),
                ));
            }
            Some(near) => Some(Tier::new(near, backend.clone(), &prefix, shared.clone())),
            None => None,
        };
        #[cfg(feature = "near")]
        let backend = near.as_ref().map_or(backend, Tier::backend);
        let short_way = ShortWay::new(&defaults)
            .by_system_time(is_system_time)
            .over(&backend, mangler.is_some());
        let short_way = if is_shared || invalidation.is_remote() {
            short_way
        } else {
            short_way.by_moments(&invalidation, &shared.moments)
        };
        let streak = backend.claims_as_it_looks().then(Streak::default);
        Ok(Self {
            short_way,
            #[cfg(feature = "serialized")]
            serialized: backend.bare(),
            shared,
            backend,
            mutex,
            objects,
            mangler,
            key_generator,
            codec,
            clock,
            invalidation_is_remote: invalidation.is_remote(),
            is_shared,
            invalidation,
            runner,
            defaults,
            retention,
            owed: Owed::default(),
            unseen: Unseen::default(),
            kept: Kept::new(keep_when_down),
            streak,
            #[cfg(feature = "near")]
            near,
        })
    }

    /// The same configuration with the backend replaced.
    pub(crate) fn with_backend(&self, backend: AnyBackend) -> Self {
        #[cfg(feature = "near")]
        let near = self.near.as_ref();
        #[cfg(feature = "near")]
        let near = near.map(|near| near.around(backend.clone()));
        #[cfg(feature = "near")]
        let backend = near.as_ref().map_or(backend, Tier::backend);
        let streak = backend.claims_as_it_looks().then(Streak::default);
        Self {
            short_way: self.short_way.clone().over(&backend, self.mangler.is_some()),
            #[cfg(feature = "serialized")]
            serialized: backend.bare(),
            shared: self.shared.clone(),
            mutex: backend.mutex(),
            objects: backend.keeps_objects(),
            backend,
            mangler: self.mangler.clone(),
            key_generator: self.key_generator,
            codec: Codec(self.codec.0.clone()),
            clock: self.clock.clone(),
            invalidation: self.invalidation.clone(),
            invalidation_is_remote: self.invalidation_is_remote,
            is_shared: self.is_shared,
            runner: self.runner.clone(),
            defaults: self.defaults.clone(),
            retention: self.retention,
            owed: Owed::default(),
            unseen: Unseen::default(),
            kept: Kept::new(self.kept.time()),
            streak,
            #[cfg(feature = "near")]
            near,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.shared.name
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    /// Does an invalidation reach this process alone, although others share the backend?
    pub(crate) fn invalidates_alone(&self) -> bool {
        self.is_shared && !self.invalidation_is_remote
    }

    /// Are values and invalidations this process's own? Then their order needs no clock.
    #[inline]
    pub(super) fn keeps_order(&self) -> bool {
        !self.is_shared && !self.invalidation_is_remote
    }

    /// Must the invalidation's moments be looked at again before a read?
    #[inline]
    pub(crate) fn invalidation_is_due(&self) -> bool {
        self.invalidation_is_remote && self.invalidation.is_due(self.clock.coarse_now())
    }

    /// Looks at the invalidation's moments again if that is due. Returns false where it
    /// fails: then what is known stays in force, unless a [second look](Self::judged) tells
    /// more.
    pub(crate) async fn refresh_invalidation(&self) -> bool {
        if !self.invalidation_is_remote {
            return true;
        }
        let looked = self.invalidation.refresh(self.clock.coarse_now()).await;
        match &looked {
            Ok(()) => self.unseen.end(),
            Err(error) => self.note_degraded("refresh_invalidation", error),
        }
        looked.is_ok()
    }

    /// Returns what was read. Whoever could not look at the moments before, but could read, looks
    /// again: the connection was only lost for a moment. Where it stays lost, what is known of
    /// the moments is gone by.
    pub(crate) async fn judged<R>(
        &self,
        looked: bool,
        read: Result<R, BackendError>,
    ) -> Result<R, BackendError> {
        if !looked && read.is_ok() {
            while !self.refresh_invalidation().await {
                let Some(pause) = self.unseen.pause() else { break };
                pause.await;
            }
        }
        read
    }

    /// The key that `key` is stored under.
    #[inline]
    pub(crate) fn stored_key<'k>(&self, key: &'k str) -> Cow<'k, str> {
        match &self.mangler {
            None => Cow::Borrowed(key),
            Some(mangler) => mangler.mangle(key),
        }
    }

    /// The `T` in an entry.
    #[inline]
    pub(crate) fn decode_entry<K, T: Cacheable<K>>(&self, entry: &Entry) -> Result<T, Undecodable> {
        match &entry.payload {
            Payload::Object(object) => match object.downcast_ref::<T>() {
                Some(value) => Ok(value.clone()),
                None => Err(Undecodable::WrongType { stored: object.type_name() }),
            },
            Payload::Bytes(bytes) => {
                let encoded = self.encoded(entry, bytes)?;
                let decoded = T::decode(&self.codec, encoded);
                decoded.map_err(|error| Undecodable::Unreadable(error.to_string()))
            }
            Payload::Unreadable(why) => Err(Undecodable::Unreadable(why.to_string())),
        }
    }

    /// Returns the value in an entry, for a call about `values`.
    fn open(&self, entry: &Entry, values: &dyn Values) -> Result<Object, Undecodable> {
        match &entry.payload {
            Payload::Object(object) if values.has(object) => Ok(object.clone()),
            Payload::Object(object) => Err(Undecodable::WrongType { stored: object.type_name() }),
            Payload::Bytes(bytes) => {
                let encoded = self.encoded(entry, bytes)?;
                let decoded = values.decode(&self.codec, encoded);
                decoded.map_err(|error| Undecodable::Unreadable(error.to_string()))
            }
            Payload::Unreadable(why) => Err(Undecodable::Unreadable(why.to_string())),
        }
    }

    /// Returns the bytes of an entry for its codec, if nothing is left to be done before that.
    #[cfg_attr(
        not(feature = "serialized"),
        expect(clippy::unnecessary_wraps, reason = "objects are left as they are")
    )]
    fn encoded<'e>(&self, entry: &Entry, bytes: &'e Bytes) -> Result<Encoding<'e>, Undecodable> {
        self.stats().add(Count::BytesRead, bytes.len() as u64);
        #[cfg(feature = "serialized")]
        if let Some(what) = entry.metadata.left_undone() {
            let why = format!("it is {what}, and the region has no proxy for that");
            return Err(Undecodable::Unreadable(why));
        }
        Ok(Encoding { bytes, whole: Some(bytes), shape: entry.metadata.shape })
    }

    /// The entry to store for `value`, by a call with all of these options.
    pub(crate) fn encode_entry<K, T: Cacheable<K>>(
        &self,
        value: &T,
        ct: Timestamp,
        options: &Options,
    ) -> Result<Entry, CodecError> {
        let lifetime = options.lifetime_of(value);
        if self.objects {
            let mut entry = Entry::object(value.clone(), ct);
            entry.metadata = entry.metadata.with_lifetime(lifetime);
            return Ok(entry);
        }
        Ok(self.entry_of(value.encode(&self.codec)?, ct, lifetime, options))
    }

    /// Returns the entry to store for a created value.
    pub(crate) fn entry_for_created(
        &self,
        created: &Timestamped,
        values: &dyn Values,
        options: &Options,
    ) -> Result<Entry, CodecError> {
        let Timestamped { value, ct } = created;
        let lifetime = values.lifetime(value, options);
        if self.objects {
            let mut entry = Entry::sharing(value.clone(), *ct);
            entry.metadata = entry.metadata.with_lifetime(lifetime);
            return Ok(entry);
        }
        Ok(self.entry_of(values.encode(value, &self.codec)?, *ct, lifetime, options))
    }

    fn entry_of(
        &self,
        encoded: EncodedValue,
        ct: Timestamp,
        lifetime: Option<Duration>,
        options: &Options,
    ) -> Entry {
        let EncodedValue { bytes, shape } = encoded;
        self.stats().add(Count::BytesWritten, bytes.len() as u64);
        let mut entry = Entry::bytes(bytes, ct);
        entry.metadata.shape = shape;
        let retention = self.retention.of(options, lifetime);
        entry.metadata = entry.metadata.with_lifetime(lifetime).with_retention(retention);
        entry
    }

    /// Returns the metadata of a value that is stored again as it is, for a call with all of these
    /// options: a store keeps it for what is left of its time.
    pub(crate) fn kept_for_the_rest(&self, metadata: Metadata, options: &Options) -> Metadata {
        let age = super::lookup::age(self.clock.now(), metadata.ct);
        let retention = self.retention.of(options, metadata.lifetime());
        let left = retention.map(|time| time.saturating_sub(age));
        metadata.with_retention(left)
    }

    /// Somebody of this process changes what is stored under `key`: creations that are going on are
    /// older than that, and one that failed was of another value.
    pub(crate) fn note_change(&self, key: &str) {
        self.shared.keys.note_change(key);
        self.shared.failed.forget(key);
        self.forget_kept(key);
    }

    /// The store has answered for `key`. Returns what is to be used instead, see
    /// [`Kept::instead_of`].
    #[inline]
    pub(crate) fn kept_instead_of(&self, key: &str, found: Option<&Entry>) -> Option<Entry> {
        if self.kept.are_any() { self.kept_newer_than(key, found) } else { None }
    }

    #[cold]
    fn kept_newer_than(&self, key: &str, found: Option<&Entry>) -> Option<Entry> {
        let begun = found.map(|entry| self.as_of(&entry.metadata));
        self.kept.instead_of(key, begun, self.clock.coarse_now())
    }

    /// The key was changed: what is kept for it is out of date.
    #[inline]
    pub(crate) fn forget_kept(&self, key: &str) {
        if self.kept.are_any() {
            self.kept.forget(key, self.clock.coarse_now());
        }
    }

    /// The stamp of what is created, or invalidated, now.
    pub(crate) fn stamp(&self) -> Stamp {
        self.in_order(self.shared.timeline.stamp(self.now_after_invalidation()))
    }

    /// A moment between what has happened to the region and what is to come.
    pub(crate) fn moment(&self) -> Stamp {
        self.in_order(self.shared.timeline.moment(self.now_after_invalidation()))
    }

    /// Other processes know nothing of the order of this one's events but the clock.
    fn in_order(&self, stamp: Stamp) -> Stamp {
        if self.keeps_order() { stamp } else { Stamp::at(stamp.ct) }
    }

    /// Now, and later than the last known invalidation by a tick at least: its moment may come from a
    /// clock that is ahead of this one, or this one may have been set back since.
    fn now_after_invalidation(&self) -> Stamp {
        let now = self.clock.now();
        let Some(at) = self.invalidation.latest().filter(|at| *at + TICK >= now) else {
            return Stamp::at(now);
        };
        if at <= now + CLOCK_SKEW.as_secs_f64() {
            return Stamp::at(at + TICK);
        }
        // The clock was set back: what is created from now on is valid.
        if self.keeps_order() {
            return Stamp { ct: now, order: at + TICK };
        }
        self.invalidation.retract(now);
        Stamp::at(now + TICK)
    }

    /// Judges and opens what was found under `key` on the slow path, with log
    /// lines and counts. The value comes along even where it
    /// counts for nothing, if it is readable.
    pub(crate) fn examine(
        &self,
        key: &str,
        entry: Option<&Entry>,
        options: &Options,
        values: &dyn Values,
    ) -> (Freshness, Option<Timestamped>) {
        let region = self.name();
        let Some(entry) = entry else {
            log::no_value(region, key);
            return (Freshness::Missing, None);
        };
        let Entry { metadata, payload } = entry;
        if metadata.v != VERSION && !matches!(payload, Payload::Unreadable(_)) {
            log::version_changed(region, key, metadata.v);
            self.stats().count(Count::Unreadable);
            return (Freshness::Missing, None);
        }
        let found = self.freshness(key, metadata, options, self.clock.coarse_now());
        if found == Freshness::Missing && self.verdict(metadata) == Some(Mode::Hard) {
            log::hard_invalidated(region, key);
        }
        match self.open(entry, values) {
            Ok(value) => (found, Some(Timestamped { value, ct: metadata.ct })),
            Err(why) => {
                self.note_undecodable(key, &why, values.type_name());
                (Freshness::Missing, None)
            }
        }
    }

    /// Logs and counts a stored value that is not of the type `asked`.
    pub(crate) fn note_undecodable(&self, key: &str, why: &Undecodable, asked: &'static str) {
        self.stats().count(Count::Unreadable);
        match why {
            Undecodable::WrongType { .. } => {
                if let Some(error) = self.wrong_type(key, why, asked) {
                    log::unreadable(self.name(), key, &error);
                }
            }
            Undecodable::Unreadable(why) => log::unreadable(self.name(), key, why),
        }
    }

    /// The error for a value of another type.
    pub(crate) fn wrong_type(
        &self,
        key: &str,
        why: &Undecodable,
        asked: &'static str,
    ) -> Option<Error> {
        let Undecodable::WrongType { stored } = why else { return None };
        let types = Types { region: self.name().to_owned(), key: shown(key), stored, asked };
        Some(Error::WrongType(types.into()))
    }

    /// Counts a failure of the backend and makes it an error of the region.
    pub(crate) fn failed(&self, operation: &'static str, source: BackendError) -> Error {
        self.note_refusal(&source);
        self.stats().count(Count::BackendErrors);
        Error::Backend(Operation { region: self.name().to_owned(), operation, source }.into())
    }

    /// Counts and logs a creation, or one that failed.
    pub(crate) fn note_creation(&self, keys: &[&str], made: Result<Duration, &str>) {
        let took = match made {
            Ok(took) => took,
            Err(why) => {
                log::creator_failed(self.name(), keys, why);
                return self.stats().count(Count::CreatorFailures);
            }
        };
        self.stats().add(Count::Creations, keys.len() as u64);
        self.stats().creation_took(took);
        log::generated(self.name(), keys, took);
    }

    fn note_refusal(&self, error: &BackendError) {
        if error.refuses_changes() {
            self.kept.note_changes(true);
        }
    }

    /// Counts and logs a failure of the backend that is survived.
    pub(crate) fn note_degraded(&self, operation: &'static str, error: &BackendError) {
        self.note_refusal(error);
        self.stats().count(Count::BackendErrors);
        let first = self.shared.failures.is_first_of_series(self.clock.coarse_now());
        log::backend_failed(self.name(), operation, error, first);
    }
}
