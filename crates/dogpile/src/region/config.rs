//! The configuration of a region.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::background::{DefaultRunner, Runner};
use super::choices::{InvalidationChoice, ManglerChoice};
use super::early::Early;
use super::kept::Kept;
use super::kind::{Codec as KindCodec, Holds, Kind, Serialized};
use super::options::{Expiration, Lifetime, Options, Retention, share_of_expiration};
use crate::backend::{AnyBackend, Backend};
use crate::clock::Clock;
use crate::codec::{Codec, RegionCodec};
use crate::invalidation::Invalidation;
use crate::key::{self, KeyGenerator, Mangler};
use crate::lock::OnWaitTimeout;
#[cfg(feature = "near")]
use crate::near::Near;
use crate::proxy::Layer;

/// A backend and the settings of the region over it, for
/// [`Region::configure`](crate::Region::configure).
///
/// ```
/// use std::time::Duration;
/// use dogpile::{Config, Region, backend::Memory, key, proxy::KeyPrefix};
///
/// static USERS: Region = Region::new("users");
///
/// USERS.configure(
///     Config::new(Memory::new(10_000))
///         .expiration(Duration::from_secs(300))
///         .proxy(KeyPrefix::new("shop:")),
/// )?;
/// # Ok::<(), dogpile::Error>(())
/// ```
#[must_use = "a configuration does nothing until it is given to Region::configure"]
pub struct Config<K = Serialized> {
    pub(crate) backend: AnyBackend,
    pub(crate) codec: KindCodec,
    pub(crate) mangler: ManglerChoice,
    /// Do stored keys begin with the region's name where processes share the backend?
    pub(crate) has_prefix: bool,
    pub(crate) version: Option<String>,
    pub(crate) key_generator: KeyGenerator,
    /// The system's, or a test's, unless there is one.
    pub(crate) clock: Option<Arc<dyn Clock>>,
    pub(crate) invalidation: InvalidationChoice,
    pub(crate) runner: Arc<dyn Runner>,
    pub(crate) defaults: Options,
    pub(crate) retention: Retention,
    pub(crate) keep_when_down: Duration,
    #[cfg(feature = "near")]
    pub(crate) near: Option<Near>,
    pub(crate) replace_existing: bool,
    kind: PhantomData<fn() -> K>,
}

impl<K: Kind> Config<K> {
    /// A configuration over `backend`, with defaults for everything else:
    /// values never expire, JSON where bytes are kept, the backend's
    /// recommended key mangler, invalidation that reaches as far as the backend.
    pub fn new<B>(backend: B) -> Self
    where
        B: Backend,
        B::Keeps: Holds<K>,
    {
        Self::over(AnyBackend::new(backend))
    }

    /// A configuration over a backend whose type was erased. Whether it fits
    /// the kind of region is checked by
    /// [`configure`](crate::Region::configure).
    pub fn over(backend: AnyBackend) -> Self {
        Self {
            backend,
            codec: KindCodec(RegionCodec::usual()),
            mangler: ManglerChoice::Recommended,
            has_prefix: true,
            version: None,
            key_generator: key::escaped,
            clock: None,
            invalidation: InvalidationChoice::Usual,
            runner: Arc::new(DefaultRunner),
            defaults: Options::default(),
            retention: Retention::default(),
            keep_when_down: Kept::USUAL_TIME,
            #[cfg(feature = "near")]
            near: None,
            replace_existing: false,
            kind: PhantomData,
        }
    }

    /// Sets the expiration (TTL) of values: a `Duration`, or an [`Expiration`].
    #[doc(alias("expiration_time", "time_to_live", "ttl"))]
    pub fn expiration(mut self, expiration: impl Into<Expiration>) -> Self {
        self.defaults.expiration = Some(expiration.into());
        self
    }

    /// Sets the time for which an expired value may still be served while one caller creates
    /// it again; one that is older counts as missing. Without a limit, which is
    /// the default, any stale value is better than waiting, however old it is: a key that was
    /// asked for last week answers once with last week's value. Set a limit where that must
    /// not be. (Servers drop a value some time after its expiration:
    /// [`retention`](Self::retention).)
    pub fn stale_while_revalidate(mut self, limit: Duration) -> Self {
        self.defaults.stale_while_revalidate = Some(limit);
        self
    }

