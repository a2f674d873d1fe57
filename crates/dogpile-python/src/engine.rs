//! The crate's region under a Python region: of live objects, or of bytes with a codec of
//! Python's.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use dogpile::backend::{AnyBackend, File};
use dogpile::config::Settings;
use dogpile::proxy::Layer;
use dogpile::region::{Cacheable, Kind};
use dogpile::stats::Statistics;
use dogpile::{
    Begun as RegionBegun, Config, CreateError, Creation, Encoded, Expiration, InMemory, Region,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::clock::PythonClock;
use crate::dict::Values;
use crate::errors;
use crate::invalidation::Moment;
use crate::value::{Codec, Form, Object, Serialized, Stored};

/// A call of the crate's that needs no interpreter.
pub(crate) type Work<T> = Pin<Box<dyn Future<Output = Result<T, dogpile::Error>> + Send>>;

#[derive(Clone)]
pub(crate) enum Engine {
    /// Over a dict.
    Objects(Arc<Region<InMemory>>),
    /// Over the crate's memory.
    Evicting(Arc<Region<InMemory>>),
    Bytes(Arc<Region<Encoded>>, Arc<Codec>),
}

/// The question of a call.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) key: String,
    /// In seconds; not a number: there is none.
    pub(crate) limit: f64,
}

/// The first half of a creating call.
pub(crate) enum Begun {
    Value(Stored),
    /// The value is the caller's to create.
    Create(Box<dyn Half>),
}

/// The second half.
pub(crate) trait Half: Send {
    /// Hands the value to those who wait, and stores it, if it is to be stored.
    fn finish(self: Box<Self>, value: Stored) -> Work<()>;
    /// Leaves the creation to the next caller. Returns the value that stands in for it, if there is one.
    fn fail(self: Box<Self>, why: String) -> Work<Option<Stored>>;
}

impl<T: Form + Clone + Send + Sync> Half for Creation<T> {
    fn finish(self: Box<Self>, value: Stored) -> Work<()> {
        Box::pin(async move {
            match T::of(value) {
                Some(value) => drop((*self).finish(value).await),
                None => drop((*self).fail("its value is of another form").await),
            }
            Ok(())
        })
    }

    fn fail(self: Box<Self>, why: String) -> Work<Option<Stored>> {
        Box::pin(async move { Ok((*self).fail(why).await.map(|found| found.value.erase())) })
    }
}

/// The values of a creating call for several keys.
pub(crate) type Created =
    Pin<Box<dyn Future<Output = Result<Vec<Stored>, CreateError<PyErr>>> + Send>>;

/// A creator of values for several keys.
pub(crate) type MultiCreator = Box<dyn FnMut(Vec<String>) -> PyResult<Vec<Stored>> + Send>;

impl Engine {
    /// Over a region's dict.
    pub(crate) fn over_dict(
        name: String,
        values: &Arc<Values>,
        moment: Arc<Moment>,
    ) -> PyResult<Self> {
        let region = Region::in_memory_named(name);
        region
            .configure(usual(Config::over(values.backend.clone()), moment))
            .map_err(errors::of_region)?;
        Ok(Self::Objects(Arc::new(region)))
    }

    /// Over a backend of the crate's. `None`: it keeps bytes, and there is no codec.
    pub(crate) fn over(
        name: String,
        backend: &AnyBackend,
        codec: Option<Codec>,
        moment: Arc<Moment>,
        options: &Options,
    ) -> PyResult<Option<Self>> {
        if backend.keeps_objects() {
            let region = Region::in_memory_named(name);
            let config = usual(config(backend, options)?, moment);
            region.configure(config).map_err(errors::of_region)?;
            return Ok(Some(Self::Evicting(Arc::new(region))));
        }
        let Some(codec) = codec else { return Ok(None) };
        let region = Region::encoded_named(name);
        let config = usual(config(backend, options)?, moment);
        region.configure(config).map_err(errors::of_region)?;
        // A file answers at once.
        let is_remote = backend.is_shared() && backend.actual::<File>().is_none();
        Ok(Some(Self::Bytes(Arc::new(region), Arc::new(Codec { is_remote, ..codec }))))
    }

    /// Returns what is to be stored for `value`.
    pub(crate) fn stored(&self, value: &Bound<'_, PyAny>) -> PyResult<Stored> {
        match self {
            Self::Objects(_) => Ok(Object::new(value.clone().unbind()).erase()),
            Self::Evicting(_) => Ok(Object::evictable(value.clone().unbind()).erase()),
            Self::Bytes(_, codec) => Stored::serialized(codec, value),
        }
    }

