//! The arguments of the memcached backend, those of dogpile.cache's four among
//! them.

use std::time::Duration;

use super::{Memcached, MemcachedBuilder, Placement};
use crate::backend::{BackendError, Named};
use crate::settings::{Arguments, ConfigError, FileContent, FromSetting};
use crate::url;

impl Named for Memcached {
    /// First those of dogpile.cache, each for a client library: several servers share the keys as
    /// with that one.
    const NAMES: &'static [&'static str] = &[
        "memcached",
        "pymemcache",
        "pylibmc",
        "bmemcached",
        "memcacheds",
        "memcached+binary",
        "memcacheds+binary",
        "memcached+unix",
    ];

    fn from_arguments(name: &str, arguments: &mut Arguments) -> Result<Self, ConfigError> {
        let wrong = |error: BackendError| ConfigError::of_backend("memcached", &error);
        let mut builder = servers(arguments).map_err(wrong)?;
        let tls = arguments.take::<bool>("ssl")?.unwrap_or(false);
        if tls {
            builder = builder.tls();
        }
        let binary = arguments.take::<bool>("binary")?.unwrap_or(name == "bmemcached");
        if binary {
            builder = builder.binary_protocol();
        }
        let default = if name == "pylibmc" { Placement::Modulo } else { Placement::Rendezvous };
        builder = builder.placement(arguments.take("placement")?.unwrap_or(default));
        let builder = connection(builder, arguments)?;
        let builder = values_and_locks(builder, arguments)?;
        builder.open().map_err(wrong)
    }
}

/// One URL, or places as Python has them: `host:port`, several of them, sockets.
fn servers(arguments: &mut Arguments) -> Result<MemcachedBuilder, BackendError> {
    let places = arguments.take_list("url");
    match &places[..] {
        [] => Memcached::builder("memcached://localhost"),
        [first, rest @ ..] if first.contains("://") => {
            let builder = Memcached::builder(first)?;
            rest.iter().try_fold(builder, |builder, place| builder.server(place))
        }
        [first, rest @ ..] => {
            let builder = if first.starts_with('/') {
                Memcached::builder(&format!("memcached+unix://{}", url::encode(first)))?
            } else {
                Memcached::builder(&format!("memcached://{first}"))?
            };
            rest.iter().try_fold(builder, |builder, place| builder.server(place))
        }
    }
}

fn connection(
    mut builder: MemcachedBuilder,
    arguments: &mut Arguments,
) -> Result<MemcachedBuilder, ConfigError> {
    if let Some(username) = arguments.take::<String>("username")? {
        builder = builder.username(&username);
    }
    if let Some(password) = arguments.take::<String>("password")? {
        builder = builder.password(&password);
    }
    if let Some(root) = arguments.take::<FileContent>("ssl_ca_certs")? {
        builder = builder.tls_root(&root.0);
    }
    let certificate = arguments.take::<FileContent>("ssl_certfile")?;
    let key = arguments.take::<FileContent>("ssl_keyfile")?;
    if let (Some(certificate), Some(key)) = (certificate, key) {
        builder = builder.tls_client(&certificate.0, &key.0);
    }
    for name in ["socket_timeout", "timeout"] {
        if let Some(limit) = arguments.take(name)? {
            builder = builder.response_timeout(limit);
        }
    }
    for name in ["socket_connect_timeout", "connect_timeout"] {
        if let Some(limit) = arguments.take(name)? {
            builder = builder.connect_timeout(limit);
        }
    }
    for name in ["dead_retry", "hashclient_dead_timeout"] {
        if let Some(pause) = arguments.take(name)? {
            builder = builder.dead_retry(pause);
        }
    }
    for name in ["connections", "max_pool_size"] {
        if let Some(number) = arguments.take(name)? {
            builder = builder.connections(number);
        }
    }
    Ok(builder)
}

fn values_and_locks(
    mut builder: MemcachedBuilder,
    arguments: &mut Arguments,
) -> Result<MemcachedBuilder, ConfigError> {
    if let Some(time) = arguments.take::<Duration>("memcached_expire_time")?
        && !time.is_zero()
    {
        builder = builder.retention(time);
    }
    if let Some(bytes) = arguments.take::<usize>("min_compress_len")?
        && bytes > 0
    {
        builder = builder.min_compress_bytes(bytes);
    }
    if let Some(bytes) = arguments.take("max_item_bytes")? {
        builder = builder.max_item_bytes(bytes);
    }
    if let Some(yes) = arguments.take("distributed_lock")? {
        builder = builder.creation_locks(yes);
    }
    // Python's zero is a lock that never ends. Ours are leases, and renewed.
    if let Some(lease) = arguments.take::<Duration>("lock_timeout")?
        && !lease.is_zero()
    {
        builder = builder.lock_lease(lease);
    }
    if let Some(pause) = arguments.take("lock_sleep")? {
        builder = builder.longest_poll(pause);
    }
    if let Some(prefix) = arguments.take::<String>("key_prefix")? {
        builder = builder.key_prefix(&prefix);
    }
    if let Some(prefix) = arguments.take::<String>("lock_prefix")? {
        builder = builder.lock_prefix(&prefix);
    }
    Ok(builder)
}

impl FromSetting for Placement {
    const EXPECTED: &'static str = "`rendezvous` or `modulo`";

    fn from_setting(text: &str) -> Option<Self> {
        match text.trim() {
            "rendezvous" => Some(Self::Rendezvous),
            "modulo" => Some(Self::Modulo),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn the_path_of_a_socket_means_itself_wherever_it_stands() {
        for url in ["/run/a%20b@1?.sock", "/run/a%20b@1?.sock, host"] {
            let mut arguments = Arguments::new("memcached", Settings::from_iter([("url", url)]));
            let backend = Memcached::from_arguments("memcached", &mut arguments).unwrap();
            let shown = format!("{backend:?}");
            assert!(shown.contains(r#"["/run/a%20b@1?.sock""#), "{shown}");
        }
    }
}
