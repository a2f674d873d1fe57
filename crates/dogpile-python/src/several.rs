//! Reading several keys.

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::cached;
use crate::clock::Reading;
use crate::dict::Values;
use crate::direct;
use crate::judge::{self, Terms};
use crate::look;
use crate::names::no_value;
use crate::plan::Plan;

/// The demand of a call; none: whatever is there is good.
type Demand = Option<Terms>;

/// Returns the payloads for the callers' `keys`, with `NO_VALUE` where there is none that is good.
pub(crate) fn get<'py>(
    plan: &Plan,
    backend: &Py<PyAny>,
    keys: &Bound<'py, PyAny>,
    demand: Demand,
) -> PyResult<Bound<'py, PyList>> {
    if let Some(values) = &plan.values {
        return in_dict(plan, values, keys, demand);
    }
    let py = keys.py();
    let stored = look::mangled_multi(plan, keys)?;
    let absent = no_value(py)?;
    let found = if let Some(native) = direct::engine_multi(plan, &stored) {
        direct::get_multi(py, native, demand.map(|terms| terms.limit))?
    } else {
        let now = Reading::take(py)?;
        let found = look::look_multi(plan, backend, &stored)?.into_iter();
        let good = |value: Option<_>| value.map_or(Ok(None), |it| good(plan, &it, demand, now));
        found.map(good).collect::<PyResult<_>>()?
    };
    PyList::new(py, found.into_iter().map(|value| value.unwrap_or_else(|| absent.clone())))
}

fn in_dict<'py>(
    plan: &Plan,
    values: &Values,
    keys: &Bound<'py, PyAny>,
    demand: Demand,
) -> PyResult<Bound<'py, PyList>> {
    let py = keys.py();
    let (values, absent, now) = (values.dict.bind(py), no_value(py)?, Reading::take(py)?);
    let payload = |key: PyResult<Bound<'py, PyAny>>| {
        let found = match values.get_item(look::mangled(plan, &key?)?)? {
            Some(value) => good(plan, &value, demand, now)?,
            None => None,
        };
        Ok(found.unwrap_or_else(|| absent.clone()))
    };
    PyList::new(py, keys.try_iter()?.map(payload).collect::<PyResult<Vec<_>>>()?)
}

/// The payload of what is stored, if it is good.
#[inline]
fn good<'py>(
    plan: &Plan,
    value: &Bound<'py, PyAny>,
    demand: Demand,
    now: Reading,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    match demand {
        Some(terms) => judge::fresh_at(plan, value, terms, || Ok(now)),
        None => cached::payload(value).map(Some),
    }
}