    pub(crate) fn statistics(&self) -> Statistics {
        match self {
            Self::Objects(region) | Self::Evicting(region) => region.statistics(),
            Self::Bytes(region, _) => region.statistics(),
        }
    }

    /// Tells it from others.
    pub(crate) fn id(&self) -> usize {
        match self {
            Self::Objects(region) | Self::Evicting(region) => Arc::as_ptr(region).addr(),
            Self::Bytes(region, _) => Arc::as_ptr(region).addr(),
        }
    }

    pub(crate) fn codec(&self) -> Option<&Codec> {
        match self {
            Self::Objects(_) | Self::Evicting(_) => None,
            Self::Bytes(_, codec) => Some(codec),
        }
    }

    /// Do its calls wait for a server?
    pub(crate) fn is_remote(&self) -> bool {
        self.codec().is_some_and(|codec| codec.is_remote)
    }

    /// Begins a creating call.
    pub(crate) fn begin(&self, ask: Ask) -> Work<Begun> {
        match self {
            Self::Objects(region) | Self::Evicting(region) => {
                begin::<_, Object>(region.clone(), ask)
            }
            Self::Bytes(region, _) => begin::<_, Serialized>(region.clone(), ask),
        }
    }

    /// Begins a creating call without what is stored, which nobody can read.
    pub(crate) fn begin_without(&self, ask: Ask) -> Work<Begun> {
        let deleted = self.delete_multi(vec![ask.key.clone()]);
        let begun = self.begin(ask);
        Box::pin(async move {
            deleted.await?;
            begun.await
        })
    }

    /// The values of several keys, of which `creator` creates those that are missing.
    pub(crate) fn create_multi(
        &self,
        keys: Vec<String>,
        limit: f64,
        creator: MultiCreator,
    ) -> Created {
        match self {
            Self::Objects(region) | Self::Evicting(region) => {
                create_multi::<_, Object>(region.clone(), keys, limit, creator)
            }
            Self::Bytes(region, _) => {
                create_multi::<_, Serialized>(region.clone(), keys, limit, creator)
            }
        }
    }

    /// The value if it is fresh and at hand.
    pub(crate) fn peek(&self, ask: Ask) -> Option<Stored> {
        match self {
            Self::Objects(region) | Self::Evicting(region) => peek::<_, Object>(region, ask),
            Self::Bytes(region, _) => peek::<_, Serialized>(region, ask),
        }
    }

    /// The value with its creation time; with a limit only if it is fresh.
    pub(crate) fn get(&self, key: String, limit: Option<f64>) -> Work<Option<(Stored, f64)>> {
        match self {
            Self::Objects(region) | Self::Evicting(region) => {
                get::<_, Object>(region.clone(), key, limit)
            }
            Self::Bytes(region, _) => get::<_, Serialized>(region.clone(), key, limit),
        }
    }

    /// The same for several keys.
    pub(crate) fn get_multi(
        &self,
        keys: Vec<String>,
        limit: Option<f64>,
    ) -> Work<Vec<Option<(Stored, f64)>>> {
        match self {
            Self::Objects(region) | Self::Evicting(region) => {
                get_multi::<_, Object>(region.clone(), keys, limit)
            }
            Self::Bytes(region, _) => get_multi::<_, Serialized>(region.clone(), keys, limit),
        }
    }

    /// Stores values, which a server keeps for as long as is usual where they expire after `limit`.
    pub(crate) fn set_multi(&self, values: Vec<(String, Stored)>, limit: f64) -> Work<()> {
        match self {
            Self::Objects(region) | Self::Evicting(region) => {
                set_multi::<_, Object>(region.clone(), values, limit)
            }
            Self::Bytes(region, _) => set_multi::<_, Serialized>(region.clone(), values, limit),
        }
    }

    pub(crate) fn delete_multi(&self, keys: Vec<String>) -> Work<()> {
        match self {
            Self::Objects(region) | Self::Evicting(region) => delete_multi(region.clone(), keys),
            Self::Bytes(region, _) => delete_multi(region.clone(), keys),
        }
    }

    pub(crate) fn is_locked(&self, key: String) -> Work<bool> {
        match self {
            Self::Objects(region) | Self::Evicting(region) => is_locked(region.clone(), key),
            Self::Bytes(region, _) => is_locked(region.clone(), key),
        }
    }
}

/// Options of the crate's regions by the names of its settings, such as `near.max_entries`.
pub(crate) type Options = Vec<(String, String)>;

/// A configuration over `backend` with the options.
fn config<K: Kind>(backend: &AnyBackend, options: &Options) -> PyResult<Config<K>> {
    let named = [("backend".to_owned(), "null".to_owned())];
    let settings: Settings = named.into_iter().chain(options.iter().cloned()).collect();
    let config = settings.config().map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(config.proxy(Instead(backend.clone())))
}

