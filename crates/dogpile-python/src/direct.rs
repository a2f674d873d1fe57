//! Reading and storing over a backend of the crate's, where no proxy is between.

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::calls::Calls as _;
use crate::clock;
use crate::engine::{Engine, Work};
use crate::errors;
use crate::names::names;
use crate::plan::Plan;
use crate::strings::text;
use crate::value::Stored;
use crate::wait;

/// A payload with the `CachedValue` that it is in.
pub(crate) struct Found<'py> {
    pub(crate) payload: Bound<'py, PyAny>,
    created: f64,
}

impl<'py> Found<'py> {
    pub(crate) fn cached_value(&self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.payload.py();
        names(py)?.value_created_at(&self.payload, self.created)
    }
}

/// Values with the keys that they are stored under.
pub(crate) type Pairs<'py> = Vec<(String, Bound<'py, PyAny>)>;

/// The crate's region of a plan over a backend of the crate's, and the key in it, if this key can be
/// one of its.
pub(crate) fn engine<'a>(plan: &'a Plan, key: &Bound<'_, PyAny>) -> Option<(&'a Engine, String)> {
    let engine = plan.engine.as_ref().filter(|_| plan.values.is_none())?;
    Some((engine, text(key)?))
}

fn text(key: &Bound<'_, PyAny>) -> Option<String> {
    Some(key.cast_exact::<PyString>().ok()?.to_str().ok()?.to_owned())
}

/// The crate's region of a plan, and several keys in it, if all can be.
pub(crate) fn engine_multi<'a>(
    plan: &'a Plan,
    keys: &Bound<'_, PyList>,
) -> Option<(&'a Engine, Vec<String>)> {
    let engine = plan.engine.as_ref().filter(|_| plan.values.is_none())?;
    let keys = keys.iter().map(|key| text(&key)).collect::<Option<Vec<_>>>()?;
    Some((engine, keys))
}

fn run<T: Send>(py: Python<'_>, engine: &Engine, work: Work<T>) -> PyResult<T> {
    clock::look(py)?;
    wait::run_at(py, engine.is_remote(), work, || Ok(()))?.map_err(errors::of_region)
}

/// The value for a stored key, if it is fresh; with no limit given, whatever its age.
pub(crate) fn get<'py>(
    py: Python<'py>,
    (engine, key): (&Engine, String),
    limit: Option<f64>,
) -> PyResult<Option<Found<'py>>> {
    match run(py, engine, engine.get(key, limit))? {
        Some(found) => load(py, engine, &found),
        None => Ok(None),
    }
}

/// The values for several stored keys.
pub(crate) fn get_multi<'py>(
    py: Python<'py>,
    (engine, keys): (&Engine, Vec<String>),
    limit: Option<f64>,
) -> PyResult<Vec<Option<Bound<'py, PyAny>>>> {
    load_multi(py, engine, &run(py, engine, engine.get_multi(keys, limit))?)
}

/// The payloads of values, as far as there are any that its deserializer can read.
pub(crate) fn load_multi<'py>(
    py: Python<'py>,
    engine: &Engine,
    found: &[Option<(Stored, f64)>],
) -> PyResult<Vec<Option<Bound<'py, PyAny>>>> {
    found
        .iter()
        .map(|found| match found {
            Some(found) => Ok(load(py, engine, found)?.map(|found| found.payload)),
            None => Ok(None),
        })
        .collect()
}

pub(crate) fn load<'py>(
    py: Python<'py>,
    engine: &Engine,
    (stored, created): &(Stored, f64),
) -> PyResult<Option<Found<'py>>> {
    let payload = stored.load(py, engine.codec())?;
    Ok(payload.map(|payload| Found { payload, created: *created }))
}

/// Stores values for stored keys.
pub(crate) fn set<'py>(
    plan: &Plan,
    engine: &Engine,
    values: impl IntoIterator<Item = (String, Bound<'py, PyAny>)>,
    py: Python<'py>,
) -> PyResult<()> {
    run(py, engine, engine.set_multi(stored(engine, values)?, plan.max_age))
}

/// Returns the entries to store for values.
pub(crate) fn stored<'py>(
    engine: &Engine,
    values: impl IntoIterator<Item = (String, Bound<'py, PyAny>)>,
) -> PyResult<Vec<(String, Stored)>> {
    values.into_iter().map(|(key, value)| Ok((key, engine.stored(&value)?))).collect()
}

/// Deletes what is stored under stored keys.
pub(crate) fn delete(py: Python<'_>, engine: &Engine, keys: Vec<String>) -> PyResult<()> {
    run(py, engine, engine.delete_multi(keys))
}

/// The pairs of a mapping, with the keys that they are stored under; none if one of these cannot be
/// a key of the crate's.
pub(crate) fn pairs<'py>(plan: &Plan, mapping: &Bound<'py, PyAny>) -> PyResult<Option<Pairs<'py>>> {
    let items = mapping.run_method1(text!(mapping.py(), items), ())?;
    let mut pairs = Vec::new();
    for item in items.try_iter()? {
        let (key, value): (Bound<'py, PyAny>, Bound<'py, PyAny>) = item?.extract()?;
        match text(&crate::look::mangled(plan, &key)?) {
            Some(key) => pairs.push((key, value)),
            None => return Ok(None),
        }
    }
    Ok(Some(pairs))
}
