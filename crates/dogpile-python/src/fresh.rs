//! A region's fresh values, where tasks of asyncio look first.

use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use crate::region::Region;

/// `fresh[key]` is the value for `key` if a creating call would not have to create it or to wait, else
/// `NO_VALUE`. A subscript has no arguments that must be sorted, as those of a call must: that is a sixteenth of an awaited hit.
#[pyclass(frozen, module = "dogpile_rs._engine")]
pub(crate) struct Fresh(Py<Region>);

#[pymethods]
impl Fresh {
    #[new]
    fn new(region: Py<Region>) -> Self {
        Self(region)
    }

    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.0.get().peek(key, None)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.0)
    }
}
