//! The result of a call: the value alone, or with its origin, with or
//! without the faults of the cache.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use crate::clock::{Timestamp, system_time};
use crate::error::{Error, Failure};
use crate::lock::Status;

/// A value and how it came about.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Lookup<T> {
    /// The value.
    pub value: T,
    /// Whether it was a hit, stale, created and so on.
    pub status: Status,
    /// The age when the call returned; zero if it was created.
    pub age: Duration,
}

/// A value as it is stored, with when it was made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stored<T> {
    /// The value.
    pub value: T,
    /// When its creation ended, in epoch seconds: `ct` on the wire.
    pub ct: Timestamp,
    /// Its age at the time of the call; zero for a creation time in the
    /// future.
    pub age: Duration,
}

impl<T> Stored<T> {
    /// When its creation ended.
    pub fn cached_time(&self) -> SystemTime {
        system_time(self.ct)
    }
}

/// `now - ct`, where a negative age is none.
pub(crate) fn age(now: Timestamp, ct: Timestamp) -> Duration {
    Duration::try_from_secs_f64((now - ct).max(0.0)).unwrap_or_default()
}

/// The answer of the engine; a [`Lookup`] is built from it on demand.
#[doc(hidden)]
#[derive(Debug)]
pub struct Answer<T> {
    pub(crate) value: T,
    pub(crate) status: Status,
    pub(crate) ct: Timestamp,
    pub(crate) now: Timestamp,
}

impl<T> Answer<T> {
    /// A value made past the cache.
    pub(crate) fn uncached(value: T) -> Self {
        Self { value, status: Status::Uncached, ct: 0.0, now: 0.0 }
    }

    fn into_lookup(self) -> Lookup<T> {
        let age = match self.status {
            Status::Created | Status::Uncached => Duration::ZERO,
            _ => age(self.now, self.ct),
        };
        Lookup { value: self.value, status: self.status, age }
    }
}

/// The form of the results of an [`Entry`](crate::Entry)'s creating calls. There are
/// four shapes, chosen by [`detailed`](crate::Entry::detailed) and
/// [`strict`](crate::Entry::strict):
///
/// | shape | `get_or_create` | `try_get_or_create` |
/// |---|---|---|
/// | [`Plain`] | `T` | `Result<T, E>` |
/// | [`Strict`] | `Result<T, Error>` | `Result<T, Failure<E>>` |
/// | [`Detailed`] | `Lookup<T>` | `Result<Lookup<T>, E>` |
/// | [`StrictDetailed`] | `Result<Lookup<T>, Error>` | `Result<Lookup<T>, Failure<E>>` |
pub trait Shape: sealed::Sealed + Send + Sync + 'static {
    /// The result of `get_or_create`.
    type One<T>;
    /// The result of `try_get_or_create`.
    type Tried<T, E>;
    #[doc(hidden)]
    const STRICT: bool;
    #[doc(hidden)]
    fn one<T>(result: Result<Answer<T>, Failure<Infallible>>) -> Self::One<T>;
    #[doc(hidden)]
    fn tried<T, E>(result: Result<Answer<T>, Failure<E>>) -> Self::Tried<T, E>;
}

/// The value alone; a fault of the cache runs the creator.
#[derive(Debug, Clone, Copy)]
pub struct Plain;

/// The value alone; a fault of the cache is an error.
#[derive(Debug, Clone, Copy)]
pub struct Strict;

/// The value and how it came about; a fault of the cache runs the creator.
#[derive(Debug, Clone, Copy)]
pub struct Detailed;

/// The value and how it came about; a fault of the cache is an error.
#[derive(Debug, Clone, Copy)]
pub struct StrictDetailed;

/// The creator's side of a call that survives faults of the cache.
fn without_faults<T, E>(result: Result<Answer<T>, Failure<E>>) -> Result<Answer<T>, E> {
    match result {
        Ok(answer) => Ok(answer),
        Err(Failure::Creator(error)) => Err(error),
        Err(Failure::Cache(_)) => unreachable!("a plain call survives the cache's faults"),
    }
}

/// The cache's side of a call whose creator cannot fail.
fn without_failures<T>(result: Result<Answer<T>, Failure<Infallible>>) -> Result<Answer<T>, Error> {
    result.map_err(|failure| match failure {
        Failure::Cache(error) => error,
    })
}

impl Shape for Plain {
    type One<T> = T;
    type Tried<T, E> = Result<T, E>;
    const STRICT: bool = false;

    fn one<T>(result: Result<Answer<T>, Failure<Infallible>>) -> T {
        let Ok(answer) = without_faults(result);
        answer.value
    }

    fn tried<T, E>(result: Result<Answer<T>, Failure<E>>) -> Result<T, E> {
        without_faults(result).map(|answer| answer.value)
    }
}

impl Shape for Detailed {
    type One<T> = Lookup<T>;
    type Tried<T, E> = Result<Lookup<T>, E>;
    const STRICT: bool = false;

    fn one<T>(result: Result<Answer<T>, Failure<Infallible>>) -> Lookup<T> {
        let Ok(answer) = without_faults(result);
        answer.into_lookup()
    }

    fn tried<T, E>(result: Result<Answer<T>, Failure<E>>) -> Result<Lookup<T>, E> {
        without_faults(result).map(Answer::into_lookup)
    }
}

impl Shape for Strict {
    type One<T> = Result<T, Error>;
    type Tried<T, E> = Result<T, Failure<E>>;
    const STRICT: bool = true;

    fn one<T>(result: Result<Answer<T>, Failure<Infallible>>) -> Result<T, Error> {
        without_failures(result).map(|answer| answer.value)
    }

    fn tried<T, E>(result: Result<Answer<T>, Failure<E>>) -> Result<T, Failure<E>> {
        result.map(|answer| answer.value)
    }
}

impl Shape for StrictDetailed {
    type One<T> = Result<Lookup<T>, Error>;
    type Tried<T, E> = Result<Lookup<T>, Failure<E>>;
    const STRICT: bool = true;

    fn one<T>(result: Result<Answer<T>, Failure<Infallible>>) -> Result<Lookup<T>, Error> {
        without_failures(result).map(Answer::into_lookup)
    }

    fn tried<T, E>(result: Result<Answer<T>, Failure<E>>) -> Result<Lookup<T>, Failure<E>> {
        result.map(Answer::into_lookup)
    }
}

/// The strict form of a shape.
pub trait IntoStrict: Shape {
    /// The same, with faults of the cache as errors.
    type Strict: Shape;
}

/// The detailed form of a shape.
pub trait IntoDetailed: Shape {
    /// The same, with how the value came about.
    type Detailed: Shape;
}

impl IntoStrict for Plain {
    type Strict = Strict;
}

impl IntoStrict for Detailed {
    type Strict = StrictDetailed;
}

impl IntoDetailed for Plain {
    type Detailed = Detailed;
}

impl IntoDetailed for Strict {
    type Detailed = StrictDetailed;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Plain {}
    impl Sealed for super::Strict {}
    impl Sealed for super::Detailed {}
    impl Sealed for super::StrictDetailed {}
}