    /// Sets what keeps callers from feeling that a source fails or is slow. What is set after this
    /// holds instead of it.
    ///
    /// | option | |
    /// |---|---|
    /// | [`stale_while_revalidate`](Self::stale_while_revalidate) | 1 minute |
    /// | [`stale_if_error`](Self::stale_if_error) | 1 hour |
    /// | [`retry_after`](Self::retry_after) | 10 seconds |
    /// | [`soft_timeout`](Self::soft_timeout) | 100 milliseconds |
    /// | [`creation_timeout`](Self::creation_timeout) | 30 seconds |
    /// | [`early`](Self::early) | adaptive |
    /// | [`jitter`](Self::jitter) | 0.1 |
    ///
    /// It needs an expiration to be of use. Its set may grow in a later version.
    ///
    /// ```
    /// use std::time::Duration;
    /// use dogpile::{Config, Region, backend::Memory};
    ///
    /// static RATES: Region = Region::new("rates");
    /// let config = Config::new(Memory::new(100)).expiration(Duration::from_secs(60));
    /// RATES.configure(config.resilient())?;
    /// # Ok::<(), dogpile::Error>(())
    /// ```
    pub fn resilient(mut self) -> Self {
        self.defaults.make_resilient();
        self
    }

    /// Sets the time for which an expired value stands in for a creation that fails. By default
    /// none does: the caller gets the creator's error.
    ///
    /// The caller whose creator has failed gets the value of before
    /// ([`Status::StaleOnError`](crate::Status::StaleOnError)). So do all others, in every process,
    /// until [`retry_after`](Self::retry_after) has passed: nobody tries again before. The error is
    /// logged and counted. Where [`stale_while_revalidate`](Self::stale_while_revalidate) is shorter,
    /// callers wait for the new value after that, and get the stale one only if there is none.
    ///
    /// ```
    /// use std::time::Duration;
    /// use dogpile::{Config, Region, Status, backend::Memory};
    ///
    /// # pollster::block_on(async {
    /// let rates = Region::new("rates");
    /// rates.configure(Config::new(Memory::new(100)).stale_if_error(Duration::from_secs(3_600)))?;
    /// rates.set("EUR", &1.08).await?;
    /// rates.expire("EUR").await?;
    /// let rate = rates.entry("EUR").try_lookup(async || Err::<f64, _>("the bank is closed")).await;
    /// assert_eq!(rate.map(|rate| (rate.value, rate.status)), Ok((1.08, Status::StaleOnError)));
    /// # Ok::<(), dogpile::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn stale_if_error(mut self, limit: Duration) -> Self {
        self.defaults.stale_if_error = Some(limit);
        self
    }

    /// Sets the time without another attempt after a creation has failed and a stale value
    /// [stands in for it](Self::stale_if_error). 10 seconds by default.
    pub fn retry_after(mut self, time: Duration) -> Self {
        self.defaults.retry_after = Some(time);
        self
    }

    /// Sets the lifetime of each value of the type `T` by its content: the time after its creation for
    /// which it is fresh, in place of the expiration. `None` leaves it to that, and so are values of
    /// other types. It is stored with the value, to seven digits.
    ///
    /// ```
    /// use std::time::Duration;
    /// use dogpile::{Config, Region, backend::Memory};
    ///
    /// #[derive(Clone, serde::Serialize, serde::Deserialize)]
    /// struct Page {
    ///     body: String,
    ///     max_age: u64,
    /// }
    ///
    /// static PAGES: Region = Region::new("pages");
    /// let config = Config::new(Memory::new(100)).expiration(Duration::from_secs(60));
    /// PAGES.configure(config.lifetime(|page: &Page| Some(Duration::from_secs(page.max_age))))?;
    /// # Ok::<(), dogpile::Error>(())
    /// ```
    #[doc(alias("expire_after", "Expiry"))]
    pub fn lifetime<T: 'static>(
        mut self,
        lifetime: impl Fn(&T) -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        self.defaults.lifetime = Some(Lifetime::of(lifetime));
        self
    }

    /// Sets the moment from which a value is created again before it expires. By default that begins
    /// when it has expired.
    ///
    /// One caller creates; all others get the value that is there, which is fresh. If the
    /// creation fails, the value stays, and nobody tries again before
    /// [`retry_after`](Self::retry_after). A call
    /// [in the background](crate::Entry::get_or_create_in_background) gets the value as
    /// well, so that nobody waits; another one runs its own creator, and waits for that.
    ///
    /// ```
    /// use std::time::Duration;
    /// use dogpile::{Config, Early, Region, backend::Memory};
    ///
    /// static RATES: Region = Region::new("rates");
    /// let config = Config::new(Memory::new(100)).expiration(Duration::from_secs(60));
    /// RATES.configure(config.early(Early::adaptive()))?;
    /// # Ok::<(), dogpile::Error>(())
    /// ```
    #[doc(alias("refresh_after_write", "beta"))]
    pub fn early(mut self, early: Early) -> Self {
        self.defaults.early = Some(early);
        self
    }

    /// Sets the time for which a failure is remembered by this process: those who
    /// [share failures](crate::Entry::share_failures) get a copy of the error, without another
    /// attempt, or a stale value where there is one. By default the next caller tries again.
    ///
    /// ```
    /// use std::time::Duration;
    /// use dogpile::{Config, Region, backend::Memory};
    ///
    /// # pollster::block_on(async {
    /// let rates = Region::new("rates");
    /// let config = Config::new(Memory::new(100));
    /// rates.configure(config.remember_failures(Duration::from_secs(5)))?;
    /// let closed = async || Err("the bank is closed");
    /// let rate: Result<f64, _> = rates.entry("EUR").share_failures().try_get_or_create(closed).await;
    /// assert_eq!(rate, Err("the bank is closed"));
    /// let open = async || Ok::<_, &str>(1.08);
    /// let rate = rates.entry("EUR").share_failures().try_get_or_create(open).await;
    /// assert_eq!(rate, Err("the bank is closed"));
    /// # Ok::<(), dogpile::Error>(())
    /// # }).unwrap();
    /// ```
    #[doc(alias("negative_ttl", "cache_errors"))]
    pub fn remember_failures(mut self, time: Duration) -> Self {
        self.defaults.remember_failures = Some(time);
        self
    }

    /// Shortens the expiration of each value by a part of its own, up to `share` of it: values that
    /// were created together do not expire together. 0.1 is a tenth: of 60 seconds, each lives for 54
    /// to 60. None by default.
    ///
    /// The part follows from the key and the creation time, so all processes agree on it.
    ///
    /// # Panics
    ///
    /// If `share` is not between 0 and 1.
    pub fn jitter(mut self, share: f64) -> Self {
        self.defaults.jitter = Some(share_of_expiration(share));
        self
    }

    /// Sets the time after which callers get a stale value in place of one whose creation takes
    /// longer. The creation goes on and is stored.
    ///
    /// It is for creators that can be left behind: those of calls
    /// [in the background](crate::Entry::get_or_create_in_background), which without it get a stale
    /// value at once. With it they wait so long for the new one. The caller of another
    /// call waits for its own creator in any case; those who wait for it, since the value is older than
    /// [`stale_while_revalidate`](Self::stale_while_revalidate) allows, get the one that
    /// [`stale_if_error`](Self::stale_if_error) allows after this time.
    ///
    /// ```
    /// use std::time::Duration;
    /// use dogpile::{Config, Region, Status, backend::Memory};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> dogpile::Result<()> {
    /// let rates = Region::new("rates");
    /// rates.configure(Config::new(Memory::new(100)).soft_timeout(Duration::from_millis(50)))?;
    /// rates.set("EUR", &1.08).await?;
    /// rates.expire("EUR").await?;
    /// let slow = || async { std::future::pending::<f64>().await };
    /// let rate = rates.entry("EUR").get_or_create_in_background(slow).await;
    /// assert_eq!(rate, 1.08);
    /// # Ok(()) }
    /// ```
    pub fn soft_timeout(mut self, limit: Duration) -> Self {
        self.defaults.soft_timeout = Some(limit);
        self
    }

    /// Sets the time after which a creation is dropped, its key is free for others, and it counts as
    /// failed. By default a creation may take as long as it does, and ten minutes in the background.
    ///
    /// Its caller gets the stale value if [`stale_if_error`](Self::stale_if_error) allows that, else
    /// [`Error::CreationTimeout`](crate::Error::CreationTimeout) where the call returns errors of the
    /// cache: a [strict](crate::Entry::strict) one, or one for several keys. A plain call returns
    /// none: there the creator goes on for its caller alone, and what it creates is not stored.
    ///
    /// A future is dropped at its next `await`. A creator that blocks its thread, such as one of a
    /// blocking call, is not interrupted.
    ///
    /// ```
    /// use std::time::Duration;
    /// use dogpile::{Config, Region, Status, backend::Memory};
    ///
    /// # pollster::block_on(async {
    /// let rates = Region::new("rates");
    /// let config = Config::new(Memory::new(100)).stale_if_error(Duration::from_secs(3_600));
    /// rates.configure(config.creation_timeout(Duration::from_millis(20)))?;
    /// rates.set("EUR", &1.08).await?;
    /// rates.expire("EUR").await?;
    /// let hangs = async || std::future::pending::<f64>().await;
    /// let rate = rates.entry("EUR").lookup(hangs).await;
    /// assert_eq!((rate.value, rate.status), (1.08, Status::StaleOnError));
    /// # Ok::<(), dogpile::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn creation_timeout(mut self, limit: Duration) -> Self {
        self.defaults.creation_timeout = Some(limit);
        self
    }

    /// Sets the time that Redis and memcached keep values after they were stored; `None` is for ever.
    ///
    /// By default that is ten times its expiration and the longer of `stale_while_revalidate` and `stale_if_error`, and
    /// a day at least, so that keys that nobody asks for any more do not stay for ever, while
    /// stale values can still be served. What never expires, or has an expiration that is
    /// computed, is kept for ever. A `retention` of the backend comes before this.
    ///
    /// Other backends have bounds of their own.
    #[doc(alias("memcached_expire_time", "redis_expiration_time", "ttl"))]
    pub fn retention(mut self, retention: impl Into<Option<Duration>>) -> Self {
        self.retention = retention.into().map_or(Retention::Forever, Retention::After);
        self
    }

    /// Sets the time for which this process keeps what it has created while the backend did not
    /// answer. 10 seconds by default; zero is not at all.
    ///
    /// While a server is away, every call would run its creator: just when the source is all that
    /// is left. So what could not be stored is kept here, up to 10,000 values of a region, and
    /// calls that cannot read have it for so long: a key costs one creation in this time and
    /// process. As soon as the server has answered for a key, what is kept of it is forgotten. A change
    /// of a key in this process ends it as well; one in another process, which may reach the server
    /// while this one does not, does not: then a value is given that is older by this time at most.
    /// [Strict](crate::Entry::strict) calls return the error.
    pub fn keep_when_down(mut self, time: Duration) -> Self {
        self.keep_when_down = time;
        self
    }

    /// Sets a near tier: popular values are answered from this process's memory, and are never older
    /// than its [bound](Near::max_staleness). None by default.
    ///
    /// It lies above the proxies: they see no reads that it answers. Over a backend that keeps
    /// its values in memory it is refused.
    #[cfg(feature = "near")]
    #[doc(alias("l1", "two_level", "client_side_caching"))]
    pub fn near(mut self, near: Near) -> Self {
        self.near = Some(near);
        self
    }

    /// Puts `proxy` around the backend and the proxies added before.
    #[doc(alias = "wrap")]
    pub fn proxy(mut self, proxy: impl Layer) -> Self {
        self.backend = proxy.layer(self.backend);
        self
    }

    /// Mangles keys with `mangler`, instead of the backend's recommended
    /// one.
    pub fn key_mangler(mut self, mangler: Mangler) -> Self {
        self.mangler = ManglerChoice::Own(mangler);
        self
    }

    /// Leaves keys as they are, also where the backend recommends a mangler.
    pub fn no_key_mangler(mut self) -> Self {
        self.mangler = ManglerChoice::None;
        self
    }

    /// Leaves the region's name out of what is stored.
    ///
    /// Over a backend that processes share (a file, Redis, memcached), stored keys begin
    /// with the region's name and a colon, so that two regions over one server keep their
    /// values apart: the key `42` of the region `users` is stored as `users:42`. Without
    /// the name, regions over one backend share their keys. Python's dogpile.cache knows
    /// no such prefix: a region that shares values or locks with Python needs this.
    ///
    /// Keys that begin with `_invalidation`, as those of shared invalidations do, get a percent
    /// sign behind that word.
    pub fn shared_keys(mut self) -> Self {
        self.has_prefix = false;
        self
    }

    /// Sets the version of what the region holds: it is part of the stored keys (`v2:KEY` for
    /// `"2"`), before they are mangled, so that two versions have entries of their own.
    ///
    /// A value whose type has other fields than when it was stored is a miss, and is
    /// overwritten. While two releases with different types run side by side they overwrite
    /// each other's values at each turn; with another version they leave each other alone.
    /// Invalidations of the region reach all versions.
    ///
    /// ```
    /// use dogpile::{Config, Region, backend::Memory};
    ///
    /// let users = Region::new("users");
    /// users.configure(Config::new(Memory::new(10)).version("2"))?;
    /// assert_eq!(users.stored_key("user:42")?, "v2:user:42");
    /// # Ok::<(), dogpile::Error>(())
    /// ```
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// Sets the generator by which the keys of functions with the attribute [`cached`](crate::cached) are
    /// made that name no other way: [`key::escaped`] by default.
    #[doc(alias = "function_key_generator")]
    pub fn key_generator(mut self, generator: KeyGenerator) -> Self {
        self.key_generator = generator;
        self
    }

    /// Is the key generator another than the usual one?
    #[cfg(feature = "macros")]
    pub(crate) fn makes_own_keys(&self) -> bool {
        !std::ptr::fn_addr_eq(self.key_generator, key::escaped as KeyGenerator)
    }

    /// Sets the clock, for tests.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Keeps invalidation moments in `strategy`. Regions may share one.
    #[doc(alias = "region_invalidator")]
    pub fn invalidation(mut self, strategy: Arc<dyn Invalidation>) -> Self {
        self.invalidation = InvalidationChoice::Own(strategy);
        self
    }

    /// Keeps invalidation moments in this process, also over a backend that
    /// processes share: an invalidation reaches nobody else then.
    pub fn local_invalidation(mut self) -> Self {
        self.invalidation = InvalidationChoice::Local;
        self
    }

    /// Keeps invalidation moments in the backend, where every process looks at them
    /// again after `delay`, before every read if that is zero. Over a backend that
    /// processes share this is the default, with a delay of one second.
    #[cfg(feature = "serialized")]
    pub fn shared_invalidation(mut self, delay: Duration) -> Self {
        self.invalidation = InvalidationChoice::Shared(delay);
        self
    }

    /// Runs the creations of background calls; see [`Runner`].
    #[doc(alias = "async_creation_runner")]
    pub fn runner(mut self, runner: impl Runner) -> Self {
        self.runner = Arc::new(runner);
        self
    }

    /// Sets the time that a caller waits for another's creation. Without a limit, which
    /// is the default, as long as it takes.
    #[doc(alias = "lock_blocking_timeout")]
    pub fn wait_timeout(mut self, limit: Duration) -> Self {
        self.defaults.wait_timeout = Some(limit);
        self
    }

    /// Sets the action of a caller whose wait timeout has ended.
    pub fn on_wait_timeout(mut self, then: OnWaitTimeout) -> Self {
        self.defaults.on_wait_timeout = Some(then);
        self
    }

    /// Replaces the configuration of a region that has one. Values in the old
    /// backend stay there; creations that are going on end there. A region's first
    /// configuration, with its backend, stays in memory as long as the region does.
    #[doc(alias = "replace_existing_backend")]
    pub fn replace_existing(mut self) -> Self {
        self.replace_existing = true;
        self
    }
}

