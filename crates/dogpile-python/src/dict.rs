//! The dict of a region in memory, as the crate has it.

use std::collections::HashMap;
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use dogpile::backend::{AnyBackend, MapBackend, ObjectMap};
use dogpile::value::{Entry, Payload};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use pyo3::{PyTraverseError, PyVisit};

use crate::bridge::lock;
use crate::cached;
use crate::names::names;
use crate::value::Object;

/// Dicts by the process and their addresses.
type Dicts = HashMap<(u32, usize), Weak<Values>>;

/// The dicts of all regions. A child does not have those of its parent: nobody would end there what other threads of
/// that have begun.
static DICTS: Mutex<Option<Dicts>> = Mutex::new(None);

/// The dict of regions in memory.
pub(crate) struct Values {
    pub(crate) dict: Py<PyDict>,
    /// The crate's marks of creations lie beside the dict: by those, a change through one region ends the creations of all.
    pub(crate) backend: AnyBackend,
    /// The number of creations that are going on: a change must end those, and is one of the dict alone
    /// while there are none.
    creations: AtomicUsize,
}

impl Values {
    /// Returns those of a dict, the same ones while there is a region over it; and if they are new ones.
    pub(crate) fn of(dict: &Bound<'_, PyDict>) -> (Arc<Self>, bool) {
        let place = (process::id(), dict.as_ptr() as usize);
        let mut dicts = lock(&DICTS);
        let dicts = dicts.get_or_insert_default();
        // It has the dict, so while it lives, no other one is at this address.
        if let Some(known) = dicts.get(&place).and_then(Weak::upgrade) {
            return (known, false);
        }
        let values = Arc::new_cyclic(|values| Self {
            dict: dict.clone().unbind(),
            backend: AnyBackend::new(MapBackend::over(DictMap(values.clone()))),
            creations: AtomicUsize::new(0),
        });
        dicts.retain(|_, values| values.strong_count() > 0);
        dicts.insert(place, Arc::downgrade(&values));
        (values, true)
    }

    /// Tells the collector of the dict. Of several regions over it, the first one does: it is to be told once.
    pub(crate) fn traverse(
        self: &Arc<Self>,
        is_first: bool,
        visit: &PyVisit<'_>,
    ) -> Result<(), PyTraverseError> {
        let is_told = is_first || Arc::strong_count(self) == 1;
        if is_told { visit.call(&self.dict) } else { Ok(()) }
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
struct DictMap(Weak<Values>);

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
