//! Reading from a backend of Python's through a generator that is resumed with a key. That is quicker
//! than a call, for which the interpreter needs a frame, a bound method and a tuple.

use std::sync::Mutex;

use pyo3::prelude::*;
use pyo3::types::PyIterator;
use pyo3::{PyTraverseError, PyVisit};

use crate::calls::Calls as _;

/// A generator that yields what a backend has for the key that it is resumed with.
pub(crate) struct Reader {
    /// Returns a generator: an exception of the backend's ends one.
    begin: Py<PyAny>,
    /// Locked while it runs, and never waited for: the backend may let other threads go on, or read
    /// another key itself.
    generator: Mutex<Py<PyIterator>>,
}

impl Reader {
    pub(crate) fn new(begin: &Bound<'_, PyAny>) -> PyResult<Self> {
        let generator = Mutex::new(begun(begin)?);
        Ok(Self { begin: begin.clone().unbind(), generator })
    }

    /// Returns what the backend has for a stored key. `None`: it is running, and the caller calls
    /// the backend itself.
    #[inline]
    pub(crate) fn read<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Ok(mut generator) = self.generator.try_lock() else { return Ok(None) };
        let resumed = generator.bind(key.py()).as_any().resume(key);
        if resumed.is_err() {
            *generator = begun(self.begin.bind(key.py()))?;
        }
        resumed
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.begin)?;
        match self.generator.try_lock() {
            Ok(generator) => visit.call(&*generator),
            Err(_) => Ok(()),
        }
    }
}

/// A generator that waits for the first key.
fn begun(begin: &Bound<'_, PyAny>) -> PyResult<Py<PyIterator>> {
    let generator = begin.call0()?.try_iter()?;
    generator.send(&begin.py().None().into_bound(begin.py()))?;
    Ok(generator.unbind())
}
