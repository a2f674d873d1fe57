//! Backends of the crate's as Python objects: opened by name, with the arguments of Python's
//! backends. Their values are bytes in the format that Python writes, but for the one that keeps
//! objects in memory.

use bytes::Bytes;
use dogpile::backend::{AnyBackend, Memory};
use dogpile::config::{ConfigError, Settings};
use dogpile::key::Mangler;
use dogpile::lock::AnyMutex;
use dogpile::value::{Entry, Payload};
use dogpile::{Config, Encoded, Region as CrateRegion};
use pyo3::exceptions::{PyTypeError, PyUserWarning, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyDict, PyDictMethods, PyFloat, PyInt, PyList, PyString, PyTuple,
};

use crate::cached;
use crate::calls::Calls as _;
use crate::engine::Options;
use crate::errors;
use crate::mutex::NativeMutex;
use crate::names::{names, no_value};
use crate::strings::text;
use crate::value::Object;
use crate::wait;

/// A backend of the crate's.
#[pyclass(frozen, subclass, dict, weakref, module = "dogpile_rs._engine")]
pub(crate) struct NativeBackend {
    name: String,
    backend: AnyBackend,
    mutex: Option<AnyMutex>,
    /// Do values stay there whatever the expiration of a region is?
    keeps_for_ever: bool,
}

impl NativeBackend {
    /// The options of a region over it, of which it has some itself.
    pub(crate) fn options(&self, of_region: &Options) -> Options {
        let own = self.keeps_for_ever.then(|| ("retention".to_owned(), "none".to_owned()));
        own.into_iter().chain(of_region.iter().cloned()).collect()
    }

    pub(crate) fn backend(&self) -> &AnyBackend {
        &self.backend
    }
}

/// A key as servers have it: text, or bytes and numbers, which are the same to clients of servers. Others are
/// refused: two of them could have one text.
fn text(key: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(key) = key.cast::<PyString>() {
        return Ok(key.to_str()?.to_owned());
    }
    if let Ok(key) = key.cast::<PyBytes>()
        && let Ok(key) = str::from_utf8(key.as_bytes())
    {
        return Ok(key.to_owned());
    }
    let is_number = key.is_instance_of::<PyInt>() || key.is_instance_of::<PyFloat>();
    if is_number && !key.is_instance_of::<PyBool>() {
        return Ok(key.str()?.to_str()?.to_owned());
    }
    Err(refused(key, "a text, UTF-8 bytes or a number"))
}

#[cold]
fn refused(key: &Bound<'_, PyAny>, needed: &str) -> PyErr {
    let kind = key.get_type();
    let kind = kind.name().map_or_else(|_| "object".to_owned(), |name| name.to_string());
    let message = format!(
        "a key of this backend is {needed}, and not of type {kind}: a `key_mangler` of the region, such as repr, makes texts of others"
    );
    PyTypeError::new_err(message)
}

