//! The errors of the lock, as errors of a region.

use crate::error::{AtKey, Counts, Error, Limit, Operation, shown};
use crate::lock::LockError;

/// Returns what the error of the lock means to the region `region`, for `key`.
pub(super) fn of_lock(region: &str, key: &str, error: LockError) -> Error {
    let (region, key) = (region.to_owned(), shown(key));
    match error {
        LockError::RecursiveCreation => Error::RecursiveCreation(AtKey { region, key }.into()),
        LockError::WaitTimeout { limit } => Error::WaitTimeout(Limit { region, key, limit }.into()),
        LockError::CreationTimeout { limit } => {
            Error::CreationTimeout(Limit { region, key, limit }.into())
        }
        LockError::Mutex(source) => {
            Error::Backend(Operation { region, operation: "lock", source }.into())
        }
        LockError::WrongCount { asked, returned } => {
            Error::WrongCount(Counts { region, asked, returned }.into())
        }
    }
}
