//! `CachedValue` objects: made, and taken apart.

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyString, PyTuple};

use crate::names::names;
use crate::strings::{strings, text};

/// The format of values that is written here.
pub(crate) const VERSION: i64 = dogpile::value::VERSION as i64;

/// A stored value, taken apart.
pub(crate) enum Parts<'a, 'py> {
    Usual {
        value: &'a Bound<'py, PyTuple>,
        metadata: Borrowed<'a, 'py, PyAny>,
    },
    /// Of somebody else's backend.
    Other {
        value: &'a Bound<'py, PyAny>,
        metadata: Bound<'py, PyAny>,
    },
}

impl<'a, 'py> Parts<'a, 'py> {
    /// Of a `CachedValue`, or of what stands in place of one.
    #[inline]
    pub(crate) fn of(value: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        let py = value.py();
        if value.get_type_ptr().cast() == names(py)?.cached_value.as_ptr()
            && let Ok(value) = value.cast::<PyTuple>()
        {
            return Ok(Self::Usual { value, metadata: value.get_borrowed_item(1)? });
        }
        Ok(Self::Other { value, metadata: value.getattr(text!(py, metadata))? })
    }

    #[inline]
    pub(crate) fn payload(&self) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Usual { value, .. } => value.get_item(0),
            Self::Other { value, .. } => value.getattr(text!(value.py(), payload)),
        }
    }

    #[inline]
    fn metadata(&self) -> &Bound<'py, PyAny> {
        match self {
            Self::Usual { metadata, .. } => metadata,
            Self::Other { metadata, .. } => metadata,
        }
    }

    /// A field of the metadata.
    #[inline]
    fn field(&self, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        let metadata = self.metadata();
        match metadata.cast_exact::<PyDict>() {
            Ok(metadata) => {
                metadata.get_item(name)?.ok_or_else(|| PyKeyError::new_err(name.clone().unbind()))
            }
            Err(_) => metadata.get_item(name),
        }
    }

    /// Returns the moment of creation, if the metadata has what is written here, in the same order. To look up
    /// both of its fields takes a twentieth of a hit more.
    #[inline]
    pub(crate) fn written_here(&self) -> Option<f64> {
        let metadata = self.metadata().cast_exact::<PyDict>().ok()?;
        let strings = strings(metadata.py());
        let mut fields = metadata.iter();
        let (first, created) = fields.next()?;
        let (second, version) = fields.next()?;
        // The interpreter has one object for each name and each small number.
        let is_written_here =
            first.is(&strings.ct) && second.is(&strings.v) && version.is(&strings.version);
        let created = created.cast_exact::<PyFloat>().ok()?;
        is_written_here.then(|| created.value())
    }

    #[inline]
    pub(crate) fn created(&self) -> PyResult<f64> {
        let created = self.field(text!(self.metadata().py(), ct))?;
        match created.cast_exact::<PyFloat>() {
            Ok(created) => Ok(created.value()),
            Err(_) => created.extract(),
        }
    }

    #[inline]
    pub(crate) fn is_of_this_version(&self) -> PyResult<bool> {
        let py = self.metadata().py();
        let version = self.field(text!(py, v))?;
        version.eq(strings(py).version.bind(py))
    }
}

/// The moment of creation and version of a `CachedValue`, if it has both in its usual form.
pub(crate) fn stamp(value: &Bound<'_, PyAny>) -> Option<(f64, i64)> {
    let parts = Parts::of(value).ok()?;
    if let Some(created) = parts.written_here() {
        return Some((created, VERSION));
    }
    let version = parts.field(text!(value.py(), v)).ok()?.extract().ok()?;
    Some((parts.created().ok()?, version))
}

/// The payload of a value, or the value where that is `NO_VALUE`.
pub(crate) fn payload<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if names(value.py())?.is_no_value(value) {
        return Ok(value.clone());
    }
    Parts::of(value)?.payload()
}
