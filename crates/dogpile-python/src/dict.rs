//! The dict of a region in memory, as the crate has it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use dogpile::backend::ObjectMap;
use dogpile::value::{Entry, Payload};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::cached;
use crate::names::names;
use crate::value::Object;

/// The dict of a region in memory.
pub(crate) struct Values {
    pub(crate) dict: Py<PyDict>,
    /// The number of creations that are going on: a change must end those, and is one of the dict alone
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

/// A region's dict, as the crate has it. The collector is told of the dict by the region, so the
/// crate must not keep it.
pub(crate) struct DictMap(pub(crate) Weak<Values>);

impl ObjectMap for DictMap {
    fn get(&self, key: &str) -> Option<Entry> {
        let values = self.0.upgrade()?;
        Python::attach(|py| {
            let value = values.dict.bind(py).get_item(PyString::new(py, key)).ok()??;
            let (created, version) = cached::stamp(&value)?;
            let payload = cached::payload(&value).ok()?;
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
                let value = names(py)?.value_created_at(&object.bind(py), entry.metadata.ct)?;
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
