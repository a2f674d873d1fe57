//! One key of a region and the options of a call on it.
//!
//! - `create`: its creating calls;
//! - `begin`: those in two halves;
//! - `background`: the same, and deletions, in the background;
//! - `update`: those whose creators are given the value of before;
//! - `stored`: reading, storing and deleting.

mod background;
mod begin;
mod create;
mod stored;
mod update;

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

pub use begin::{Begun, Creation};

use super::Region;
use super::early::Early;
use super::entry_options::EntryOptions;
use super::kind::{AnyValue, Kind, Serialized};
use super::lookup::{Plain, Shape, Sharing};
use super::options::{
    Always, Expiration, Options, call_options, lifetime_option, serialized_options,
};
use crate::lock::OnWaitTimeout;

/// A key of a region, and how this call treats it. Made by
/// [`Region::entry`](crate::Region::entry), for values of any type, and by
/// [`Keyspace::entry`](crate::Keyspace::entry), for those of its type. What is not set here is as
/// the region was configured.
///
/// ```
/// use std::time::Duration;
/// use dogpile::{Config, Region, backend::Memory};
///
/// # pollster::block_on(async {
/// let region = Region::new("prices");
/// region.configure(Config::new(Memory::new(100)).expiration(Duration::from_secs(60)))?;
///
/// let price: u64 = region
///     .entry("gold")
///     .expiration(Duration::from_secs(5))
///     .should_cache(|price: &u64| *price > 0)
///     .get_or_create(async || 4_062)
///     .await;
/// assert_eq!(price, 4_062);
/// # Ok::<(), dogpile::Error>(())
/// # }).unwrap();
/// ```
#[must_use = "an entry does nothing until one of its operations is called"]
pub struct Entry<'r, K = Serialized, S = Plain, C = Always, V = AnyValue> {
    pub(super) region: &'r Region<K>,
    pub(super) key: Cow<'r, str>,
    pub(super) options: Options,
    pub(super) should_cache: C,
    types: PhantomData<fn() -> (S, V)>,
}

impl<'r, K: Kind, V> Entry<'r, K, Plain, Always, V> {
    pub(super) fn new(region: &'r Region<K>, key: Cow<'r, str>) -> Self {
        let options = Options::default();
        Self { region, key, options, should_cache: Always, types: PhantomData }
    }
}

impl<S: Shape, C, V> Entry<'_, Serialized, S, C, V> {
    serialized_options!(options);
}

impl<'r, K: Kind, S: Shape, C, V> Entry<'r, K, S, C, V> {
    call_options!(options);
    lifetime_option!(options);

    /// Sets all options that `options` has. What was set before stays where it has none.
    pub fn options(mut self, options: &EntryOptions) -> Self {
        let before = std::mem::take(&mut self.options);
        self.options = options.of_call().or(&before);
        self
    }

    /// Stores a created value only if `should_cache` says so; the caller gets
    /// it in any case.
    #[doc(alias = "should_cache_fn")]
    pub fn should_cache<F>(self, should_cache: F) -> Entry<'r, K, S, F, V> {
        let Self { region, key, options, .. } = self;
        Entry { region, key, options, should_cache, types: PhantomData }
    }

    /// Gives those who wait in this process for a creator that fails a copy of its error.
    /// By default one of them tries next, so that a source that is down is asked as often as there
    /// are callers, one after the other.
    ///
    /// The error is `Clone`; others can be put into an `Arc`. Those get it who ask with this option
    /// and for the same type of error. A stale value comes before it, where
    /// [`stale_if_error`](Self::stale_if_error) allows that.
    ///
    /// ```
    /// use dogpile::{Config, Region, backend::Memory};
    ///
    /// # pollster::block_on(async {
    /// let rates = Region::new("rates");
    /// rates.configure(Config::new(Memory::new(100)))?;
    /// let closed = async || Err::<f64, _>("the bank is closed");
    /// let rate = rates.entry("EUR").share_failures().try_get_or_create(closed).await;
    /// assert_eq!(rate, Err("the bank is closed"));
    /// # Ok::<(), dogpile::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn share_failures(self) -> Entry<'r, K, Sharing<S>, C, V> {
        let Self { region, key, options, should_cache, .. } = self;
        Entry { region, key, options, should_cache, types: PhantomData }
    }

    /// [Shares failures](Self::share_failures), also with those who come within `time`, without
    /// another attempt. See [`Config::remember_failures`](crate::Config::remember_failures).
    #[doc(alias("negative_ttl", "cache_errors"))]
    pub fn remember_failures(mut self, time: Duration) -> Entry<'r, K, Sharing<S>, C, V> {
        self.options.remember_failures = Some(time);
        self.share_failures()
    }

    /// Returns backend errors, where a plain call would run the creator; see [`Shape`].
    pub fn strict(self) -> Entry<'r, K, S::WithErrors, C, V> {
        let Self { region, key, options, should_cache, .. } = self;
        Entry { region, key, options, should_cache, types: PhantomData }
    }
}

impl<K, S, C, V> fmt::Debug for Entry<'_, K, S, C, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("region", &self.region)
            .field("key", &crate::error::shown(&self.key))
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
