//! Objects that the crate's memory has evicted: it may do that within a lock of its own, where no code of
//! Python's may run. So they are kept here until the call is over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;

static EVICTED: Mutex<Vec<Py<PyAny>>> = Mutex::new(Vec::new());
static ARE_ANY: AtomicBool = AtomicBool::new(false);

pub(crate) fn bury(object: Py<PyAny>) {
    EVICTED.lock().unwrap_or_else(PoisonError::into_inner).push(object);
    ARE_ANY.store(true, Ordering::Release);
}

/// Drops what was evicted, outside of all locks.
#[inline]
pub(crate) fn clear(_py: Python<'_>) {
    if ARE_ANY.load(Ordering::Acquire) {
        clear_all();
    }
}

#[cold]
fn clear_all() {
    ARE_ANY.store(false, Ordering::Release);
    let evicted = std::mem::take(&mut *EVICTED.lock().unwrap_or_else(PoisonError::into_inner));
    drop(evicted);
}
