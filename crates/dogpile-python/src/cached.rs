//! `CachedValue` objects: made, and taken apart.

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyString, PyTuple};

use crate::names::names;
use crate::strings::text;

/// The format of values that is written here.
pub(crate) const VERSION: i64 = dogpile::value::VERSION as i64;

/// The metadata of a value that was created then, as it is written here.
pub(crate) fn usual_metadata(py: Python<'_>, created: f64) -> PyResult<Bound<'_, PyDict>> {
    let metadata = PyDict::new(py);
    metadata.set_item(text!(py, ct), created)?;
    metadata.set_item(text!(py, v), VERSION)?;
    Ok(metadata)
}

/// A stored value, taken apart.
pub(crate) struct Parts<'py> {
    pub(crate) payload: Bound<'py, PyAny>,
    metadata: Bound<'py, PyAny>,
}

impl<'py> Parts<'py> {
    /// Of a `CachedValue`, or of what somebody else's backend returns in place of one.
    #[inline]
    pub(crate) fn of(value: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = value.py();
        if value.get_type().is(&names(py)?.cached_value)
            && let Ok(tuple) = value.cast::<PyTuple>()
        {
            return Ok(Self { payload: tuple.get_item(0)?, metadata: tuple.get_item(1)? });
        }
        let payload = value.getattr(text!(py, payload))?;
        Ok(Self { payload, metadata: value.getattr(text!(py, metadata))? })
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
    pub(crate) fn created(&self) -> PyResult<f64> {
        let created = self.field(text!(self.payload.py(), ct))?;
        match created.cast_exact::<PyFloat>() {
            Ok(created) => Ok(created.value()),
            Err(_) => created.extract(),
        }
    }

    #[inline]
    pub(crate) fn is_of_this_version(&self) -> PyResult<bool> {
        Ok(self.field(text!(self.payload.py(), v))?.extract::<i64>()? == VERSION)
    }
}

/// The moment of creation and version of a `CachedValue`, if it has both in its usual form.
pub(crate) fn stamp(value: &Bound<'_, PyAny>) -> Option<(f64, i64)> {
    let parts = Parts::of(value).ok()?;
    let version = parts.field(text!(value.py(), v)).ok()?.extract().ok()?;
    Some((parts.created().ok()?, version))
}

/// The payload of a value, or the value where that is `NO_VALUE`.
pub(crate) fn payload<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if names(value.py())?.is_no_value(value) {
        return Ok(value.clone());
    }
    Ok(Parts::of(value)?.payload)
}
