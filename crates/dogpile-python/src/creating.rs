//! The creators that run now: one that asked for its own key would wait for itself.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::prelude::*;

use crate::calls::Calls as _;
use crate::engine::Engine;
use crate::errors;

thread_local! {
    /// The keys that creators on this thread are creating now.
    static CREATING: RefCell<Vec<(usize, String)>> = const { RefCell::new(Vec::new()) };
}

/// A creator that runs on this thread. If it asks for its own key, it would wait for itself.
pub(crate) struct Creating {
    keys: usize,
}

impl Creating {
    pub(crate) fn enter(engine: &Engine, keys: &[String]) -> Self {
        let keyed = keys.iter().map(|key| (engine.id(), key.clone()));
        CREATING.with_borrow_mut(|creating| creating.extend(keyed));
        Self { keys: keys.len() }
    }

    /// An error if a creator on this thread is creating one of these.
    pub(crate) fn check(engine: &Engine, keys: &[String]) -> PyResult<()> {
        let own = CREATING.with_borrow(|creating| {
            let id = engine.id();
            let is_own = |key: &&String| creating.iter().any(|own| own.0 == id && own.1 == **key);
            keys.iter().find(is_own).cloned()
        });
        own.map_or(Ok(()), |key| Err(errors::recursive(&key)))
    }
}

impl Drop for Creating {
    fn drop(&mut self) {
        CREATING.with_borrow_mut(|creating| creating.truncate(creating.len() - self.keys));
    }
}

/// The number of creators of tasks that run now.
static OF_TASKS: AtomicUsize = AtomicUsize::new(0);

/// A creator of a task that runs.
pub(crate) struct OfTask;

impl OfTask {
    pub(crate) fn begin() -> Self {
        OF_TASKS.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for OfTask {
    fn drop(&mut self) {
        OF_TASKS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An error if this call would wait for itself: a creator of one of these keys runs on this thread, or in the
/// task that the call comes from, wherever that has made it.
pub(crate) fn refuse_own(engine: &Engine, region: &Py<PyAny>, keys: &[String]) -> PyResult<()> {
    Creating::check(engine, keys)?;
    if OF_TASKS.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    Python::attach(|py| {
        let refuse = py.import("dogpile_rs.cache.creating")?.getattr("refuse_recursion")?;
        keys.iter().try_for_each(|key| refuse.run1((region, key)).map(drop))
    })
}
