//! The results of calls: a value alone, with its origin, or with its metadata; with or without
//! the errors of the cache.

use std::any::Any;
use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::clock::{Timestamp, system_time};
use crate::error::{CreateError, Error};
use crate::lock::Status;

/// A value and its origin, as [`Entry::lookup`](crate::Entry::lookup) returns it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Lookup<T> {
    /// The value.
    pub value: T,
    /// The origin: a hit, stale, created and so on.
    pub status: Status,
    /// The age when the call returned; zero if it was created.
    pub age: Duration,
}

/// A stored value with its creation time, as
/// [`Region::get_with_metadata`](crate::Region::get_with_metadata) returns it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CachedValue<T> {
    /// The value.
    pub value: T,
    /// The end of its creation, in epoch seconds: `ct` on the wire.
    pub ct: Timestamp,
    /// Its age at the time of the call; zero for a creation time in the
    /// future.
    pub age: Duration,
}

impl<T> CachedValue<T> {
    /// Returns the end of its creation.
    pub fn cached_time(&self) -> SystemTime {
        system_time(self.ct)
    }
}

/// `now - ct`, where a negative age is none.
pub(crate) fn age(now: Timestamp, ct: Timestamp) -> Duration {
    Duration::try_from_secs_f64((now - ct).max(0.0)).unwrap_or_default()
}

/// The answer of the engine; a [`Lookup`] is built from it on demand.
#[derive(Debug, Clone)]
pub(crate) struct Answer<T> {
    pub(crate) value: T,
    pub(crate) status: Status,
    pub(crate) ct: Timestamp,
    pub(crate) now: Timestamp,
}

impl<T> Answer<T> {
    /// A value created past the cache.
    pub(crate) fn uncached(value: T) -> Self {
        Self { value, status: Status::Uncached, ct: 0.0, now: 0.0 }
    }

    pub(crate) fn into_value(self) -> T {
        self.value
    }

    pub(crate) fn into_lookup(self) -> Lookup<T> {
        let age = match self.status {
            Status::Created | Status::Uncached => Duration::ZERO,
            _ => age(self.now, self.ct),
        };
        Lookup { value: self.value, status: self.status, age }
    }
}

/// The results of an [`Entry`](crate::Entry)'s creating calls: with or without the errors of the
/// cache. [`Entry::strict`](crate::Entry::strict) changes it from [`Plain`] to [`Strict`].
///
/// | shape | `get_or_create` | `try_get_or_create` | `lookup` | `try_lookup` |
/// |---|---|---|---|---|
/// | [`Plain`] | `T` | `Result<T, E>` | `Lookup<T>` | `Result<Lookup<T>, E>` |
/// | [`Strict`] | `Result<T, Error>` | `Result<T, CreateError<E>>` | `Result<Lookup<T>, Error>` | `Result<Lookup<T>, CreateError<E>>` |
pub trait Shape: Fails<Infallible> + Send + Sync + 'static {
    /// The result of a call whose creator cannot fail.
    type One<T>;
    /// The result of a call whose creator can fail.
    type Tried<T, E>;
    /// The same with the errors of the cache.
    type WithErrors: Shape;
    #[doc(hidden)]
    const STRICT: bool;
    #[doc(hidden)]
    fn one<T>(result: Result<T, CreateError<Infallible>>) -> Self::One<T>;
    #[doc(hidden)]
    fn tried<T, E>(result: Result<T, CreateError<E>>) -> Self::Tried<T, E>;
}

/// Errors `E` of a creator, as the calls of a [`Shape`] take them: any that are `Send`, and for
/// [`Sharing`] calls those that can be cloned.
pub trait Fails<E>: sealed::Sealed {
    #[doc(hidden)]
    const SHARES: bool;
    /// Returns a copy for those who wait for the creation that failed.
    #[doc(hidden)]
    fn share(error: &E) -> Option<Arc<dyn Any + Send + Sync>>;
    /// Returns the error that was shared, if it is of this type.
    #[doc(hidden)]
    fn shared(error: &(dyn Any + Send + Sync)) -> Option<E>;
}

/// Does a call take this shared error as its own?
pub(crate) type Takes = fn(&(dyn Any + Send + Sync)) -> bool;

/// Returns how calls of the shape `S` with errors `E` know errors that they share, if they do.
pub(crate) fn takes<S: Fails<E>, E>() -> Option<Takes> {
    S::SHARES.then_some(|error| S::shared(error).is_some())
}

macro_rules! keeps_its_errors {
    ($shape:ty) => {
        impl<E: Send> Fails<E> for $shape {
            const SHARES: bool = false;

            fn share(_error: &E) -> Option<Arc<dyn Any + Send + Sync>> {
                None
            }

            fn shared(_error: &(dyn Any + Send + Sync)) -> Option<E> {
                None
            }
        }
    };
}

keeps_its_errors!(Plain);
keeps_its_errors!(Strict);

impl<S: Shape, E: Clone + Send + Sync + 'static> Fails<E> for Sharing<S> {
    const SHARES: bool = true;

    fn share(error: &E) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(Arc::new(error.clone()))
    }

    fn shared(error: &(dyn Any + Send + Sync)) -> Option<E> {
        error.downcast_ref().cloned()
    }
}

/// A backend error runs the creator.
#[derive(Debug, Clone, Copy)]
pub struct Plain;

/// A backend error is an error of the call.
#[derive(Debug, Clone, Copy)]
pub struct Strict;

/// As `S`, and whoever waits for a creation that fails gets its error. See
/// [`Entry::share_failures`](crate::Entry::share_failures).
#[derive(Debug, Clone, Copy)]
pub struct Sharing<S>(PhantomData<S>);

/// Returns the result of a call that has gone on in spite of backend errors.
fn of_creator<T, E>(result: Result<T, CreateError<E>>) -> Result<T, E> {
    match result {
        Ok(answer) => Ok(answer),
        Err(CreateError::Creator(error)) => Err(error),
        Err(CreateError::Cache(_)) => unreachable!("a plain call goes on without the cache"),
    }
}

impl Shape for Plain {
    type One<T> = T;
    type Tried<T, E> = Result<T, E>;
    type WithErrors = Strict;
    const STRICT: bool = false;

    fn one<T>(result: Result<T, CreateError<Infallible>>) -> T {
        let Ok(value) = of_creator(result);
        value
    }

    fn tried<T, E>(result: Result<T, CreateError<E>>) -> Result<T, E> {
        of_creator(result)
    }
}

impl Shape for Strict {
    type One<T> = Result<T, Error>;
    type Tried<T, E> = Result<T, CreateError<E>>;
    type WithErrors = Self;
    const STRICT: bool = true;

    fn one<T>(result: Result<T, CreateError<Infallible>>) -> Result<T, Error> {
        result.map_err(|failure| match failure {
            CreateError::Cache(error) => error,
        })
    }

    fn tried<T, E>(result: Result<T, CreateError<E>>) -> Result<T, CreateError<E>> {
        result
    }
}

impl<S: Shape> Shape for Sharing<S> {
    type One<T> = S::One<T>;
    type Tried<T, E> = S::Tried<T, E>;
    type WithErrors = Sharing<S::WithErrors>;
    const STRICT: bool = S::STRICT;

    fn one<T>(result: Result<T, CreateError<Infallible>>) -> S::One<T> {
        S::one(result)
    }

    fn tried<T, E>(result: Result<T, CreateError<E>>) -> S::Tried<T, E> {
        S::tried(result)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Plain {}
    impl Sealed for super::Strict {}
    impl<S> Sealed for super::Sharing<S> {}
}
