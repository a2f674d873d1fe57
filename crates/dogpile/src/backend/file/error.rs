//! Why the SQLite database did not do what it was asked.

use rusqlite::ErrorCode;

use crate::backend::BackendError;

/// Why the database did not do what it was asked.
#[derive(Debug)]
pub(super) enum FileError {
    /// The file is damaged, or no SQLite database at all.
    Damaged(String),
    /// Somebody else has it locked.
    Busy,
    /// It is another file by now: moved aside, or deleted.
    Replaced,
    /// Anything else, fit for the caller.
    Backend(BackendError),
}

impl From<rusqlite::Error> for FileError {
    fn from(error: rusqlite::Error) -> Self {
        let fault = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                return Self::Damaged(error.to_string());
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => return Self::Busy,
            Some(ErrorCode::TooBig) => BackendError::refused(error),
            Some(ErrorCode::DiskFull | ErrorCode::ReadOnly) => BackendError::read_only(error),
            Some(
                ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::PermissionDenied,
            ) => BackendError::unavailable(error),
            _ => BackendError::other(error),
        };
        Self::Backend(fault)
    }
}
