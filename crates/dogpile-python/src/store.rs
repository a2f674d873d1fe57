//! Storing and deleting values.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use crate::calls::Calls as _;
use crate::clock;
use crate::dict::Values;
use crate::direct;
use crate::engine::Engine;
use crate::errors;
use crate::look::{mangled, mangled_multi};
use crate::names::names;
use crate::plan::Plan;
use crate::strings::text;
use crate::wait;

/// A header and a payload, as they are written to a backend of bytes.
fn frame<'py>(
    serializer: &Bound<'py, PyAny>,
    created: f64,
    value: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyBytes>> {
    let payload = serializer.run1((value,))?;
    let payload: &[u8] = payload.extract()?;
    let header = format!("{{\"ct\": {created:?}, \"v\": {}}}|", dogpile::value::VERSION);
    let length = header.len() + payload.len();
    PyBytes::new_with(value.py(), length, |frame| {
        let (head, tail) = frame.split_at_mut(header.len());
        head.copy_from_slice(header.as_bytes());
        tail.copy_from_slice(payload);
        Ok(())
    })
}

/// A value that is created now, as a backend of objects keeps it.
fn cached<'py>(value: &Bound<'py, PyAny>, created: f64) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    names(py)?.value_created_at(value, created)
}

/// The crate's region and key, where a change must end the creations that are going on.
fn to_be_told<'a>(
    plan: &'a Plan,
    values: &Values,
    key: &Bound<'_, PyAny>,
) -> Option<(&'a Engine, String)> {
    let engine = plan.engine.as_ref().filter(|_| values.are_created())?;
    Some((engine, key.cast_exact::<PyString>().ok()?.to_str().ok()?.to_owned()))
}

pub(crate) fn set<'py>(
    plan: &Plan,
    backend: &Py<PyAny>,
    key: &Bound<'py, PyAny>,
    value: &Bound<'py, PyAny>,
) -> PyResult<()> {
    let py = key.py();
    let key = mangled(plan, key)?;
    if let Some(values) = &plan.values {
        if let Some((engine, key)) = to_be_told(plan, values, &key) {
            let value = engine.stored(value)?;
            return wait::run(py, engine.set_multi(vec![(key, value)], plan.max_age))?
                .map_err(errors::of_region);
        }
        let value = cached(value, clock::now(py)?)?;
        return values.dict.bind(py).set_item(key, value);
    }
    if let Some((engine, key)) = direct::engine(plan, &key) {
        return direct::set(plan, engine, [(key, value.clone())], py);
    }
    let (backend, created) = (backend.bind(py), clock::now(py)?);
    match &plan.serializer {
        Some(serializer) => {
            let frame = frame(serializer.bind(py), created, value)?;
            backend.run_method1(text!(py, set_serialized), (key, frame))?;
        }
        None => {
            backend.run_method1(text!(py, set), (key, cached(value, created)?))?;
        }
    }
    Ok(())
}

pub(crate) fn set_multi(
    plan: &Plan,
    backend: &Py<PyAny>,
    mapping: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = mapping.py();
    let pairs = mapping.run_method1(text!(py, items), ())?;
    if plan.values.is_some() {
        for pair in pairs.try_iter()? {
            let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair?.extract()?;
            set(plan, backend, &key, &value)?;
        }
        return Ok(());
    }
    if let Some(engine) = &plan.engine
        && let Some(pairs) = direct::pairs(plan, mapping)?
    {
        return direct::set(plan, engine, pairs, py);
    }
    let (created, stored) = (clock::now(py)?, PyDict::new(py));
    for pair in pairs.try_iter()? {
        let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair?.extract()?;
        let key = mangled(plan, &key)?;
        match &plan.serializer {
            Some(serializer) => {
                stored.set_item(key, frame(serializer.bind(py), created, &value)?)?;
            }
            None => stored.set_item(key, cached(&value, created)?)?,
        }
    }
    let name = if plan.serializer.is_some() {
        text!(py, set_serialized_multi)
    } else {
        text!(py, set_multi)
    };
    backend.bind(py).run_method1(name, (stored,)).map(drop)
}

pub(crate) fn delete(plan: &Plan, backend: &Py<PyAny>, key: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = key.py();
    let key = mangled(plan, key)?;
    if let Some((engine, key)) = direct::engine(plan, &key) {
        return direct::delete(py, engine, vec![key]);
    }
    let Some(values) = &plan.values else {
        return backend.bind(py).run_method1(text!(py, delete), (key,)).map(drop);
    };
    if let Some((engine, key)) = to_be_told(plan, values, &key) {
        return wait::run(py, engine.delete_multi(vec![key]))?.map_err(errors::of_region);
    }
    let values = values.dict.bind(py);
    if values.contains(&key)? { values.del_item(key) } else { Ok(()) }
}

pub(crate) fn delete_multi(
    plan: &Plan,
    backend: &Py<PyAny>,
    keys: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = keys.py();
    if plan.values.is_some() {
        return keys.try_iter()?.try_for_each(|key| delete(plan, backend, &key?));
    }
    let stored = mangled_multi(plan, keys)?;
    if let Some((engine, keys)) = direct::engine_multi(plan, &stored) {
        return direct::delete(py, engine, keys);
    }
    backend.bind(py).run_method1(text!(py, delete_multi), (stored,)).map(drop)
}
