//! Telling whether a stored value is fresh.

use pyo3::exceptions::PyKeyError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyString, PyTuple};

use crate::clock;
use crate::names::names;
use crate::plan::Plan;

/// The format of values that is written here.
pub(crate) const VERSION: i64 = dogpile::value::VERSION as i64;

/// What a call asks of a value.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    /// In seconds; not a number: there is none.
    pub(crate) limit: f64,
    /// Is it for a call that creates values? For others, every version is good.
    pub(crate) creates: bool,
}

/// A stored value, taken apart.
struct Parts<'py> {
    payload: Bound<'py, PyAny>,
    metadata: Bound<'py, PyAny>,
}

impl<'py> Parts<'py> {
    /// Of a `CachedValue`, or of what somebody else's backend returns in place of one.
    #[inline]
    fn of(value: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = value.py();
        if value.get_type().is(&names(py)?.cached_value)
            && let Ok(tuple) = value.cast::<PyTuple>()
        {
            return Ok(Self { payload: tuple.get_item(0)?, metadata: tuple.get_item(1)? });
        }
        let payload = value.getattr(intern!(py, "payload"))?;
        Ok(Self { payload, metadata: value.getattr(intern!(py, "metadata"))? })
    }

    /// A field of the metadata.
    #[inline]
    fn field(&self, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        match self.metadata.cast_exact::<PyDict>() {
            Ok(metadata) => {
                metadata.get_item(name)?.ok_or_else(|| PyKeyError::new_err(name.clone().unbind()))
            }
            Err(_) => self.metadata.get_item(name),
        }
    }

    #[inline]
    fn created(&self) -> PyResult<f64> {
        let created = self.field(intern!(self.payload.py(), "ct"))?;
        match created.cast_exact::<PyFloat>() {
            Ok(created) => Ok(created.value()),
            Err(_) => created.extract(),
        }
    }

    #[inline]
    fn is_of_this_version(&self) -> PyResult<bool> {
        Ok(self.field(intern!(self.payload.py(), "v"))?.extract::<i64>()? == VERSION)
    }
}

/// Returns the payload of `value`, which is not `NO_VALUE`, if it is fresh.
#[inline]
pub(crate) fn fresh<'py>(
    plan: &Plan,
    value: &Bound<'py, PyAny>,
    terms: Terms,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let parts = Parts::of(value)?;
    if terms.creates && !parts.is_of_this_version()? {
        return Ok(None);
    }
    let may_be_invalid = plan.moment.as_ref().is_none_or(|moment| moment.is_set());
    if terms.limit.is_nan() && !may_be_invalid {
        return Ok(Some(parts.payload));
    }
    let created = parts.created()?;
    let py = value.py();
    if !terms.limit.is_nan() && clock::is_older(py, created, terms.limit)? {
        return Ok(None);
    }
    let is_fresh = !may_be_invalid || !is_invalidated(py, plan, created, terms.creates)?;
    Ok(is_fresh.then_some(parts.payload))
}

fn is_invalidated(py: Python<'_>, plan: &Plan, created: f64, creates: bool) -> PyResult<bool> {
    if let Some(moment) = &plan.moment {
        return Ok(moment.is_after(created));
    }
    let Some(strategy) = &plan.invalidator else { return Ok(false) };
    let strategy = strategy.bind(py);
    let says = |question| strategy.call_method1(question, (created,))?.is_truthy();
    if creates {
        Ok(says(intern!(py, "is_hard_invalidated"))? || says(intern!(py, "is_soft_invalidated"))?)
    } else {
        says(intern!(py, "is_invalidated"))
    }
}

/// The moment of creation and version of a `CachedValue`, if it has both in its usual form.
pub(crate) fn stamp(value: &Bound<'_, PyAny>) -> Option<(f64, i64)> {
    let parts = Parts::of(value).ok()?;
    let version = parts.field(intern!(value.py(), "v")).ok()?.extract().ok()?;
    Some((parts.created().ok()?, version))
}

/// The payload of a value, or the value where that is `NO_VALUE`.
pub(crate) fn payload<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if names(value.py())?.is_no_value(value) {
        return Ok(value.clone());
    }
    Ok(Parts::of(value)?.payload)
}
