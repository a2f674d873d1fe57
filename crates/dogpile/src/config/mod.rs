//! Configuration from settings: flat string maps, TOML, the environment.
//!
//! ```
//! use dogpile::{Region, config::Settings};
//!
//! static USERS: Region = Region::new("users");
//!
//! let settings = Settings::from_iter([
//!     ("cache.users.backend", "memory"),
//!     ("cache.users.expiration_time", "5m"),
//!     ("cache.users.arguments.max_entries", "10000"),
//! ]);
//! USERS.configure(settings.with_prefix("cache.users.").config()?)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | name | value |
//! |---|---|
//! | `backend` | a registered name, with or without `dogpile.cache.` before it |
//! | `expiration_time` | a duration; `none` or `-1`: never |
//! | `arguments.*` | what the backend takes |
//! | `key_mangler` | `sha1`, `none`, or `prefix:TEXT` |
//! | `region_prefix` | `false` leaves the region's name out of stored keys, to share them with Python |
//! | `invalidation` | `shared` (the default over backends that processes share) or `local` |
//! | `invalidation_delay` | a duration after which shared invalidations reach every process |
//! | `codec` | `json`, `msgpack`, `pickle` |
//! | `version` | a text that is part of the stored keys; see [`Config::version`] |
//! | `wrap` | proxies by name, comma-separated, the last one outermost |
//! | `stale_while_revalidate` | a duration |
//! | `resilient` | `true` or `false` |
//! | `early` | `adaptive`, or a share of the expiration from 0 to 1; see [`Config::early`] |
//! | `jitter` | a number from 0 to 1 |
//! | `stale_if_error`, `retry_after`, `soft_timeout`, `creation_timeout`, `keep_when_down` | a duration |
//! | `near.max_entries` | the number of copies in a near tier, which there is with this setting only; see [`Config::near`] |
//! | `near.max_staleness`, `near.serve_when_down` | a duration |
//! | `near.broadcast` | `true` or `false` |
//! | `negative` | the lifetime of `None`: a duration |
//! | `remember_failures` | a duration, for calls that share failures |
//! | `retention` | how long Redis and memcached keep values: a duration, or `none` for ever; see [`Config::retention`] |
//! | `wait_timeout` | a duration |
//! | `on_wait_timeout` | what follows that: `error`, `stale` or `create` |
//! | `replace_existing_backend` | `true` or `false` |
//!
//! Names match regardless of case, and a hyphen is an underscore. An empty setting is an absent one.
//!
//! Durations are numbers of seconds (`300`, `0.5`) or say their unit (`5m`,
//! `1h 30m`). Built-in backends are `memory` (argument `max_entries`, 10,000
//! unless given), `memory_pickle` (`max_entries` or `max_bytes`), `null`, and with
//! the feature of that name `file`, also called `dbm`; [`register_backend`] adds
//! others. Built-in proxies are `logging` and
//! `compression`; [`register_proxy`] adds others.
//!
//! Arguments of `file`: `filename`, `max_bytes`, `max_entries`, `retention`,
//! `busy_timeout`, `on_damage` (`move_aside` or `refuse`), `mode` (octal, as `0600`),
//! `read_only`, `distributed_lock`
//! (`true` unless given). Python's `dogpile_lockfile` is the path of the lock
//! file, or `false` for no creation locks between processes; `rw_lockfile` is
//! accepted and does nothing, since SQLite keeps readers and writers apart.
//!
//! Backends of the feature `redis` are `redis`, `redis_sentinel`,
//! `redis_cluster` and the same with `valkey`. Their arguments: `url`, or
//! Python's `host`, `port`, `db`, `ssl`; `sentinels` and `service_name`;
//! `startup_nodes` (lists are comma-separated). `username`, `password`,
//! `sentinel_username`, `sentinel_password`; `ssl_ca_certs`, `ssl_certfile`,
//! `ssl_keyfile` (paths of PEM files); `redis_expiration_time`,
//! `read_from_replicas`, `socket_timeout`, `socket_connect_timeout`;
//! `distributed_lock` (`true` unless given, unlike in Python), `lock_timeout` (30
//! s), `lock_sleep` (the longest pause of polling), `lock_blocking`,
//! `lock_blocking_timeout`, `lock_prefix`, `key_prefix`.
//!
//! Backends of the feature `memcached` are `memcached`, `pymemcache`, `pylibmc`
//! and `bmemcached`, after dogpile.cache's four: several servers share keys as
//! with that client (`placement`: `rendezvous`, or `modulo` for `pylibmc`), and
//! `bmemcached` speaks the binary protocol (`binary`). Their arguments: `url`, a
//! URL or comma-separated places; `username`, `password`, `ssl`, `ssl_ca_certs`,
//! `ssl_certfile`, `ssl_keyfile`; `memcached_expire_time`, `min_compress_len`,
//! `max_item_bytes`; `distributed_lock` (`true` unless given), `lock_timeout`
//! (30 s; zero, Python's lock without an end, is the same), `lock_sleep`,
//! `lock_prefix`, `key_prefix`; `socket_timeout` or `timeout`, `socket_connect_timeout` or
//! `connect_timeout`, `dead_retry` or `hashclient_dead_timeout`, `connections`
//! or `max_pool_size`.

mod location;
mod names;
mod registry;

pub use crate::settings::{Arguments, ConfigError, FromSetting, Scalar, Settings, coerce};
pub use location::{Location, backend_at};
pub use registry::{register_backend, register_proxy};

#[cfg(feature = "near")]
use crate::near::Near;
use crate::region::{Config, InvalidationChoice, Kind};

