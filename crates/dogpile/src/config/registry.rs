//! Which names settings can give to backends and proxies.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use crate::backend::{AnyBackend, Null};
use crate::proxy::{Layer, Logging};
use crate::settings::{Arguments, ConfigError, Settings};

type Make = dyn Fn(&mut Arguments) -> Result<AnyBackend, ConfigError> + Send + Sync;
type Wrap = dyn Fn(AnyBackend) -> AnyBackend + Send + Sync;

/// A name's maker, of a backend or a proxy.
type Names<M> = LazyLock<RwLock<BTreeMap<String, Arc<M>>>>;

static BACKENDS: Names<Make> = LazyLock::new(|| RwLock::new(built_in_backends()));
static PROXIES: Names<Wrap> = LazyLock::new(|| RwLock::new(built_in_proxies()));

/// Makes a backend known to settings as `name`. A name that is taken is
/// replaced.
///
/// `make` takes the arguments that it knows; those that it leaves are an
/// error to the user.
///
/// ```
/// use dogpile::backend::{AnyBackend, MapBackend};
/// use dogpile::config::{Settings, register_backend};
/// use dogpile::{Config, Serialized};
///
/// register_backend("unbounded", |_arguments| Ok(AnyBackend::new(MapBackend::unbounded())));
///
/// let settings = Settings::from_iter([("backend", "unbounded")]);
/// let config: Config = settings.config()?;
/// # let _ = config;
/// # Ok::<(), dogpile::config::ConfigError>(())
/// ```
pub fn register_backend(
    name: &str,
    make: impl Fn(&mut Arguments) -> Result<AnyBackend, ConfigError> + Send + Sync + 'static,
) {
    let mut names = BACKENDS.write().unwrap_or_else(PoisonError::into_inner);
    names.insert(name.to_owned(), Arc::new(make));
}

/// Makes a proxy known to settings as `name`. A name that is taken is
/// replaced.
pub fn register_proxy(name: &str, wrap: impl Fn(AnyBackend) -> AnyBackend + Send + Sync + 'static) {
    let mut names = PROXIES.write().unwrap_or_else(PoisonError::into_inner);
    names.insert(name.to_owned(), Arc::new(wrap));
}

/// Returns the entry registered as `name`, or else all names.
fn look_up<M: ?Sized>(
    names: &RwLock<BTreeMap<String, Arc<M>>>,
    name: &str,
) -> Result<Arc<M>, Vec<String>> {
    let names = names.read().unwrap_or_else(PoisonError::into_inner);
    names.get(name).cloned().ok_or_else(|| names.keys().cloned().collect())
}

/// Is there a backend called `name`?
pub(super) fn is_registered(name: &str) -> bool {
    look_up(&BACKENDS, name).is_ok()
}

/// The backend called `name`, with or without Python's prefix.
pub(super) fn backend(name: &str, arguments: Settings) -> Result<AnyBackend, ConfigError> {
    let short = name.strip_prefix("dogpile.cache.").unwrap_or(name);
    let make = look_up(&BACKENDS, short)
        .map_err(|known| ConfigError::UnknownBackend { name: name.to_owned(), known })?;
    let mut arguments = Arguments::new(&format!("backend `{short}`"), arguments);
    let backend = make(&mut arguments)?;
    arguments.finish()?;
    Ok(backend)
}

/// `backend` within the proxy called `name`.
pub(super) fn wrap(name: &str, backend: AnyBackend) -> Result<AnyBackend, ConfigError> {
    let wrap = look_up(&PROXIES, name)
        .map_err(|known| ConfigError::UnknownProxy { name: name.to_owned(), known })?;
    Ok(wrap(backend))
}

fn built_in_backends() -> BTreeMap<String, Arc<Make>> {
    let mut names: BTreeMap<String, Arc<Make>> = BTreeMap::new();
    names.insert("null".into(), Arc::new(|_: &mut _| Ok(AnyBackend::new(Null))));
    #[cfg(feature = "memory")]
    {
        names.insert("memory".into(), Arc::new(memory));
        names.insert("memory_pickle".into(), Arc::new(serialized));
    }
    #[cfg(feature = "file")]
    {
        names.insert("file".into(), Arc::new(crate::backend::file::settings::backend));
        names.insert("dbm".into(), Arc::new(crate::backend::file::settings::backend));
    }
    #[cfg(feature = "memcached")]
    {
        use crate::backend::memcached::settings as memcached;
        for name in memcached::NAMES.into_iter().chain(memcached::SCHEMES) {
            let make = move |arguments: &mut _| memcached::backend(name, arguments);
            names.insert(name.to_owned(), Arc::new(make));
        }
    }
    #[cfg(feature = "redis")]
    {
        use crate::backend::redis::settings as redis;
        for (name, servers) in redis::NAMES {
            let make = move |arguments: &mut _| redis::backend(servers, arguments);
            names.insert(name.to_owned(), Arc::new(make));
        }
        for scheme in redis::SCHEMES {
            let make = |arguments: &mut _| redis::backend(redis::Servers::Single, arguments);
            names.entry(scheme.to_owned()).or_insert(Arc::new(make));
        }
    }
    names
}

/// A bound that suits a process which was given none: far from nothing, far
/// from all memory.
#[cfg(feature = "memory")]
const DEFAULT_ENTRIES: usize = 10_000;

#[cfg(feature = "memory")]
fn memory(arguments: &mut Arguments) -> Result<AnyBackend, ConfigError> {
    let max_entries = arguments.take("max_entries")?.unwrap_or(DEFAULT_ENTRIES);
    Ok(AnyBackend::new(crate::backend::Memory::new(max_entries)))
}

#[cfg(feature = "memory")]
fn serialized(arguments: &mut Arguments) -> Result<AnyBackend, ConfigError> {
    use crate::backend::{BackendError, SerializedMemory};

    let max_entries = arguments.take("max_entries")?;
    Ok(AnyBackend::new(match (arguments.take("max_bytes")?, max_entries) {
        (Some(max_bytes), None) => SerializedMemory::bounded_by_bytes(max_bytes),
        (None, max_entries) => SerializedMemory::new(max_entries.unwrap_or(DEFAULT_ENTRIES)),
        (Some(_), Some(_)) => {
            let error = BackendError::other("give it `max_entries` or `max_bytes`, not both");
            return Err(ConfigError::of_backend("memory_pickle", &error));
        }
    }))
}

fn built_in_proxies() -> BTreeMap<String, Arc<Wrap>> {
    let mut names: BTreeMap<String, Arc<Wrap>> = BTreeMap::new();
    names.insert("logging".into(), Arc::new(|backend| Logging.layer(backend)));
    #[cfg(feature = "compression")]
    names.insert(
        "compression".into(),
        Arc::new(|backend| {
            use crate::proxy::{Algorithm, Compression};
            Compression::new(Algorithm::Zstd(3)).layer(backend)
        }),
    );
    names
}