/// Puts a backend in the place of the one that settings name.
struct Instead(AnyBackend);

impl Layer for Instead {
    fn layer(self, _inner: AnyBackend) -> AnyBackend {
        self.0
    }
}

/// As Python has it: keys are what the caller says.
fn usual<K: Kind>(config: Config<K>, moment: Arc<Moment>) -> Config<K> {
    config.no_key_mangler().shared_keys().clock(PythonClock).invalidation(moment)
}

/// A limit of ages, as the crate has it.
fn expiration(limit: f64) -> Expiration {
    if limit.is_nan() {
        return Expiration::Never;
    }
    match Duration::try_from_secs_f64(limit.max(0.0)) {
        Ok(limit) => Expiration::After(limit),
        Err(_) => Expiration::Never,
    }
}

fn begin<K, T>(region: Arc<Region<K>>, ask: Ask) -> Work<Begun>
where
    K: Kind,
    T: Cacheable<K> + Form,
{
    Box::pin(async move {
        let entry = region.entry(ask.key).expiration(expiration(ask.limit));
        Ok(match entry.should_cache(T::is_stored).begin::<T>().await {
            RegionBegun::Value(found) => Begun::Value(found.value.erase()),
            RegionBegun::Create(creation) => Begun::Create(Box::new(creation)),
        })
    })
}

fn create_multi<K, T>(
    region: Arc<Region<K>>,
    keys: Vec<String>,
    limit: f64,
    mut creator: MultiCreator,
) -> Created
where
    K: Kind,
    T: Cacheable<K> + Form,
{
    Box::pin(async move {
        let entries = region.entries(keys).expiration(expiration(limit));
        let created = |keys| {
            let created = creator(keys);
            std::future::ready(created.map(|it| it.into_iter().filter_map(T::of).collect()))
        };
        let values = entries.should_cache(T::is_stored).try_get_or_create(created).await?;
        Ok(values.into_iter().map(T::erase).collect())
    })
}

fn peek<K, T>(region: &Region<K>, ask: Ask) -> Option<Stored>
where
    K: Kind,
    T: Cacheable<K> + Form,
{
    let entry = region.entry(ask.key).expiration(expiration(ask.limit));
    entry.peek::<T>().map(|found| found.value.erase())
}

fn get<K, T>(region: Arc<Region<K>>, key: String, limit: Option<f64>) -> Work<Option<(Stored, f64)>>
where
    K: Kind,
    T: Cacheable<K> + Form,
{
    Box::pin(async move {
        let entry = region.entry(key);
        let entry = match limit {
            Some(limit) => entry.expiration(expiration(limit)),
            None => entry.ignore_expiration(),
        };
        let found = entry.get_with_metadata::<T>().await?;
        Ok(found.map(|found| (found.value.erase(), found.ct)))
    })
}

fn get_multi<K, T>(
    region: Arc<Region<K>>,
    keys: Vec<String>,
    limit: Option<f64>,
) -> Work<Vec<Option<(Stored, f64)>>>
where
    K: Kind,
    T: Cacheable<K> + Form,
{
    Box::pin(async move {
        let entries = region.entries(keys);
        let entries = match limit {
            Some(limit) => entries.expiration(expiration(limit)),
            None => entries.ignore_expiration(),
        };
        let found = entries.get_with_metadata::<T>().await?.into_iter();
        Ok(found.map(|found| found.map(|found| (found.value.erase(), found.ct))).collect())
    })
}

fn set_multi<K, T>(region: Arc<Region<K>>, values: Vec<(String, Stored)>, limit: f64) -> Work<()>
where
    K: Kind,
    T: Cacheable<K> + Form,
{
    Box::pin(async move {
        let (keys, values): (Vec<String>, Vec<T>) =
            values.into_iter().filter_map(|(key, value)| Some((key, T::of(value)?))).unzip();
        match &values[..] {
            [value] => {
                let entry = region.entry(keys.into_iter().next().unwrap_or_default());
                entry.expiration(expiration(limit)).set(value).await
            }
            values => region.entries(keys).expiration(expiration(limit)).set(values).await,
        }
    })
}

fn delete_multi<K: Kind>(region: Arc<Region<K>>, keys: Vec<String>) -> Work<()> {
    Box::pin(async move {
        match &keys[..] {
            [key] => region.delete(key).await,
            _ => region.delete_multi(keys).await,
        }
    })
}

fn is_locked<K: Kind>(region: Arc<Region<K>>, key: String) -> Work<bool> {
    Box::pin(async move { region.key_is_locked(&key).await })
}