/// The bytes that an entry is stored as.
fn frame(py: Python<'_>, entry: Option<Entry>) -> PyResult<Bound<'_, PyAny>> {
    match entry.and_then(|entry| entry.to_frame()) {
        Some(frame) => Ok(PyBytes::new(py, &frame).into_any()),
        None => no_value(py),
    }
}

/// The `CachedValue` in an entry that holds an object.
fn object(py: Python<'_>, entry: Option<Entry>) -> PyResult<Bound<'_, PyAny>> {
    let Some(Entry { metadata, payload: Payload::Object(object) }) = entry else {
        return no_value(py);
    };
    let Some(object) = object.downcast_ref::<Object>() else { return no_value(py) };
    names(py)?.value_created_at(&object.bind(py), metadata.ct)
}

fn bytes_entry(value: &Bound<'_, PyAny>) -> PyResult<Entry> {
    let bytes: &[u8] = value.extract()?;
    Ok(Entry::from_frame(&Bytes::copy_from_slice(bytes)))
}

fn object_entry(value: &Bound<'_, PyAny>) -> PyResult<Entry> {
    let (created, _) = cached::stamp(value)
        .ok_or_else(|| PyTypeError::new_err("this backend keeps CachedValue objects"))?;
    Ok(Entry::object(Object::evictable(cached::payload(value)?.unbind()), created))
}

/// A key mangler of the crate's.
#[pyclass(frozen, module = "dogpile_rs._engine")]
pub(crate) struct NativeMangler(Mangler);

#[pymethods]
impl NativeMangler {
    /// Returns the key to store `key` under.
    fn __call__(&self, key: &Bound<'_, PyAny>) -> PyResult<String> {
        Ok(self.0.mangle(&text(key)?).into_owned())
    }
}

#[pymethods]
impl NativeBackend {
    #[new]
    #[pyo3(signature = (name, arguments = None))]
    fn new(py: Python<'_>, name: &str, arguments: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let backend = open(py, name, arguments)?;
        let mutex = backend.mutex();
        let keeps_for_ever = arguments.map_or(Ok(false), keeps_for_ever)?;
        Ok(Self { name: name.to_owned(), backend, mutex, keeps_for_ever })
    }

    fn __repr__(&self) -> String {
        format!("<{} backend of dogpile_rs>", self.name)
    }

    /// Does it keep objects, and not bytes?
    #[getter]
    fn keeps_objects(&self) -> bool {
        self.backend.keeps_objects()
    }

    /// Returns the mangler for regions that name none, if the server does not take all keys.
    #[getter]
    fn recommended_mangler(&self) -> Option<NativeMangler> {
        self.backend.recommended_mangler().map(NativeMangler)
    }

    /// Returns the `CachedValue` for `key`, of a backend that keeps objects.
    fn get<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (py, key) = (key.py(), self.key(key)?);
        object(py, wait::run(py, self.backend.get(&key))?.map_err(errors::of_backend)?)
    }

    /// Returns what is stored for several keys, of a backend that keeps objects.
    fn get_multi<'py>(&self, keys: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let py = keys.py();
        let found = self.entries(keys)?.into_iter().map(|entry| object(py, entry));
        PyList::new(py, found.collect::<PyResult<Vec<_>>>()?)
    }

    /// Returns the bytes that are stored for `key`.
    fn get_serialized<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (py, key) = (key.py(), self.key(key)?);
        frame(py, wait::run(py, self.backend.get(&key))?.map_err(errors::of_backend)?)
    }

    /// Returns the bytes that are stored for several keys.
    fn get_serialized_multi<'py>(&self, keys: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let py = keys.py();
        let found = self.entries(keys)?.into_iter().map(|entry| frame(py, entry));
        PyList::new(py, found.collect::<PyResult<Vec<_>>>()?)
    }

    /// Stores a `CachedValue`.
    fn set(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.store(key.py(), vec![(self.key(key)?, object_entry(value)?)])
    }

    /// Stores the values of a mapping.
    fn set_multi(&self, mapping: &Bound<'_, PyAny>) -> PyResult<()> {
        self.store(mapping.py(), self.pairs(mapping, object_entry)?)
    }

    /// Stores bytes.
    fn set_serialized(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.store(key.py(), vec![(self.key(key)?, bytes_entry(value)?)])
    }

    /// Stores the bytes of a mapping.
    fn set_serialized_multi(&self, mapping: &Bound<'_, PyAny>) -> PyResult<()> {
        self.store(mapping.py(), self.pairs(mapping, bytes_entry)?)
    }

    /// Deletes what is stored for `key`.
    fn delete(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let (py, key) = (key.py(), self.key(key)?);
        wait::run(py, self.backend.delete(&key))?.map_err(errors::of_backend)
    }

    /// Deletes what is stored for several keys.
    fn delete_multi(&self, keys: &Bound<'_, PyAny>) -> PyResult<()> {
        let (py, keys) = (keys.py(), self.keys(keys)?);
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        wait::run(py, self.backend.delete_multi(&keys))?.map_err(errors::of_backend)
    }

    /// Returns the lock of a key that all processes share, if there is one.
    fn get_mutex(&self, key: &Bound<'_, PyAny>) -> PyResult<Option<NativeMutex>> {
        let Some(mutex) = self.mutex.clone() else { return Ok(None) };
        Ok(Some(NativeMutex::new(mutex, self.key(key)?)))
    }
}

impl NativeBackend {
    /// A key as the backend has it. Objects in memory have texts: a number is another key there than its text,
    /// as in a dict.
    fn key(&self, key: &Bound<'_, PyAny>) -> PyResult<String> {
        if self.backend.keeps_objects() && !key.is_instance_of::<PyString>() {
            return Err(refused(key, "a text"));
        }
        text(key)
    }

    fn keys(&self, keys: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
        keys.try_iter()?.map(|key| self.key(&key?)).collect()
    }

