//! The error of a call that creates: the creator's, or the cache's.

use std::fmt;

use super::Error;

/// The error of a strict creation: the creator's own error, untouched,
/// or an error of the cache.
#[derive(Debug)]
pub enum CreateError<E> {
    /// The creator failed.
    Creator(E),
    /// The cache failed.
    Cache(Error),
}

impl<E: fmt::Display> fmt::Display for CreateError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Creator(error) => error.fmt(f),
            Self::Cache(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for CreateError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Creator(error) => error.source(),
            Self::Cache(error) => error.source(),
        }
    }
}

impl<E> CreateError<E> {
    /// Returns whether it is an error of the cache whose store
    /// [cannot be reached](Error::is_unavailable).
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Cache(error) if error.is_unavailable())
    }

    /// Returns whether the call [gave up waiting](Error::is_timeout).
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Cache(error) if error.is_timeout())
    }
}

impl<E> From<Error> for CreateError<E> {
    fn from(error: Error) -> Self {
        Self::Cache(error)
    }
}
