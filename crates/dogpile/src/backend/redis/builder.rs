//! The options of a [`Redis`] backend, and their bounds.

use std::time::Duration;

use super::connect::{Endpoint, Target};
use super::{Redis, Shared};
use crate::backend::BackendError;
use crate::process::Rebuilt;
use crate::remote::link::Limits;
use crate::remote::prefix::KeyPrefix;
use crate::remote::server_options;
use crate::remote::terms::{self, Terms};
use crate::remote::tls::{self, Tls};

/// A builder of [`Redis`] backends.
#[derive(Debug)]
#[must_use = "nothing is made before `open`"]
pub struct RedisBuilder {
    target: Target,
    certificates: Option<Tls>,
    options: Options,
}

impl RedisBuilder {
    /// For the servers of `target`, with the key prefix that their URL asks for.
    pub(super) fn new(target: Target, key_prefix: KeyPrefix) -> Self {
        let options = Options { key_prefix, ..Options::default() };
        Self { target, certificates: None, options }
    }

    server_options!();

    /// The user to log in as (Redis 6 and later).
    pub fn username(mut self, username: &str) -> Self {
        self.target.credentials.username = Some(username.to_owned());
        self
    }

    /// The password to log in with.
    pub fn password(mut self, password: &str) -> Self {
        self.target.credentials.password = Some(password.to_owned());
        self
    }

    /// The user and password of the sentinels, where they have their own.
    pub fn sentinel_credentials(mut self, username: Option<&str>, password: &str) -> Self {
        if let Endpoint::Sentinel { sentinels, .. } = &mut self.target.endpoint {
            sentinels.username = username.map(str::to_owned);
            sentinels.password = Some(password.to_owned());
        }
        self
    }

    /// The number of the database.
    pub fn db(mut self, db: i64) -> Self {
        self.target.db = db;
        self
    }

    /// Has the server drop values this long after they were stored. It should
    /// be longer than any expiration time, or stale values cannot be served. The moments
    /// of shared invalidations stay.
    /// Without it, which is the default, that is up to the region: see
    /// [`Config::retention`](crate::Config::retention).
    pub fn retention(mut self, time: Duration) -> Self {
        self.options.retention = Some(time);
        self
    }

    /// The longest pause between two looks where waiting is polling; 100 ms by
    /// default.
    pub fn longest_poll(mut self, pause: Duration) -> Self {
        self.options.longest_poll = pause;
        self
    }

    /// The [wait timeout](crate::Config::wait_timeout) of regions that set none.
    /// It is for Python's `lock_blocking_timeout`.
    pub fn wait_timeout(mut self, limit: Duration) -> Self {
        self.options.wait_timeout = Some(limit);
        self
    }

    /// Reads values from replicas, which may be a little behind. For sentinels
    /// and clusters. Locks and collections are read from masters all the same.
    pub fn read_from_replicas(mut self, yes: bool) -> Self {
        self.options.read_from_replicas = yes;
        self
    }

    #[cfg(feature = "config")]
    pub(super) const fn has_tls(&self) -> bool {
        self.target.tls.is_some()
    }

    /// Makes the backend; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// If a prefix or a time is out of its bounds, if certificates are given
    /// for an address without TLS, or if TLS is asked for without the feature `tls`.
    pub fn open(self) -> Result<Redis, BackendError> {
        let Self { mut target, certificates, mut options } = self;
        terms::check(&options.lock_prefix, options.terms, options.limits)?;
        options.key_prefix.check()?;
        options.lock_prefix.insert_str(0, options.key_prefix.as_str());
        let how = "write `rediss` in place of `redis` in its URL";
        target.tls = tls::settle(target.tls, certificates, how)?;
        Ok(Redis(Rebuilt::new(move || Shared::new(target.clone(), options.clone()))))
    }
}

#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) retention: Option<Duration>,
    pub(super) locks: bool,
    pub(super) key_prefix: KeyPrefix,
    /// With the key prefix before it, once the backend is open.
    pub(super) lock_prefix: String,
    pub(super) terms: Terms,
    pub(super) longest_poll: Duration,
    pub(super) wait_timeout: Option<Duration>,
    pub(super) read_from_replicas: bool,
    pub(super) limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retention: None,
            locks: true,
            key_prefix: KeyPrefix::default(),
            lock_prefix: "_lock".to_owned(),
            terms: Terms::default(),
            longest_poll: Duration::from_millis(100),
            wait_timeout: None,
            read_from_replicas: false,
            limits: Limits::default(),
        }
    }
}
