//! Which names settings can give to backends and proxies.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use crate::backend::{AnyBackend, Named, Null};
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
    let mut names = BTreeMap::new();
    add::<Null>(&mut names);
    #[cfg(feature = "memory")]
    add::<crate::backend::Memory>(&mut names);
    #[cfg(feature = "memory")]
    add::<crate::backend::SerializedMemory>(&mut names);
    #[cfg(feature = "file")]
    add::<crate::backend::File>(&mut names);
    #[cfg(feature = "memcached")]
    add::<crate::backend::Memcached>(&mut names);
    #[cfg(feature = "redis")]
    add::<crate::backend::Redis>(&mut names);
    names
}

/// Adds a backend under all its names.
fn add<B: Named>(names: &mut BTreeMap<String, Arc<Make>>) {
    for name in B::NAMES {
        let make = move |arguments: &mut Arguments| {
            B::from_arguments(name, arguments).map(AnyBackend::new)
        };
        names.insert((*name).to_owned(), Arc::new(make));
    }
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
