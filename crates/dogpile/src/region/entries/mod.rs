//! Several keys of a region and the options of a call on them.
//!
//! - `create`: their creating calls, here or in the background;
//! - `update`: those whose creators are given the values of before;
//! - `stored`: reading, storing and deleting.

mod create;
mod stored;
mod update;

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::Region;
use super::early::Early;
use super::entry_options::EntryOptions;
use super::kind::{AnyValue, Kind, Serialized};
use super::lookup::{Plain, Sharing};
use super::options::{
    Always, Expiration, Options, call_options, lifetime_option, serialized_options,
};
use crate::lock::OnWaitTimeout;

/// Keys of a region, and how this call treats them. Made by
/// [`Region::entries`](crate::Region::entries).
///
/// Results come in the order of the keys, duplicates included; no key at all
/// is no call of anything.
#[must_use = "entries do nothing until one of their operations is called"]
pub struct Entries<'r, K = Serialized, C = Always, V = AnyValue, S = Plain> {
    pub(super) region: &'r Region<K>,
    pub(super) keys: Vec<String>,
    pub(super) options: Options,
    pub(super) should_cache: C,
    pub(super) strict: bool,
    types: PhantomData<fn() -> (V, S)>,
}

impl<'r, K: Kind, V> Entries<'r, K, Always, V> {
    pub(super) fn new(region: &'r Region<K>, keys: Vec<String>) -> Self {
        let options = Options::default();
        Self { region, keys, options, should_cache: Always, strict: false, types: PhantomData }
    }
}

impl<C, V, S> Entries<'_, Serialized, C, V, S> {
    serialized_options!(options);
}

impl<'r, K: Kind, C, V, S> Entries<'r, K, C, V, S> {
    call_options!(options);
    lifetime_option!(options);

    /// Sets all options that `options` has. What was set before stays where it has none.
    pub fn options(mut self, options: &EntryOptions) -> Self {
        let before = std::mem::take(&mut self.options);
        self.options = options.of_call().or(&before);
        self
    }

    /// Stores of the created values those that `should_cache` accepts; the
    /// caller gets all.
    #[doc(alias = "should_cache_fn")]
    pub fn should_cache<F>(self, should_cache: F) -> Entries<'r, K, F, V, S> {
        let Self { region, keys, options, strict, .. } = self;
        Entries { region, keys, options, should_cache, strict, types: PhantomData }
    }

    /// Gives those who wait for a creator that fails a copy of its error. See
    /// [`Entry::share_failures`](crate::Entry::share_failures).
    pub fn share_failures(self) -> Entries<'r, K, C, V, Sharing<Plain>> {
        let Self { region, keys, options, should_cache, strict, .. } = self;
        Entries { region, keys, options, should_cache, strict, types: PhantomData }
    }

    /// [Shares failures](Self::share_failures), also with those who come within `time`, without
    /// another attempt. See [`Config::remember_failures`](crate::Config::remember_failures).
    #[doc(alias("negative_ttl", "cache_errors"))]
    pub fn remember_failures(mut self, time: Duration) -> Entries<'r, K, C, V, Sharing<Plain>> {
        self.options.remember_failures = Some(time);
        self.share_failures()
    }

    /// Returns backend errors, where the creator would run otherwise.
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }
}

impl<K, C, V, S> fmt::Debug for Entries<'_, K, C, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries")
            .field("region", &self.region)
            .field("keys", &self.keys.len())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
