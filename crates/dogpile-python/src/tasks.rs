//! The calls of asyncio's tasks on a region over a backend of the crate's. `None`: it is over another
//! one, and the Python half calls that.

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::answer::Answer;
use crate::create;
use crate::direct;
use crate::look;
use crate::names::no_value;
use crate::region::Region;

/// Begins to read a value; `is_whole`: with its metadata.
#[pyfunction]
pub(crate) fn begin_get(
    region: &Bound<'_, Region>,
    key: &Bound<'_, PyAny>,
    expiration_time: Option<&Bound<'_, PyAny>>,
    ignore_expiration: bool,
    is_whole: bool,
) -> PyResult<Option<Answer>> {
    let plan = region.get().plan();
    if plan.is_pythons() {
        return Ok(None);
    }
    let limit = plan.limit(expiration_time, false)?;
    let Some((engine, key)) = direct::engine(&plan, &look::mangled(&plan, key)?) else {
        return Ok(None);
    };
    let own = engine.clone();
    let found = engine.get(key, (!ignore_expiration).then_some(limit));
    Ok(Some(Answer::new(found, move |py, found| {
        let found = found.map(|found| direct::load(py, &own, &found)).transpose()?.flatten();
        match found {
            Some(found) if is_whole => found.cached_value().map(Bound::unbind),
            Some(found) => Ok(found.payload.unbind()),
            None if is_whole => Ok(py.None()),
            None => no_value(py).map(Bound::unbind),
        }
    })))
}

/// Begins to read several values.
#[pyfunction]
pub(crate) fn begin_get_multi(
    region: &Bound<'_, Region>,
    keys: &Bound<'_, PyAny>,
    expiration_time: Option<&Bound<'_, PyAny>>,
    ignore_expiration: bool,
) -> PyResult<Option<Answer>> {
    let plan = region.get().plan();
    if plan.is_pythons() {
        return Ok(None);
    }
    let limit = plan.limit(expiration_time, false)?;
    let stored = look::mangled_multi(&plan, keys)?;
    let Some((engine, keys)) = direct::engine_multi(&plan, &stored) else { return Ok(None) };
    let own = engine.clone();
    let found = engine.get_multi(keys, (!ignore_expiration).then_some(limit));
    Ok(Some(Answer::new(found, move |py, found| {
        let absent = no_value(py)?;
        let found = direct::load_multi(py, &own, &found)?.into_iter();
        let values = found.map(|value| value.unwrap_or_else(|| absent.clone()));
        Ok(PyList::new(py, values)?.into_any().unbind())
    })))
}

/// Begins to store the values of a mapping.
#[pyfunction]
pub(crate) fn begin_set(
    region: &Bound<'_, Region>,
    mapping: &Bound<'_, PyAny>,
) -> PyResult<Option<Answer>> {
    let plan = region.get().plan();
    let Some(engine) = plan.engine.as_ref().filter(|_| !plan.is_pythons()) else {
        return Ok(None);
    };
    let Some(pairs) = direct::pairs(&plan, mapping)? else { return Ok(None) };
    let values = direct::stored(engine, pairs)?;
    Ok(Some(Answer::nothing(engine.set_multi(values, plan.max_age))))
}

/// Begins to delete what is stored for several keys.
#[pyfunction]
pub(crate) fn begin_delete(
    region: &Bound<'_, Region>,
    keys: &Bound<'_, PyAny>,
) -> PyResult<Option<Answer>> {
    let plan = region.get().plan();
    if plan.is_pythons() {
        return Ok(None);
    }
    let stored = look::mangled_multi(&plan, keys)?;
    let Some((engine, keys)) = direct::engine_multi(&plan, &stored) else { return Ok(None) };
    Ok(Some(Answer::nothing(engine.delete_multi(keys))))
}

/// Begins to ask whether a value for a key is being created.
#[pyfunction]
pub(crate) fn begin_is_creating(
    region: &Bound<'_, Region>,
    key: &Bound<'_, PyAny>,
) -> PyResult<Option<Answer>> {
    let plan = region.get().plan();
    if plan.is_pythons() {
        return Ok(None);
    }
    let native = create::native(&plan, &look::mangled(&plan, key)?, 0.0);
    Ok(native.map(|native| {
        let is_locked = native.engine.is_locked(native.key);
        Answer::new(is_locked, |py, it| Ok(it.into_pyobject(py)?.to_owned().into_any().unbind()))
    }))
}
