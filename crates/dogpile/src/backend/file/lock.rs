//! The creation lock, as callers of a region take it.

use super::File;
use crate::backend::BackendError;
use crate::lock::{KeyedLock, Lease};

/// The locks of a file, in whichever process.
pub(super) struct FileLocks(pub(super) File);

impl KeyedLock for FileLocks {
    async fn try_lock(&self, key: &str) -> Result<Option<Lease>, BackendError> {
        self.0.shared()?.locks()?.try_lock(key).await
    }

    async fn wait(&self, key: &str) -> Result<Option<Lease>, BackendError> {
        self.0.shared()?.locks()?.wait(key).await
    }

    async fn unlock(&self, lease: Lease) -> Result<(), BackendError> {
        drop(lease);
        Ok(())
    }

    async fn is_locked(&self, key: &str) -> Result<bool, BackendError> {
        self.0.shared()?.locks()?.is_locked(key).await
    }
}
