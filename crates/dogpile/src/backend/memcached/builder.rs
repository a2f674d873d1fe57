//! The options of a [`Memcached`] backend, and their bounds.

use std::time::Duration;

use super::connect::Target;
use super::placement::Placement;
use super::protocol::Protocol;
use super::{Memcached, Shared, url};
use crate::backend::BackendError;
use crate::process::Rebuilt;
use crate::remote::link::Limits;
use crate::remote::prefix::KeyPrefix;
use crate::remote::server_options;
use crate::remote::terms::{self, Terms};
use crate::remote::tls::{self, Tls};

/// A builder of [`Memcached`] backends.
#[derive(Debug)]
#[must_use = "nothing is made before `open`"]
pub struct MemcachedBuilder {
    target: Target,
    certificates: Option<Tls>,
    options: Options,
}

impl MemcachedBuilder {
    /// For the servers of `target`, with the key prefix that their URL asks for.
    pub(super) fn new(target: Target, key_prefix: KeyPrefix) -> Self {
        let options = Options { key_prefix, ..Options::default() };
        Self { target, certificates: None, options }
    }

    server_options!();

    /// One more server: `host`, `host:port` or the path of a socket.
    pub fn server(mut self, place: &str) -> Result<Self, BackendError> {
        self.target.addresses.push(url::address(place)?);
        Ok(self)
    }

    /// The user to log in as: by SASL in the binary protocol, by the server's
    /// `--auth-file` in the other.
    pub fn username(mut self, username: &str) -> Self {
        self.target.username = Some(username.to_owned());
        self
    }

    /// The password to log in with.
    pub fn password(mut self, password: &str) -> Self {
        self.target.password = Some(password.to_owned());
        self
    }

    /// Speaks the binary protocol: for SASL, and for servers before 1.6.
    pub fn binary_protocol(mut self) -> Self {
        self.target.protocol = Protocol::Binary;
        self
    }

    /// Switches TLS on, as `memcacheds://` does.
    pub fn tls(mut self) -> Self {
        self.target.tls.get_or_insert_default();
        self
    }

    /// Sets the distribution of keys over several servers;
    /// [rendezvous](Placement::Rendezvous) by default.
    pub fn placement(mut self, placement: Placement) -> Self {
        self.options.placement = placement;
        self
    }

    /// Sets the number of connections to each server; 1 by default, which serves
    /// many calls at a time.
    pub fn connections(mut self, number: usize) -> Self {
        self.options.connections = number;
        self
    }

    /// Has the servers drop values this long after they were stored, to the
    /// second. It should be longer than any expiration time, or stale values
    /// cannot be served. Without it, which is the default, they stay until their
    /// room is needed, as do the moments of shared invalidations in any case. (Times above thirty days, which the server would take for
    /// moments, are passed on as the moments that they end at.)
    pub fn retention(mut self, time: Duration) -> Self {
        self.options.retention = Some(time);
        self
    }

    /// Compresses values of at least so many bytes by zlib, as the Python clients
    /// do. Without it, which is the default, none are; compressed ones are read
    /// in any case.
    pub fn min_compress_bytes(mut self, bytes: usize) -> Self {
        self.options.min_compress = Some(bytes);
        self
    }

    /// Sets the bytes that an item may have, its key and some 60 bytes of the server's
    /// included; 1 MiB by default, which is the servers' `--max-item-size`.
    ///
    /// A larger value is refused here, with an error, and what was stored stays.
    /// (A server that is sent one refuses it too, but drops what was stored.)
    pub fn max_item_bytes(mut self, bytes: usize) -> Self {
        self.options.largest_item = bytes;
        self
    }

    /// The longest pause between two looks at a lock that is waited for; 40 ms by
    /// default.
    pub fn longest_poll(mut self, pause: Duration) -> Self {
        self.options.longest_poll = pause;
        self
    }

    /// The longest pause between two attempts to connect to a server that is
    /// down; a second by default.
    pub fn dead_retry(mut self, pause: Duration) -> Self {
        self.options.limits.retry = pause;
        self
    }

    /// Makes the backend; nothing is connected yet.
    ///
    /// # Errors
    ///
    /// If a prefix or a time is out of its bounds, if certificates are given
    /// without TLS, or if TLS is asked for without the feature `tls`.
    pub fn open(self) -> Result<Memcached, BackendError> {
        let Self { mut target, certificates, mut options } = self;
        let how = "write `memcacheds` in place of `memcached` in its URL, or call `tls`";
        target.tls = tls::settle(target.tls, certificates, how)?;
        terms::check(&options.lock_prefix, options.terms, options.limits)?;
        options.key_prefix.check()?;
        options.lock_prefix.insert_str(0, options.key_prefix.as_str());
        Ok(Memcached(Rebuilt::new(move || Shared::new(target.clone(), options.clone()))))
    }
}

#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) retention: Option<Duration>,
    pub(super) min_compress: Option<usize>,
    pub(super) largest_item: usize,
    pub(super) placement: Placement,
    pub(super) connections: usize,
    pub(super) locks: bool,
    pub(super) key_prefix: KeyPrefix,
    /// With the key prefix before it, once the backend is open.
    pub(super) lock_prefix: String,
    pub(super) terms: Terms,
    pub(super) longest_poll: Duration,
    pub(super) limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retention: None,
            min_compress: None,
            largest_item: 1 << 20,
            placement: Placement::default(),
            connections: 1,
            locks: true,
            key_prefix: KeyPrefix::default(),
            lock_prefix: "_lock".to_owned(),
            terms: Terms::default(),
            longest_poll: Duration::from_millis(40),
            limits: Limits::default(),
        }
    }
}