impl Config<Serialized> {
    /// Sets the lifetime of `None`, as creators of an `Option` return it: usually a short one, for
    /// what is not there now and may be soon. By default it is that of any value.
    ///
    /// ```
    /// use std::time::Duration;
    /// use dogpile::{Config, Region, backend::Memory};
    ///
    /// static USERS: Region = Region::new("users");
    /// let config = Config::new(Memory::new(100)).expiration(Duration::from_secs(3_600));
    /// USERS.configure(config.negative(Duration::from_secs(5)))?;
    /// # Ok::<(), dogpile::Error>(())
    /// ```
    #[doc(alias("negative_ttl", "cache_null"))]
    pub fn negative(mut self, lifetime: Duration) -> Self {
        self.defaults.negative = Some(lifetime);
        self
    }

    /// Serializes values with `codec` instead of JSON, where the backend
    /// keeps bytes.
    #[doc(alias("deserializer", "serializer"))]
    pub fn codec<C: Codec>(mut self, codec: C) -> Self {
        self.codec = KindCodec(RegionCodec::of(codec));
        self
    }
}

impl<K> fmt::Debug for Config<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Config");
        shown.field("backend", &self.backend).field("codec", &self.codec.0.name());
        #[cfg(feature = "near")]
        if let Some(near) = &self.near {
            shown.field("near", near);
        }
        shown.field("defaults", &self.defaults).finish_non_exhaustive()
    }
}
