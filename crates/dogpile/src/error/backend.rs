//! The error of a backend or a mutex.

use std::fmt;

/// The kind of a backend's or a mutex's failure: what the caller may do
/// about it follows from this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The store cannot be reached, or did not answer in time. It may come
    /// back.
    Unavailable,
    /// The store refuses this key or value: too long, too large, characters
    /// it cannot hold. Trying again does not help.
    Refused,
    /// Anything else.
    Other,
}

/// Why a backend or a mutex could not do what it was asked.
#[derive(Debug)]
pub struct BackendError {
    kind: ErrorKind,
    refuses_changes: bool,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl BackendError {
    /// A failure of `kind`; `source` says what happened, without secrets.
    pub fn new(
        kind: ErrorKind,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, refuses_changes: false, source: source.into() }
    }

    /// The store takes no changes at present, and may answer reads all the same: its disk is full, or
    /// it is a replica. Its kind is [`ErrorKind::Unavailable`].
    pub fn read_only(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { refuses_changes: true, ..Self::unavailable(source) }
    }

    /// The store cannot be reached or did not answer.
    pub fn unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Unavailable, source)
    }

    /// The store refuses this key or value.
    pub fn refused(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Refused, source)
    }

    /// Any other failure.
    pub fn other(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Other, source)
    }

    /// Returns the kind of error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns whether the store takes no changes at present, whatever they are.
    pub fn refuses_changes(&self) -> bool {
        self.refuses_changes
    }

    /// Returns whether the store cannot be reached, or did not answer in time.
    pub fn is_unavailable(&self) -> bool {
        self.kind == ErrorKind::Unavailable
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl std::error::Error for BackendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.source()
    }
}
