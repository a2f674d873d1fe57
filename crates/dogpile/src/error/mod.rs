//! The errors, and what to do about them.
//!
//! An error prints its immediate cause, and its `source` continues below that: a chain that is
//! printed names no cause twice, and one that is not still says what happened.
//!
//! One [`Error`] for the crate. The plain calls of a region never return it
//! from a creation, because a backend error then runs the creator; [`get`](crate::Region::get), [`set`](crate::Region::set),
//! [`delete`](crate::Region::delete) and the strict calls do.

pub(crate) mod backend;
mod create;
mod details;

use std::fmt;

pub(crate) use backend::{BackendError, ErrorKind};
pub use create::CreateError;
pub use details::{AtKey, Counts, InRegion, Limit, Operation, Types, Unencodable, WithBackend};
#[cfg(feature = "collections")]
pub use details::{CollectionLoad, CollectionOperation};

/// A `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the cache, never of a creator.
///
/// Keys appear in messages escaped and cut to 100 characters; values never
/// do.
///
/// An error takes two words: its details are in a box.
///
/// ```
/// use dogpile::{Error, Region};
///
/// let users = Region::new("users");
/// let error = users.blocking().set("42", &"Ada".to_owned()).unwrap_err();
/// match &error {
///     Error::NotConfigured(details) => assert_eq!(details.region, "users"),
///     Error::WaitTimeout(details) => println!("{} took {:?}", details.key, details.limit),
///     other => println!("{other}"),
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The region was used before [`configure`](crate::Region::configure).
    NotConfigured(Box<InRegion>),
    /// The region has a backend already, and replacement was not asked for.
    AlreadyConfigured(Box<InRegion>),
    /// A region of types without serde was given a backend that keeps bytes.
    NeedsObjects(Box<WithBackend>),
    /// A [near tier](crate::Near) was asked for over a backend that keeps its values in this
    /// process's memory.
    NearInMemory(Box<WithBackend>),
    /// The backend failed.
    Backend(Box<Operation>),
    /// The key holds a value of another type than was asked for.
    WrongType(Box<Types>),
    /// The codec could not turn the value into bytes. Nothing was stored.
    Encode(Box<Unencodable>),
    /// A creator asked for the key that it is creating. Waiting would never
    /// end.
    RecursiveCreation(Box<AtKey>),
    /// Somebody else was still creating the value when the wait timeout ended.
    WaitTimeout(Box<Limit>),
    /// The creation took longer than the [creation timeout](crate::Config::creation_timeout). Its
    /// creator was dropped, and the key is free.
    CreationTimeout(Box<Limit>),
    /// A blocking call had to wait on the thread that everything it could
    /// wait for runs on: inside a current-thread tokio runtime.
    WouldDeadlock(Box<InRegion>),
    /// A multi-creator returned another number of values than it was asked
    /// for. Nothing was stored.
    WrongCount(Box<Counts>),
    /// The store of a collection failed.
    #[cfg(feature = "collections")]
    Collection(Box<CollectionOperation>),
    /// The loader of a collection failed.
    #[cfg(feature = "collections")]
    Load(Box<CollectionLoad>),
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
            Self::NotConfigured(of) => write!(
                f,
                "region `{}` is not configured: call `configure` on it before its first use{}",
                of.region,
                in_tests()
            ),
            Self::AlreadyConfigured(of) => write!(
                f,
                "region `{}` is configured already: to change its backend, ask for it with `Config::replace_existing`; in tests, give each a `dogpile::testing::Scope`",
                of.region
            ),
            Self::NeedsObjects(of) => write!(
                f,
                "region `{}` holds types without serde, but the backend `{}` keeps bytes: use a memory backend, or a `Region` of serializable types",
                of.region, of.backend
            ),
            Self::NearInMemory(of) => write!(
                f,
                "region `{}` asks for a near tier, but the backend `{}` keeps its values in this process's memory: leave the near tier out",
                of.region, of.backend
            ),
            Self::Backend(of) => {
                write!(f, "region `{}`: {} failed: {}", of.region, of.operation, of.source)
            }
            Self::WrongType(of) => write!(
                f,
                "region `{}`: key `{}` holds a `{}`, but a `{}` was asked for: give the two kinds of value different keys",
                of.region, of.key, of.stored, of.asked
            ),
            Self::Encode(of) => write!(
                f,
                "region `{}`: the value of `{}` cannot be encoded: {}",
                of.region, of.key, of.source
            ),
            Self::RecursiveCreation(of) => write!(
                f,
                "region `{}`: the creator of `{}` asked for `{}` itself and would wait for itself forever: read what it needs from the source instead",
                of.region, of.key, of.key
            ),
            Self::WaitTimeout(of) => write!(
                f,
                "region `{}`: `{}` was still being created elsewhere after {:?}: raise `wait_timeout`, or make the creator faster",
                of.region, of.key, of.limit
            ),
            Self::CreationTimeout(of) => write!(
                f,
                "region `{}`: creating `{}` took longer than {:?}: raise `creation_timeout`, or make the creator faster",
                of.region, of.key, of.limit
            ),
            Self::WouldDeadlock(of) => write!(
                f,
                "region `{}`: a blocking call would have to wait inside a current-thread runtime, which cannot go on meanwhile: use the async call, `spawn_blocking`, or a multi-thread runtime",
                of.region
            ),
            Self::WrongCount(of) => write!(
                f,
                "region `{}`: the creator was given {} keys and returned {} values: it must return one value per key, in the order of the keys",
                of.region, of.asked, of.returned
            ),
            #[cfg(feature = "collections")]
            Self::Collection(of) => {
                write!(f, "collection `{}`: {} failed: {}", of.collection, of.operation, of.source)
            }
            #[cfg(feature = "collections")]
            Self::Load(of) => {
                write!(f, "collection `{}`: its loader failed: {}", of.collection, of.source)
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Backend(of) => of.source.source(),
            Self::Encode(of) => of.source.source(),
            #[cfg(feature = "collections")]
            Self::Collection(of) => of.source.source(),
            #[cfg(feature = "collections")]
            Self::Load(of) => of.source.source(),
            _ => None,
        }
    }
}

impl Error {
    /// Returns whether a store cannot be reached, or did not answer in time. It may come back.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Backend(of) => of.source.is_unavailable(),
            #[cfg(feature = "collections")]
            Self::Collection(of) => of.source.is_unavailable(),
            _ => false,
        }
    }

    /// Returns whether the call gave up waiting for a creation: another caller's, or its own.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::WaitTimeout { .. } | Self::CreationTimeout { .. })
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

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::io;
    use std::time::Duration;

    use super::*;

    /// A result of a read is copied with what it found.
    #[test]
    fn an_error_takes_two_words() {
        assert!(size_of::<Error>() <= 2 * size_of::<usize>());
    }

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
        Error::Backend(Operation { region: "users".to_owned(), operation: "get", source }.into())
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
        let late =
            CreateError::<()>::Cache(Error::WaitTimeout(Limit { region, key, limit }.into()));
        assert!(late.is_timeout() && !late.is_unavailable());
    }
}
