//! What the crate stores and hands on for Python.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use dogpile::backend::ObjectMap;
use dogpile::value::{Entry, Payload};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use crate::judge;
use crate::look::usual_metadata;
use crate::names::names;

/// The dict of a region in memory.
pub(crate) struct Values {
    pub(crate) dict: Py<PyDict>,
    /// How many creations are going on: a change must end those, and is one of the dict alone
    /// while there are none.
    creations: AtomicUsize,
}

impl Values {
    pub(crate) fn new(dict: Py<PyDict>) -> Self {
        Self { dict, creations: AtomicUsize::new(0) }
    }

    pub(crate) fn are_created(&self) -> bool {
        self.creations.load(Ordering::Acquire) > 0
    }

    /// There is a creation more until the returned guard is dropped.
    pub(crate) fn note_creation(self: &Arc<Self>) -> Noted {
        self.creations.fetch_add(1, Ordering::AcqRel);
        Noted(self.clone())
    }
}

/// A creation that is going on.
pub(crate) struct Noted(Arc<Values>);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.creations.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A live Python object as the crate's value. A clone needs no interpreter.
#[derive(Clone)]
pub(crate) struct Object {
    object: Arc<Py<PyAny>>,
    /// Of a value that was just created: is it to be stored?
    is_stored: bool,
}

impl Object {
    pub(crate) fn new(object: Py<PyAny>) -> Self {
        Self { object: Arc::new(object), is_stored: true }
    }

    pub(crate) fn bind<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.object.bind(py).clone()
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
        self.is_stored
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
}

impl Stored {
    /// The same value, which was just created, and is stored or not.
    pub(crate) fn if_stored(self, is_stored: bool) -> Self {
        match self {
            Self::Object(object) => Self::Object(Object { is_stored, ..object }),
            Self::Serialized(it) => Self::Serialized(Serialized { is_stored, ..it }),
        }
    }

    /// Returns what is to be stored for `value`.
    pub(crate) fn of(codec: Option<&Codec>, value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let Some(codec) = codec else {
            return Ok(Self::Object(Object::new(value.clone().unbind())));
        };
        let bytes = codec.serializer.bind(value.py()).call1((value,))?;
        let bytes: &[u8] = bytes.extract()?;
        Ok(Self::Serialized(Bytes::copy_from_slice(bytes).into()))
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
                deserialized(codec.deserializer.bind(py), PyBytes::new(py, &it.bytes))
            }
            (Self::Serialized(it), None) => Ok(Some(PyBytes::new(py, &it.bytes).into_any())),
        }
    }
}

/// The value in `payload`; none if the deserializer cannot read it.
pub(crate) fn deserialized<'py>(
    deserializer: &Bound<'py, PyAny>,
    payload: Bound<'py, PyBytes>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = payload.py();
    match deserializer.call1((payload,)) {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_instance(py, names(py)?.cant_deserialize.bind(py)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A region's dict, as the crate has it. The collector is told of the dict by the region, so the
/// crate must not keep it.
pub(crate) struct DictMap(pub(crate) Weak<Values>);

impl ObjectMap for DictMap {
    fn get(&self, key: &str) -> Option<Entry> {
        let values = self.0.upgrade()?;
        Python::attach(|py| {
            let value = values.dict.bind(py).get_item(PyString::new(py, key)).ok()??;
            let (created, version) = judge::stamp(&value)?;
            let payload = judge::payload(&value).ok()?;
            let mut entry = Entry::object(Object::new(payload.unbind()), created);
            entry.metadata.v = u32::try_from(version).ok()?;
            Some(entry)
        })
    }

    fn insert(&self, key: &str, entry: Entry) {
        let Some(values) = self.0.upgrade() else { return };
        let Payload::Object(object) = &entry.payload else { return };
        let Some(object) = object.downcast_ref::<Object>() else { return };
        Python::attach(|py| {
            let stored = || -> PyResult<()> {
                let metadata = usual_metadata(py, entry.metadata.ct)?;
                let value = names(py)?.new_cached_value(&object.bind(py), metadata.as_any())?;
                values.dict.bind(py).set_item(PyString::new(py, key), value)
            };
            if let Err(error) = stored() {
                error.write_unraisable(py, None);
            }
        });
    }

    fn remove(&self, key: &str) {
        let Some(values) = self.0.upgrade() else { return };
        Python::attach(|py| {
            // An error says that it is not there.
            let _ = values.dict.bind(py).del_item(PyString::new(py, key));
        });
    }
}
