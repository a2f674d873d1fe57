//! The names that the Python half tells this one when it is imported.

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::strings::{strings, text};
use crate::tuples::NewTuple;

/// Objects of Python's that are met in every call.
pub(crate) struct Names {
    /// Stands for a value that is not there.
    pub(crate) no_value: Py<PyAny>,
    /// The named tuple of a payload and its metadata.
    pub(crate) cached_value: Py<PyType>,
    new_tuple: NewTuple,
    /// The metadata of values as they are written here. It is copied, and never handed out.
    metadata: Py<PyDict>,
    /// Raised by deserializers for what they cannot read.
    pub(crate) cant_deserialize: Py<PyType>,
    /// The exceptions of serializers and deserializers, as opposed to those of a signal's handler meanwhile.
    of_codecs: Py<PyTuple>,
}

static NAMES: PyOnceLock<Names> = PyOnceLock::new();

/// Tells the engine of the classes of `dogpile_rs.cache.api`. The first call counts.
#[pyfunction]
#[pyo3(signature = (*, no_value, cached_value, cant_deserialize, of_codecs))]
pub(crate) fn register(
    py: Python<'_>,
    no_value: Py<PyAny>,
    cached_value: Py<PyType>,
    cant_deserialize: Py<PyType>,
    of_codecs: Py<PyTuple>,
) -> PyResult<()> {
    if !cached_value.bind(py).is_subclass_of::<PyTuple>()? {
        return Err(PyTypeError::new_err("a CachedValue is a tuple"));
    }
    let new_tuple = NewTuple::find(py)?;
    let metadata = PyDict::new(py);
    metadata.set_item(text!(py, ct), 0.0)?;
    metadata.set_item(text!(py, v), strings(py).version.bind(py))?;
    let metadata = metadata.unbind();
    let names = Names { no_value, cached_value, new_tuple, metadata, cant_deserialize, of_codecs };
    let _ = NAMES.set(py, names);
    Ok(())
}

#[inline]
pub(crate) fn names(py: Python<'_>) -> PyResult<&Names> {
    NAMES.get(py).ok_or_else(not_registered)
}

/// Returns `NO_VALUE`.
pub(crate) fn no_value(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    Ok(names(py)?.no_value.bind(py).clone())
}

#[cold]
fn not_registered() -> PyErr {
    PyRuntimeError::new_err("dogpile_rs.cache is not imported")
}

impl Names {
    /// Is it `NO_VALUE`?
    #[inline]
    pub(crate) fn is_no_value(&self, value: &Bound<'_, PyAny>) -> bool {
        value.is(&self.no_value)
    }

    /// Returns whether an exception is about a value that cannot be written or read. Others, such as those of a
    /// signal's handler, are the caller's.
    pub(crate) fn is_of_codec(&self, py: Python<'_>, error: &PyErr) -> bool {
        error.is_instance(py, self.of_codecs.bind(py))
    }

    /// Returns the metadata of a value that was created then, as it is written here.
    pub(crate) fn metadata_of<'py>(
        &self,
        py: Python<'py>,
        created: f64,
    ) -> PyResult<Bound<'py, PyDict>> {
        // A copy takes less time than a new dict of two.
        let metadata = self.metadata.bind(py).copy()?;
        metadata.set_item(text!(py, ct), created)?;
        Ok(metadata)
    }

    /// Returns the `CachedValue` of a value that was created then.
    pub(crate) fn value_created_at<'py>(
        &self,
        payload: &Bound<'py, PyAny>,
        created: f64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let metadata = self.metadata_of(payload.py(), created)?;
        self.new_cached_value(payload, metadata.as_any())
    }

    /// Returns `CachedValue(payload, metadata)`, without running Python code.
    pub(crate) fn new_cached_value<'py>(
        &self,
        payload: &Bound<'py, PyAny>,
        metadata: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.new_tuple.of_two(self.cached_value.bind(payload.py()), (payload, metadata))
    }
}
