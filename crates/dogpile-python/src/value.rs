//! What the crate stores and hands on for Python.

use std::sync::Arc;

use dogpile::backend::ObjectMap;
use dogpile::value::{Entry, Payload};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::judge;
use crate::look::usual_metadata;
use crate::names::names;
use crate::plan::Values;

/// A live Python object as the crate's value. A clone needs no interpreter.
#[derive(Clone)]
pub(crate) struct Object(Arc<Py<PyAny>>);

impl Object {
    pub(crate) fn new(object: Py<PyAny>) -> Self {
        Self(Arc::new(object))
    }

    pub(crate) fn bind<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.0.bind(py).clone()
    }
}

/// A region's dict, as the crate has it. The collector is told of the dict by the region, so the
/// crate must not keep it: see [`Values`].
pub(crate) struct DictMap(pub(crate) std::sync::Weak<Values>);

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
            // It is not there.
            let _ = values.dict.bind(py).del_item(PyString::new(py, key));
        });
    }
}
