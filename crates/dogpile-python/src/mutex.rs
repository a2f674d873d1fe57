//! The lock of a key that processes share, as Python code has it.

use std::sync::{Mutex, PoisonError};

use dogpile::backend::BackendError;
use dogpile::lock::{AnyMutex, KeyedLock, Lease};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::errors;
use crate::wait;

/// A lock that processes share. Any thread may release it. It ends by itself some time after its
/// process has died.
#[pyclass(frozen, weakref, module = "dogpile_rs._engine")]
pub(crate) struct NativeMutex {
    mutex: AnyMutex,
    key: String,
    lease: Mutex<Option<Lease>>,
}

impl NativeMutex {
    pub(crate) fn new(mutex: AnyMutex, key: String) -> Self {
        Self { mutex, key, lease: Mutex::default() }
    }

    async fn lock(&self, waits: bool) -> Result<Option<Lease>, BackendError> {
        loop {
            let lease = self.mutex.try_lock(&self.key).await?;
            if lease.is_some() || !waits {
                return Ok(lease);
            }
            if let Some(lease) = self.mutex.wait(&self.key).await? {
                return Ok(Some(lease));
            }
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Lease>> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl NativeMutex {
    /// Acquires it; with `wait=False` only if that is possible at once. Says whether it is acquired.
    #[pyo3(signature = (wait = true))]
    fn acquire(&self, py: Python<'_>, wait: bool) -> PyResult<bool> {
        let lease = wait::run(py, self.lock(wait))?.map_err(errors::of_backend)?;
        let is_acquired = lease.is_some();
        if is_acquired {
            *self.held() = lease;
        }
        Ok(is_acquired)
    }

    /// Releases it.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        let lease = self.held().take();
        match lease {
            Some(lease) => wait::run(py, self.mutex.unlock(lease))?.map_err(errors::of_backend),
            None => Err(PyRuntimeError::new_err("release of a lock that is not acquired")),
        }
    }

    /// Has anybody acquired it?
    fn locked(&self, py: Python<'_>) -> PyResult<bool> {
        wait::run(py, self.mutex.is_locked(&self.key))?.map_err(errors::of_backend)
    }
}
