//! The log records of a creation, with the logger that Python code has: who replaces it gets them.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::calls::Calls as _;
use crate::clock;
use crate::strings::text;

const DEBUG: u8 = 10;

static REGION: PyOnceLock<Py<PyDict>> = PyOnceLock::new();

fn module(py: Python<'_>) -> PyResult<&Py<PyDict>> {
    REGION.get_or_try_init(py, || Ok(py.import("dogpile_rs.cache.region")?.dict().unbind()))
}

/// Finds the logger's module, for the first region: not in a call, which a fork may interrupt.
pub(crate) fn prepare(py: Python<'_>) {
    // A program may use the engine alone.
    let _ = module(py);
}

/// Returns the logger of regions, if it takes records of this level.
pub(crate) fn region(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let module = module(py)?;
    let Some(log) = module.bind(py).get_item(text!(py, log))? else { return Ok(None) };
    let is_enabled = log.run_method1(text!(py, isEnabledFor), (DEBUG,))?.is_truthy()?;
    Ok(is_enabled.then_some(log))
}

/// Says that a value was created since `began`.
pub(crate) fn created(log: &Bound<'_, PyAny>, key: &Bound<'_, PyAny>, began: f64) -> PyResult<()> {
    let py = log.py();
    let fields = PyDict::new(py);
    fields.set_item("seconds", clock::now(py)? - began)?;
    let shown = py.import("dogpile_rs.cache.util")?.getattr("repr_obj")?.run1((key,))?;
    fields.set_item("keys", shown)?;
    let text = "Cache value generated in %(seconds).3f seconds for key(s): %(keys)r";
    log.getattr("debug")?.run1((text, fields))?;
    Ok(())
}

/// Says that a value that was created cannot be stored.
#[cold]
pub(crate) fn not_serializable(key: &Bound<'_, PyAny>, error: &PyErr) -> PyResult<()> {
    let py = key.py();
    let log = py.import("dogpile_rs.cache.region")?.getattr("log")?;
    let text = "The value for key %r cannot be serialized, and is not cached: %s";
    log.getattr("warning")?.run1((text, key, error.to_string()))?;
    Ok(())
}

/// Says that a stored value cannot be read.
#[cold]
pub(crate) fn not_deserializable(py: Python<'_>, error: &PyErr) -> PyResult<()> {
    let log = py.import("dogpile_rs.cache.region")?.getattr("log")?;
    let text = "A stored value cannot be deserialized, and is ignored: %s";
    log.getattr("warning")?.run1((text, error.to_string()))?;
    Ok(())
}

/// Says that stored bytes are none of a cached value.
#[cold]
pub(crate) fn unreadable(py: Python<'_>) -> PyResult<()> {
    let log = py.import("dogpile_rs.cache.region")?.getattr("log")?;
    log.getattr("warning")?.run1(("A stored value has no header, and is ignored",))?;
    Ok(())
}
