//! The errors, and what to do about them.
//!
//! An error prints its immediate cause, and its `source` continues below that: a chain that is
//! printed names no cause twice, and one that is not still says what happened.
//!
//! One [`Error`] for the crate. The plain calls of a region never return it
//! from a creation, because a backend error then runs the creator; [`get`](crate::Region::get), [`set`](crate::Region::set),
//! [`delete`](crate::Region::delete) and the strict calls do.

use std::fmt;
use std::time::Duration;

use crate::codec::CodecError;

/// A `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the cache, never of a creator.
///
/// Keys appear in messages escaped and cut to 100 characters; values never
/// do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The region was used before [`configure`](crate::Region::configure).
    NotConfigured {
        /// The region's name.
        region: String,
    },
    /// The region has a backend already, and replacement was not asked for.
    AlreadyConfigured {
        /// The region's name.
        region: String,
    },
    /// A region of types without serde was given a backend that keeps bytes.
    NeedsObjects {
        /// The region's name.
        region: String,
        /// The backend's name.
        backend: String,
    },
    /// A [near tier](crate::Near) was asked for over a backend that keeps its values in this
    /// process's memory.
    NearInMemory {
        /// The region's name.
        region: String,
        /// The backend's name.
        backend: String,
    },
    /// The backend failed.
    Backend {
        /// The region's name.
        region: String,
        /// The operation that failed: `get`, `set_multi`, `lock` and so on.
        operation: &'static str,
        /// The backend's error.
        source: BackendError,
    },
    /// The key holds a value of another type than was asked for.
    WrongType {
        /// The region's name.
        region: String,
        /// The key, fit for a message.
        key: String,
        /// The type that is stored.
        stored: &'static str,
        /// The type that was asked for.
        asked: &'static str,
    },
    /// The codec could not turn the value into bytes. Nothing was stored.
    Encode {
        /// The region's name.
        region: String,
        /// The key, fit for a message.
        key: String,
        /// The codec's error.
        source: CodecError,
    },
    /// A creator asked for the key that it is creating. Waiting would never
    /// end.
    RecursiveCreation {
        /// The region's name.
        region: String,
        /// The key, fit for a message.
        key: String,
    },
    /// Somebody else was still creating the value when the wait timeout ended.
    WaitTimeout {
        /// The region's name.
        region: String,
        /// The key, fit for a message.
        key: String,
        /// The limit.
        limit: Duration,
    },
    /// The creation took longer than the [creation timeout](crate::Config::creation_timeout). Its
    /// creator was dropped, and the key is free.
    CreationTimeout {
        /// The region's name.
        region: String,
        /// The key, fit for a message.
        key: String,
        /// The limit.
        limit: Duration,
    },
    /// A blocking call had to wait on the thread that everything it could
    /// wait for runs on: inside a current-thread tokio runtime.
    WouldDeadlock {
        /// The region's name.
        region: String,
    },
    /// A multi-creator returned another number of values than it was asked
    /// for. Nothing was stored.
    WrongCount {
        /// The region's name.
        region: String,
        /// The number of keys that it was given.
        asked: usize,
        /// The number of values that came back.
        returned: usize,
    },
    /// The store of a collection failed.
    #[cfg(feature = "collections")]
    Collection {
        /// The collection's name.
        collection: String,
        /// The operation that failed: `open`, `pull`, `push` and so on.
        operation: &'static str,
        /// The store's error.
        source: BackendError,
    },
    /// The loader of a collection failed.
    #[cfg(feature = "collections")]
    Load {
        /// The collection's name.
        collection: String,
        /// The loader's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Returns the hint for a region without a configuration, once tests have scopes.
fn in_tests() -> &'static str {
    #[cfg(feature = "testing")]
    if crate::testing::used::was_used() {
        return ", or call it in the `Scope` of the test";
    }
    ""
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConfigured { region } => write!(
                f,
                "region `{region}` is not configured: call `configure` on it before its first use{}",
                in_tests()
            ),
            Self::AlreadyConfigured { region } => write!(
                f,
                "region `{region}` is configured already: to change its backend, ask for it with `Config::replace_existing`; in tests, give each a `dogpile::testing::Scope`"
            ),
            Self::NeedsObjects { region, backend } => write!(
                f,
                "region `{region}` holds types without serde, but the backend `{backend}` keeps bytes: use a memory backend, or a `Region` of serializable types"
            ),
            Self::NearInMemory { region, backend } => write!(
                f,
                "region `{region}` asks for a near tier, but the backend `{backend}` keeps its values in this process's memory: leave the near tier out"
            ),
            Self::Backend { region, operation, source } => {
                write!(f, "region `{region}`: {operation} failed: {source}")
            }
            Self::WrongType { region, key, stored, asked } => write!(
                f,
                "region `{region}`: key `{key}` holds a `{stored}`, but a `{asked}` was asked for: give the two kinds of value different keys"
            ),
            Self::Encode { region, key, source } => {
                write!(f, "region `{region}`: the value of `{key}` cannot be encoded: {source}")
            }
            Self::RecursiveCreation { region, key } => write!(
                f,
                "region `{region}`: the creator of `{key}` asked for `{key}` itself and would wait for itself forever: read what it needs from the source instead"
            ),
            Self::WaitTimeout { region, key, limit } => write!(
                f,
                "region `{region}`: `{key}` was still being created elsewhere after {limit:?}: raise `wait_timeout`, or make the creator faster"
            ),
            Self::CreationTimeout { region, key, limit } => write!(
                f,
                "region `{region}`: creating `{key}` took longer than {limit:?}: raise `creation_timeout`, or make the creator faster"
            ),
            Self::WouldDeadlock { region } => write!(
                f,
                "region `{region}`: a blocking call would have to wait inside a current-thread runtime, which cannot go on meanwhile: use the async call, `spawn_blocking`, or a multi-thread runtime"
            ),
            Self::WrongCount { region, asked, returned } => write!(
                f,
                "region `{region}`: the creator was given {asked} keys and returned {returned} values: it must return one value per key, in the order of the keys"
            ),
            #[cfg(feature = "collections")]
            Self::Collection { collection, operation, source } => {
                write!(f, "collection `{collection}`: {operation} failed: {source}")
            }
            #[cfg(feature = "collections")]
            Self::Load { collection, source } => {
                write!(f, "collection `{collection}`: its loader failed: {source}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Backend { source, .. } => source.source(),
            Self::Encode { source, .. } => source.source(),
            #[cfg(feature = "collections")]
            Self::Collection { source, .. } => source.source(),
            #[cfg(feature = "collections")]
            Self::Load { source, .. } => source.source(),
            _ => None,
        }
    }
}

