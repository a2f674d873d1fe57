//! Values as the crate stores them and hands them on for Python.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::calls::Calls as _;
use crate::grave;
use crate::log;
use crate::names::names;

/// A live Python object as the crate's value. A clone needs no interpreter.
///
/// It is one pointer, and so it lies in the entry itself of the crate's memory.
#[derive(Clone)]
pub(crate) struct Object(Arc<Live>);

struct Live {
    object: Option<Py<PyAny>>,
    /// Of a value that was just created: is it to be stored?
    is_stored: AtomicBool,
    /// Can the crate's memory evict it?
    is_evictable: bool,
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(object) = self.object.take().filter(|_| self.is_evictable) {
            grave::bury(object);
        }
    }
}

impl Object {
    pub(crate) fn new(object: Py<PyAny>) -> Self {
        Self::of(object, false)
    }

    /// An object for the crate's memory.
    pub(crate) fn evictable(object: Py<PyAny>) -> Self {
        Self::of(object, true)
    }

    fn of(object: Py<PyAny>, is_evictable: bool) -> Self {
        let is_stored = AtomicBool::new(true);
        Self(Arc::new(Live { object: Some(object), is_stored, is_evictable }))
    }

    pub(crate) fn bind<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        match &self.0.object {
            Some(object) => object.bind(py).clone(),
            None => unreachable!("it is there until it is dropped"),
        }
    }
}

/// A value that is bytes.
#[derive(Clone)]
pub(crate) struct Serialized {
    bytes: Bytes,
    /// See [`Object`].
    is_stored: bool,
}

impl From<Bytes> for Serialized {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, is_stored: true }
    }
}

impl From<Serialized> for Bytes {
    fn from(serialized: Serialized) -> Self {
        serialized.bytes
    }
}

/// A value in either form.
pub(crate) enum Stored {
    Object(Object),
    Serialized(Serialized),
}

/// A form of values.
pub(crate) trait Form: Sized + 'static {
    fn is_stored(&self) -> bool;
    fn erase(self) -> Stored;
    fn of(stored: Stored) -> Option<Self>;
}

impl Form for Object {
    fn is_stored(&self) -> bool {
        self.0.is_stored.load(Ordering::Relaxed)
    }

    fn erase(self) -> Stored {
        Stored::Object(self)
    }

    fn of(stored: Stored) -> Option<Self> {
        match stored {
            Stored::Object(object) => Some(object),
            Stored::Serialized(_) => None,
        }
    }
}

impl Form for Serialized {
    fn is_stored(&self) -> bool {
        self.is_stored
    }

    fn erase(self) -> Stored {
        Stored::Serialized(self)
    }

    fn of(stored: Stored) -> Option<Self> {
        match stored {
            Stored::Serialized(serialized) => Some(serialized),
            Stored::Object(_) => None,
        }
    }
}

/// The functions of Python's that make bytes of values, and values of bytes.
pub(crate) struct Codec {
    pub(crate) serializer: Py<PyAny>,
    pub(crate) deserializer: Py<PyAny>,
    /// The bytes are on a server.
    pub(crate) is_remote: bool,
}

impl Stored {
    /// The same value, which was just created, and is stored or not.
    pub(crate) fn if_stored(self, is_stored: bool) -> Self {
        match self {
            Self::Object(object) => {
                object.0.is_stored.store(is_stored, Ordering::Relaxed);
                Self::Object(object)
            }
            Self::Serialized(it) => Self::Serialized(Serialized { is_stored, ..it }),
        }
    }

    /// The bytes of `value`.
    pub(crate) fn serialized(codec: &Codec, value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let bytes = codec.serializer.bind(value.py()).run1((value,))?;
        Ok(Self::Serialized(copied(&bytes)?.into()))
    }

    /// Returns the Python value; none for what its deserializer cannot read.
    pub(crate) fn load<'py>(
        &self,
        py: Python<'py>,
        codec: Option<&Codec>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match (self, codec) {
            (Self::Object(object), _) => Ok(Some(object.bind(py))),
            (Self::Serialized(it), Some(codec)) => {
                deserialized(codec.deserializer.bind(py), PyBytes::new(py, &it.bytes), || true)
            }
            (Self::Serialized(it), None) => Ok(Some(PyBytes::new(py, &it.bytes).into_any())),
        }
    }
}

/// Returns what a serializer wrote: bytes, or an object that has some, such as a `bytearray`.
fn copied(written: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    if let Ok(bytes) = written.cast::<PyBytes>() {
        return Ok(Bytes::copy_from_slice(bytes.as_bytes()));
    }
    // The stable interface has no other way to them in all versions.
    let view = written.py().import("builtins")?.getattr("memoryview")?.run1((written,));
    let kind = written.get_type();
    let refused = |_| PyTypeError::new_err(format!("a serializer returns bytes, and not {kind}"));
    let bytes = view.map_err(refused)?.call_method0("tobytes")?;
    Ok(Bytes::copy_from_slice(bytes.cast::<PyBytes>()?.as_bytes()))
}

/// The value in `payload`; none if the deserializer cannot read it. Other errors of its are a
/// warning in the log on native backends, and errors of the call elsewhere, as in dogpile.cache.
pub(crate) fn deserialized<'py>(
    deserializer: &Bound<'py, PyAny>,
    payload: Bound<'py, PyBytes>,
    is_native: impl FnOnce() -> bool,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = payload.py();
    match deserializer.run1((payload,)) {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_instance(py, names(py)?.cant_deserialize.bind(py)) => Ok(None),
        Err(error) if names(py)?.is_of_codec(py, &error) && is_native() => {
            log::not_deserializable(py, &error).map(|()| None)
        }
        Err(error) => Err(error),
    }
}
