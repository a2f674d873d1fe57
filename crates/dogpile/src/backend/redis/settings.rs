//! The arguments of the Redis and Valkey backends, Python's among them.

use std::time::Duration;

use super::{Redis, RedisBuilder};
use crate::backend::{BackendError, Named};
use crate::settings::{Arguments, ConfigError, FileContent};

/// Which servers a backend's name stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Servers {
    /// Those of its URL, or else one.
    Single,
    Sentinel,
    Cluster,
}

impl Servers {
    fn of_name(name: &str) -> Self {
        match name {
            "redis_sentinel" | "valkey_sentinel" => Self::Sentinel,
            "redis_cluster" | "valkey_cluster" => Self::Cluster,
            _ => Self::Single,
        }
    }
}

impl Named for Redis {
    const NAMES: &'static [&'static str] = &[
        "redis",
        "redis_sentinel",
        "redis_cluster",
        "valkey",
        "valkey_sentinel",
        "valkey_cluster",
        "rediss",
        "valkeys",
        "unix",
        "redis+unix",
        "valkey+unix",
        "redis+sentinel",
        "rediss+sentinel",
        "valkey+sentinel",
        "valkeys+sentinel",
        "redis+cluster",
        "rediss+cluster",
        "valkey+cluster",
        "valkeys+cluster",
    ];

    fn from_arguments(name: &str, arguments: &mut Arguments) -> Result<Self, ConfigError> {
        let wrong = |error: BackendError| ConfigError::of_backend("redis", &error);
        let url = match arguments.take::<String>("url")? {
            // The database may be named beside it, as in a URL's query.
            Some(url) => match arguments.take::<u32>("db")? {
                Some(db) => format!("{url}{}db={db}", if url.contains('?') { '&' } else { '?' }),
                None => url,
            },
            None => url_of(Servers::of_name(name), arguments)?,
        };
        let builder = Self::builder(&url).map_err(wrong)?;
        // Beside a URL, which has its own word for it.
        if arguments.take::<bool>("ssl")? == Some(true) && !builder.has_tls() {
            return Err(wrong(BackendError::refused(
                "`ssl` is set, and the URL is one without TLS: write `rediss` in place of `redis`",
            )));
        }
        let builder = connection(builder, arguments)?;
        let builder = locks(builder, arguments)?;
        builder.open().map_err(wrong)
    }
}

/// The URL that Python's separate arguments say.
fn url_of(servers: Servers, arguments: &mut Arguments) -> Result<String, ConfigError> {
    let tls = arguments.take::<bool>("ssl")?.unwrap_or(false);
    let scheme = if tls { "rediss" } else { "redis" };
    let db = arguments.take::<u32>("db")?.unwrap_or(0);
    Ok(match servers {
        Servers::Single => {
            let host = arguments.take::<String>("host")?.unwrap_or_else(|| "localhost".to_owned());
            let port = arguments.take::<u16>("port")?.unwrap_or(6379);
            // An IPv6 address; with brackets, it is one of a URL.
            let bare = host.contains(':') && !host.starts_with('[');
            let host = if bare { format!("[{host}]") } else { host };
            format!("{scheme}://{host}:{port}/{db}")
        }
        Servers::Sentinel => {
            let sentinels = arguments.take_list("sentinels").join(",");
            let service = arguments.take("service_name")?.unwrap_or_else(|| "mymaster".to_owned());
            format!("{scheme}+sentinel://{sentinels}/{service}/{db}")
        }
        Servers::Cluster => {
            format!("{scheme}+cluster://{}", arguments.take_list("startup_nodes").join(","))
        }
    })
}

fn connection(
    mut builder: RedisBuilder,
    arguments: &mut Arguments,
) -> Result<RedisBuilder, ConfigError> {
    if let Some(username) = arguments.take::<String>("username")? {
        builder = builder.username(&username);
    }
    if let Some(password) = arguments.take::<String>("password")? {
        builder = builder.password(&password);
    }
    let sentinel_username = arguments.take::<String>("sentinel_username")?;
    if let Some(password) = arguments.take::<String>("sentinel_password")? {
        builder = builder.sentinel_credentials(sentinel_username.as_deref(), &password);
    }
    if let Some(root) = arguments.take::<FileContent>("ssl_ca_certs")? {
        builder = builder.tls_root(&root.0);
    }
    let certificate = arguments.take::<FileContent>("ssl_certfile")?;
    let key = arguments.take::<FileContent>("ssl_keyfile")?;
    if let (Some(certificate), Some(key)) = (certificate, key) {
        builder = builder.tls_client(&certificate.0, &key.0);
    }
    if let Some(time) = arguments.take::<Duration>("redis_expiration_time")?
        && !time.is_zero()
    {
        builder = builder.retention(time);
    }
    if let Some(yes) = arguments.take("read_from_replicas")? {
        builder = builder.read_from_replicas(yes);
    }
    if let Some(limit) = arguments.take("socket_timeout")? {
        builder = builder.response_timeout(limit);
    }
    if let Some(limit) = arguments.take("socket_connect_timeout")? {
        builder = builder.connect_timeout(limit);
    }
    // The client keeps its connection alive by itself.
    arguments.take::<bool>("socket_keepalive")?;
    Ok(builder)
}

fn locks(
    mut builder: RedisBuilder,
    arguments: &mut Arguments,
) -> Result<RedisBuilder, ConfigError> {
    if let Some(yes) = arguments.take("distributed_lock")? {
        builder = builder.creation_locks(yes);
    }
    if let Some(lease) = arguments.take("lock_timeout")? {
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
    let blocking = arguments.take("lock_blocking")?.unwrap_or(true);
    let timeout = arguments.take::<Duration>("lock_blocking_timeout")?;
    let timeout = if blocking { timeout } else { Some(Duration::ZERO) };
    Ok(match timeout {
        Some(limit) => builder.wait_timeout(limit),
        None => builder,
    })
}
