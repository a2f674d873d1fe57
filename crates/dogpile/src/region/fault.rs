//! The errors of the lock, as errors of a region.

use crate::error::{Error, shown};
use crate::lock::LockError;

/// Returns what the error of the lock means to the region `region`, for `key`.
pub(super) fn of_lock(region: &str, key: &str, error: LockError) -> Error {
    let region = region.to_owned();
    match error {
        LockError::RecursiveCreation => Error::RecursiveCreation { region, key: shown(key) },
        LockError::WaitTimeout { limit } => Error::WaitTimeout { region, key: shown(key), limit },
        LockError::CreationTimeout { limit } => {
            Error::CreationTimeout { region, key: shown(key), limit }
        }
        LockError::Mutex(source) => Error::Backend { region, operation: "lock", source },
        LockError::WrongCount { asked, returned } => Error::WrongCount { region, asked, returned },
    }
}
