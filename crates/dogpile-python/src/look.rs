//! Reading what is stored: from a dict, a backend of objects, or a backend of bytes.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::backend::NativeBackend;
use crate::calls::Calls as _;
use crate::log;
use crate::names::{names, no_value};
use crate::plan::Plan;
use crate::strings::text;
use crate::value::deserialized;

/// The stored value, with the key that it is stored under.
pub(crate) struct Seen<'py> {
    pub(crate) key: Bound<'py, PyAny>,
    /// A `CachedValue`; none where nothing is stored.
    pub(crate) value: Option<Bound<'py, PyAny>>,
}

impl<'py> Seen<'py> {
    /// As Python code has it.
    pub(crate) fn value_or_no_value(&self) -> PyResult<Bound<'py, PyAny>> {
        match &self.value {
            Some(value) => Ok(value.clone()),
            None => no_value(self.key.py()),
        }
    }
}

/// The key that a value of `key` is stored under.
#[inline]
pub(crate) fn mangled<'py>(plan: &Plan, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    match &plan.mangler {
        None => Ok(key.clone()),
        Some(mangler) => mangler.bind(key.py()).run1((key,)),
    }
}

/// The keys that values of several keys are stored under.
pub(crate) fn mangled_multi<'py>(
    plan: &Plan,
    keys: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyList>> {
    let stored = PyList::empty(keys.py());
    for key in keys.try_iter()? {
        stored.append(mangled(plan, &key?)?)?;
    }
    Ok(stored)
}

/// Reads what is stored for `key`. The plan has a backend.
#[inline]
pub(crate) fn look<'py>(
    plan: &Plan,
    backend: &Py<PyAny>,
    key: &Bound<'py, PyAny>,
) -> PyResult<Seen<'py>> {
    let py = key.py();
    let key = mangled(plan, key)?;
    if let Some(values) = &plan.values {
        let value = values.dict.bind(py).get_item(&key)?;
        return Ok(Seen { key, value });
    }
    let found = match &plan.reader {
        Some(reader) => reader.read(&key)?,
        None => None,
    };
    let backend = backend.bind(py);
    let value = match &plan.deserializer {
        None => some(found.map_or_else(|| backend.run_method1(text!(py, get), (&key,)), Ok)?)?,
        Some(deserializer) => {
            let read = || backend.run_method1(text!(py, get_serialized), (&key,));
            decoded(deserializer.bind(py), &found.map_or_else(read, Ok)?, backend)?
        }
    };
    Ok(Seen { key, value })
}

/// Reads what is stored for several stored keys, in their order.
pub(crate) fn look_multi<'py>(
    plan: &Plan,
    backend: &Py<PyAny>,
    keys: &Bound<'py, PyList>,
) -> PyResult<Vec<Option<Bound<'py, PyAny>>>> {
    let py = keys.py();
    if let Some(values) = &plan.values {
        let values = values.dict.bind(py);
        return keys.iter().map(|key| values.get_item(key)).collect();
    }
    let backend = backend.bind(py);
    match &plan.deserializer {
        None => {
            let found = backend.run_method1(text!(py, get_multi), (keys,))?;
            found.try_iter()?.map(|value| some(value?)).collect()
        }
        Some(deserializer) => {
            let deserializer = deserializer.bind(py);
            let found = backend.run_method1(text!(py, get_serialized_multi), (keys,))?;
            found.try_iter()?.map(|frame| decoded(deserializer, &frame?, backend)).collect()
        }
    }
}

#[inline]
fn some(value: Bound<'_, PyAny>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let is_none = names(value.py())?.is_no_value(&value);
    Ok((!is_none).then_some(value))
}

/// The `CachedValue` in a frame of bytes; none where there is none, or its deserializer cannot
/// read it.
fn decoded<'py>(
    deserializer: &Bound<'py, PyAny>,
    frame: &Bound<'py, PyAny>,
    backend: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = frame.py();
    let names = names(py)?;
    if frame.is_none() || names.is_no_value(frame) {
        return Ok(None);
    }
    let bytes: &[u8] = frame.extract()?;
    let bar = bytes.iter().position(|&byte| byte == b'|').unwrap_or(bytes.len());
    let Some(metadata) = metadata(py, &bytes[..bar])? else { return Ok(None) };
    let payload = PyBytes::new(py, bytes.get(bar + 1..).unwrap_or_default());
    let is_native = || backend.is_instance_of::<NativeBackend>();
    match deserialized(deserializer, payload, is_native)? {
        Some(payload) => names.new_cached_value(&payload, &metadata).map(Some),
        None => Ok(None),
    }
}

/// The metadata in a header; none, and a warning, where it is not one.
fn metadata<'py>(py: Python<'py>, header: &[u8]) -> PyResult<Option<Bound<'py, PyAny>>> {
    if let Some(created) = usual(header) {
        return Ok(Some(names(py)?.metadata_of(py, created)?.into_any()));
    }
    let json = py.import(text!(py, json))?;
    let metadata = json.call_method1(text!(py, loads), (PyBytes::new(py, header),));
    match metadata {
        Ok(metadata) if is_complete(&metadata) => Ok(Some(metadata)),
        Err(error) if !error.is_instance_of::<PyValueError>(py) => Err(error),
        _ => log::unreadable(py).map(|()| None),
    }
}

fn is_complete(metadata: &Bound<'_, PyAny>) -> bool {
    let has = |name| metadata.contains(name).unwrap_or_default();
    has("ct") && has("v")
}

/// The creation time in a header as Python's `json.dumps` writes it.
fn usual(header: &[u8]) -> Option<f64> {
    let number = header.strip_prefix(b"{\"ct\": ")?.strip_suffix(b", \"v\": 2}")?;
    // An integer would be one in Python too, and not a number is written otherwise.
    let is_plain = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    if !number.iter().all(is_plain) || !number.contains(&b'.') {
        return None;
    }
    str::from_utf8(number).ok()?.parse().ok()
}