    fn pairs(
        &self,
        mapping: &Bound<'_, PyAny>,
        entry: impl Fn(&Bound<'_, PyAny>) -> PyResult<Entry>,
    ) -> PyResult<Vec<(String, Entry)>> {
        let items = mapping.run_method1(text!(mapping.py(), items), ())?;
        items
            .try_iter()?
            .map(|item| {
                let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item?.extract()?;
                Ok((self.key(&key)?, entry(&value)?))
            })
            .collect()
    }

    fn entries(&self, keys: &Bound<'_, PyAny>) -> PyResult<Vec<Option<Entry>>> {
        let (py, keys) = (keys.py(), self.keys(keys)?);
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        wait::run(py, self.backend.get_multi(&keys))?.map_err(errors::of_backend)
    }

    fn store(&self, py: Python<'_>, entries: Vec<(String, Entry)>) -> PyResult<()> {
        let done = match <[_; 1]>::try_from(entries) {
            Ok([(key, entry)]) => wait::run(py, self.backend.set(&key, entry))?,
            Err(entries) => {
                let entries: Vec<(&str, Entry)> =
                    entries.iter().map(|(key, entry)| (key.as_str(), entry.clone())).collect();
                wait::run(py, self.backend.set_multi(&entries))?
            }
        };
        done.map_err(errors::of_backend)
    }
}

/// Does one of the arguments say, as for Python's backends, that values stay for ever?
fn keeps_for_ever(arguments: &Bound<'_, PyDict>) -> PyResult<bool> {
    for name in ["redis_expiration_time", "memcached_expire_time"] {
        if let Some(time) = arguments.get_item(name)?
            && time.eq(0)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Opens a backend. Arguments that it does not know are warned of, as those of other clients are.
fn open(py: Python<'_>, name: &str, arguments: Option<&Bound<'_, PyDict>>) -> PyResult<AnyBackend> {
    let mut settings = vec![("backend".to_owned(), name.to_owned())];
    for (argument, value) in arguments.into_iter().flat_map(PyDictMethods::iter) {
        if let Some(value) = argument_text(&value)? {
            settings.push((format!("arguments.{}", text(&argument)?), value));
        }
    }
    loop {
        let unknown = match backend_of(&settings) {
            Ok(backend) => return Ok(backend),
            Err(ConfigError::UnknownArguments { names, .. }) if !names.is_empty() => names,
            Err(error) => return Err(PyValueError::new_err(error.to_string())),
        };
        let message = format!("the backend {name} does not use: {}", unknown.join(", "));
        let category = py.get_type::<PyUserWarning>();
        py.import("warnings")?.getattr("warn")?.run1((message, category, 3))?;
        let before = settings.len();
        settings.retain(|(setting, _)| {
            !setting.strip_prefix("arguments.").is_some_and(|it| unknown.iter().any(|u| u == it))
        });
        if settings.len() == before {
            return Err(PyValueError::new_err("the arguments cannot be understood"));
        }
    }
}

fn backend_of(settings: &[(String, String)]) -> Result<AnyBackend, ConfigError> {
    let settings = || settings.iter().cloned().collect::<Settings>();
    if settings().get("backend") == Some("memory") {
        let region = CrateRegion::in_memory("arguments");
        let config: Config<dogpile::InMemory> = settings().config()?;
        return Ok(backend_in(&region, config).unwrap_or_else(|| Memory::new(10_000).into()));
    }
    let region = CrateRegion::encoded("arguments");
    let config: Config<Encoded> = settings().config()?;
    backend_in(&region, config).ok_or_else(|| ConfigError::Missing {
        owner: "region".to_owned(),
        name: "backend".to_owned(),
    })
}

/// The backend of a configuration, which only a region tells.
fn backend_in<K: dogpile::region::Kind>(
    region: &CrateRegion<K>,
    config: Config<K>,
) -> Option<AnyBackend> {
    region.configure(config).ok()?;
    region.backend().ok()
}

/// An argument as the crate's settings have it; none for one that is `None`.
fn argument_text(value: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    if value.is_none() {
        return Ok(None);
    }
    if let Ok(yes) = value.cast::<PyBool>() {
        return Ok(Some(yes.is_true().to_string()));
    }
    if let Ok(seconds) = value.call_method0("total_seconds") {
        return Ok(Some(seconds.str()?.to_str()?.to_owned()));
    }
    if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        let items = value.try_iter()?.map(|item| place_text(&item?));
        return Ok(Some(items.collect::<PyResult<Vec<_>>>()?.join(",")));
    }
    Ok(Some(value.str()?.to_str()?.to_owned()))
}

/// One of several places: text, `(host, port)`, or an object with `host` and `port`.
fn place_text(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let of = |host: Bound<'_, PyAny>, port: Bound<'_, PyAny>| {
        Ok(format!("{}:{}", host.str()?.to_str()?, port.str()?.to_str()?))
    };
    if let Ok(pair) = value.cast::<PyTuple>() {
        return of(pair.get_item(0)?, pair.get_item(1)?);
    }
    if let Ok(pair) = value.cast::<PyDict>()
        && let (Some(host), Some(port)) = (pair.get_item("host")?, pair.get_item("port")?)
    {
        return of(host, port);
    }
    match (value.getattr("host"), value.getattr("port")) {
        (Ok(host), Ok(port)) => of(host, port),
        _ => Ok(value.str()?.to_str()?.to_owned()),
    }
}