impl Settings {
    /// The configuration of one region, from settings whose prefix was
    /// stripped.
    ///
    /// Errors name what is unknown or malformed, and what would be known.
    ///
    /// [`Region::configure`](crate::Region::configure) says which kind of configuration it takes. Elsewhere
    /// that is to be written: `let config: Config<Serialized> = settings.config()?`.
    pub fn config<K: Kind>(&self) -> Result<Config<K>, ConfigError> {
        // A prefix that lacks its dot at the end leaves it to the names.
        if self.iter().all(|(name, _)| name.starts_with('.')) {
            return Err(ConfigError::NoSettings);
        }
        let mut region = Arguments::new("region", self.clone());
        let backend: String = region.require("backend")?;
        let arguments = region.take_group("arguments.");
        let mut config = Config::over(registry::backend(&backend, arguments)?);
        for name in region.take_list("wrap") {
            config.backend = registry::wrap(&name, config.backend)?;
        }
        if let Some(expiration) = region.take::<names::Age>("expiration_time")? {
            config = config.expiration(expiration.0);
        }
        if region.take("resilient")? == Some(true) {
            config = config.resilient();
        }
        if let Some(limit) = region.take("stale_while_revalidate")? {
            config = config.stale_while_revalidate(limit);
        }
        if let Some(limit) = region.take("stale_if_error")? {
            config = config.stale_if_error(limit);
        }
        if let Some(time) = region.take("retry_after")? {
            config = config.retry_after(time);
        }
        if let Some(share) = region.take::<names::Share>("jitter")? {
            config = config.jitter(share.0);
        }
        if let Some(lifetime) = region.take("negative")? {
            if K::NEEDS_OBJECTS {
                return Err(unable_to_tell_none());
            }
            config.defaults.negative = Some(lifetime);
        }
        if let Some(time) = region.take("remember_failures")? {
            config = config.remember_failures(time);
        }
        if let Some(early) = region.take::<names::EarlyName>("early")? {
            config = config.early(early.0);
        }
        if let Some(limit) = region.take("soft_timeout")? {
            config = config.soft_timeout(limit);
        }
        if let Some(limit) = region.take("creation_timeout")? {
            config = config.creation_timeout(limit);
        }
        if let Some(retention) = region.take::<names::Age>("retention")? {
            config = config.retention(retention.0.after());
        }
        if let Some(time) = region.take("keep_when_down")? {
            config = config.keep_when_down(time);
        }
        #[cfg(feature = "near")]
        if let Some(near) = near(region.take_group("near."))? {
            config = config.near(near);
        }
        if let Some(limit) = region.take("wait_timeout")? {
            config = config.wait_timeout(limit);
        }
        if let Some(mangler) = region.take::<names::ManglerName>("key_mangler")? {
            config.mangler = mangler.0;
        }
        if region.take("region_prefix")? == Some(false) {
            config = config.shared_keys();
        }
        config.invalidation = invalidation(&mut region)?;
        if let Some(then) = region.take("on_wait_timeout")? {
            config = config.on_wait_timeout(then);
        }
        if let Some(codec) = region.take::<names::CodecName>("codec")? {
            config.codec = crate::region::KindCodec(codec.0);
        }
        if let Some(version) = region.take::<String>("version")? {
            config = config.version(version);
        }
        if region.take("replace_existing_backend")? == Some(true) {
            config = config.replace_existing();
        }
        region.finish()?;
        Ok(config)
    }
}

fn unable_to_tell_none() -> ConfigError {
    ConfigError::Invalid {
        owner: "region".to_owned(),
        name: "negative".to_owned(),
        expected:
            "no such setting: in a region of objects, `None` is not known from other values; \
            use `lifetime`"
                .to_owned(),
        found: "one".to_owned(),
    }
}

/// Reads the settings of a near tier, if there are any.
#[cfg(feature = "near")]
fn near(settings: Settings) -> Result<Option<Near>, ConfigError> {
    if settings.iter().all(|(_, value)| value.trim().is_empty()) {
        return Ok(None);
    }
    let mut tier = Arguments::new("near tier", settings);
    let mut near = Near::entries(tier.require("max_entries")?);
    if let Some(limit) = tier.take("max_staleness")? {
        near = near.max_staleness(limit);
    }
    if let Some(time) = tier.take("serve_when_down")? {
        near = near.serve_when_down(time);
    }
    if tier.take("broadcast")? == Some(true) {
        near = near.broadcast();
    }
    tier.finish()?;
    Ok(Some(near))
}

/// Reads the place of the moments of invalidations, and the delay of the others.
fn invalidation(region: &mut Arguments) -> Result<InvalidationChoice, ConfigError> {
    use names::InvalidationPlace::{Local, Shared};

    let place = region.take("invalidation")?;
    let delay = region.take("invalidation_delay")?;
    match (place, delay) {
        (None, None) => Ok(InvalidationChoice::Usual),
        (Some(Local), None) => Ok(InvalidationChoice::Local),
        (Some(Shared), None) => Ok(InvalidationChoice::Shared(InvalidationChoice::USUAL_DELAY)),
        (Some(Shared) | None, Some(delay)) => Ok(InvalidationChoice::Shared(delay)),
        (Some(Local), Some(_)) => Err(ConfigError::Invalid {
            owner: "region".to_owned(),
            name: "invalidation_delay".to_owned(),
            expected: "nothing beside `invalidation = \"local\"`".to_owned(),
            found: "a delay".to_owned(),
        }),
    }
}