impl Error {
    /// Returns whether a store cannot be reached, or did not answer in time. It may come back.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Backend { source, .. } => source.is_unavailable(),
            #[cfg(feature = "collections")]
            Self::Collection { source, .. } => source.is_unavailable(),
            _ => false,
        }
    }

    /// Returns whether the call gave up waiting for a creation: another caller's, or its own.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::WaitTimeout { .. } | Self::CreationTimeout { .. })
    }
}

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

/// A key as messages show it: control characters escaped, 100 characters at
/// most.
pub(crate) fn shown(key: &str) -> String {
    const MOST: usize = 100;
    let mut text: String = key.chars().take(MOST).flat_map(char::escape_debug).collect();
    if key.chars().nth(MOST).is_some() {
        text.push('…');
    }
    text
}

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

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::io;

    use super::*;

    /// The texts of an error and its sources.
    fn chain(error: &dyn std::error::Error) -> Vec<String> {
        let below = error.source().map(chain).unwrap_or_default();
        [vec![error.to_string()], below].concat()
    }

    #[derive(Debug)]
    struct Outer(io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the handshake failed")
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    fn lost() -> Error {
        let source = BackendError::unavailable(Outer(io::Error::other("refused")));
        Error::Backend { region: "users".to_owned(), operation: "get", source }
    }

    #[test]
    fn a_cause_is_printed_or_returned_as_a_source_and_never_both() {
        let expected = ["region `users`: get failed: the handshake failed", "refused"];
        assert_eq!(chain(&lost()), expected);
        assert_eq!(chain(&CreateError::<io::Error>::Cache(lost())), expected);
        let created = CreateError::Creator(Outer(io::Error::other("refused")));
        assert_eq!(chain(&created), ["the handshake failed", "refused"]);
        assert!(created.source().is_some() && !created.is_unavailable());
    }

    #[test]
    fn an_error_tells_what_its_caller_may_do() {
        assert!(lost().is_unavailable() && !lost().is_timeout());
        let (region, key, limit) = (String::new(), String::new(), Duration::ZERO);
        let late = CreateError::<()>::Cache(Error::WaitTimeout { region, key, limit });
        assert!(late.is_timeout() && !late.is_unavailable());
    }
}
