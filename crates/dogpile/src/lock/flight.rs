//! The driver's view of some keys in a store with a mutex: what it asks of them, and what it is
//! answered.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::creating::Creation;
use super::keyed::Handed;
use crate::error::BackendError;
use crate::freshness::Freshness;

/// An error of the lock itself.
#[derive(Debug)]
#[non_exhaustive]
pub enum LockError {
    /// A creator asked for the key that it is creating.
    RecursiveCreation,
    /// The key was still held elsewhere when the wait timeout ended.
    WaitTimeout {
        /// The limit.
        limit: Duration,
    },
    /// The creation took longer than it may.
    CreationTimeout {
        /// The limit.
        limit: Duration,
    },
    /// The mutex, or the store behind it, failed.
    Mutex(BackendError),
    /// A multi-creator returned another number of values than it was asked
    /// for.
    WrongCount {
        /// The number of keys that it was given.
        asked: usize,
        /// The number of values that came back.
        returned: usize,
    },
}

impl std::fmt::Display for LockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RecursiveCreation => {
                f.write_str("a creator asked for the key that it is creating")
            }
            Self::WaitTimeout { limit } => {
                write!(f, "the key was still being created elsewhere after {limit:?}")
            }
            Self::CreationTimeout { limit } => {
                write!(f, "the creation took longer than {limit:?}")
            }
            Self::Mutex(source) => write!(f, "the mutex failed: {source}"),
            Self::WrongCount { asked, returned } => {
                write!(f, "the creator was given {asked} keys and returned {returned} values")
            }
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Mutex(source) => source.source(),
            _ => None,
        }
    }
}

/// The driver's view of some keys, by their index, in a store with a
/// mutex.
pub(crate) trait Flight: Sync {
    /// A value as callers get it.
    type Value: Clone + Send;
    /// A value as creators return it.
    type Made: Send;
    /// Holding one key.
    type Guard: Send;
    /// The part of the reading that a claim needs to know.
    type Seen: Send;

    /// An error, as this flight's callers know them.
    type Error: Send;
    /// An error of their creators.
    type Failure: Send;

    /// Returns the callers' error for an error of the lock at the key `index`.
    fn error(&self, index: usize, error: LockError) -> Self::Error;

    /// Returns the name of this lock, and its keys.
    fn creation(&self, indexes: &[usize]) -> Creation;

    /// Tries to get the keys without waiting; for each either the guard, with
    /// the certainty that the reading before still holds, or what changed, or
    /// a way to wait.
    fn claim<'s>(
        &'s self,
        keys: &[(usize, &Self::Seen)],
    ) -> impl Future<Output = Result<Vec<Claim<'s, Self>>, Self::Error>> + Send;

    /// Returns the time that a creation may take, from now on.
    fn creation_limit(&self) -> Option<CreationLimit> {
        None
    }

    /// Returns the end of the time after which a stale value is better than waiting on.
    fn soft_limit(&self) -> Option<Timer> {
        None
    }

    /// Does that time have an end? No timer is started.
    fn has_soft_limit(&self) -> bool {
        false
    }

    /// Returns the failure of a creation of the key `index` that is remembered: none is attempted.
    fn remembered(&self, _index: usize, _seen: &Self::Seen) -> Option<Self::Failure> {
        None
    }

    /// The creation of these keys ended without an answer of its creator, for this reason.
    fn note_unanswered(&self, _indexes: &[usize], _why: &str) {}

    /// A creation under this guard begins.
    fn begin(&self, guard: &mut Self::Guard);

    /// Takes the keys from whoever holds them, for creations that wait no longer.
    fn seize(
        &self,
        indexes: &[usize],
    ) -> impl Future<Output = Result<Vec<Self::Guard>, Self::Error>> + Send;

    /// Stores what was created, gives the keys up and hands the values to those
    /// who wait.
    fn finish(
        &self,
        made: Vec<(usize, Self::Guard, Self::Made)>,
    ) -> impl Future<Output = Result<Vec<Self::Value>, Self::Error>> + Send;

    /// Returns what those are handed who wait for a creation that failed so.
    fn shared(&self, _failure: &Self::Failure) -> Option<Handed> {
        None
    }

    /// Gives keys up whose creation failed. Those who wait are handed `shared`, if they take it.
    fn give_up_failed(
        &self,
        failed: Vec<(usize, Self::Guard)>,
        _shared: Option<Handed>,
    ) -> impl Future<Output = ()> + Send {
        self.abandon(failed.into_iter().map(|(_, guard)| guard).collect())
    }

    /// Gives keys up that nothing was created for.
    fn abandon(&self, guards: Vec<Self::Guard>) -> impl Future<Output = ()> + Send;

    /// Returns the time to wait for others; `None` for as long as it takes.
    fn deadline(&self) -> Option<Deadline>;
}

/// A limit to waiting.
pub(crate) struct Deadline {
    pub(crate) timeout: WaitTimeout,
    pub(crate) timer: Timer,
}

/// The end of a time that has begun.
pub(crate) type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The time that a creation may take. Its timer has been started.
pub(crate) struct CreationLimit {
    pub(crate) limit: Duration,
    pub(crate) timer: Timer,
}

/// The limit, and the action that follows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WaitTimeout {
    pub(crate) limit: Duration,
    pub(crate) then: OnWaitTimeout,
}

/// The action of a caller who has waited for another's creation as long as the
/// wait timeout allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnWaitTimeout {
    /// Take a value that may stand in for a failure, if there is one; else give up with an error.
    /// A plain call, which has no place for one, runs
    /// the creator uncached.
    #[default]
    Error,
    /// Take a stale value if there is any, even a hard-invalidated one; else
    /// as [`Error`](Self::Error).
    Stale,
    /// Take the key over and create. The creation that was waited for is not stored
    /// any more. Where the key is held by another program (Python), which it cannot
    /// be taken from, the value is returned and not stored.
    Create,
}

/// The result of a look into the store.
pub(crate) struct Reading<S: Flight + ?Sized> {
    pub(crate) found: Freshness,
    /// The value, even a hard-invalidated one.
    pub(crate) value: Option<S::Value>,
    /// It is not of the store, but of what this process keeps beside it.
    pub(crate) is_kept: bool,
    pub(crate) fallback: Fallback,
    pub(crate) seen: S::Seen,
}

/// The use of a value that is not fresh where its creation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fallback {
    None,
    /// It stands in for a creation that fails.
    OnFailure,
    /// It stands in for one that failed a moment ago: none is attempted now.
    Now,
    /// It stands in as long as the store does not answer: none is attempted now.
    WhileDown,
}

/// The outcome of trying to get a key.
pub(crate) enum Claim<'s, S: Flight + ?Sized> {
    Won(S::Guard),
    /// It is held from other callers of this process alone: the store could not be asked.
    Unclaimed(S::Guard),
    Changed(Reading<S>),
    Held(Waiting<'s, S>),
}

/// Waits for a key held elsewhere.
pub(crate) type Waiting<'s, S> =
    Pin<Box<dyn Future<Output = Result<Waited<S>, <S as Flight>::Error>> + Send + 's>>;

/// The outcome of waiting. A key is won only after another look into the store
/// that found nothing fresh.
pub(crate) enum Waited<S: Flight + ?Sized> {
    Handed(S::Value),
    Won(S::Guard),
    Changed(Reading<S>),
    /// The creation that was waited for has failed, and so does the call.
    Failed(S::Failure),
}

/// The way by which a caller got its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// A fresh value was in the cache.
    Hit,
    /// A fresh value that this process keeps, since the store did not answer, or did not take it.
    /// See [`Config::keep_when_down`](crate::Config::keep_when_down).
    Kept,
    /// A stale value, while somebody creates the new one.
    Stale,
    /// A stale value, since its creation failed, now or a moment ago.
    StaleOnError,
    /// This caller created it.
    Created,
    /// Another caller created it while this one waited.
    Waited,
    /// This caller created it past the cache: the region is not configured,
    /// the cache failed, or the creation took longer than the creation timeout.
    Uncached,
}

/// Why a drive ended without values.
pub(crate) enum Stop<E, F> {
    Creator(E),
    /// The creator was dropped, since it took longer than it may.
    TooSlow(F),
    Error(F),
}

impl<E, F> From<F> for Stop<E, F> {
    fn from(error: F) -> Self {
        Self::Error(error)
    }
}

/// The same of a flight.
pub(crate) type Stopped<S> = Stop<<S as Flight>::Failure, <S as Flight>::Error>;

/// A background for creations that leave the caller's side: takes the creation of the keys
/// that were won away.
pub(crate) type Background<'b, S, C> =
    Box<dyn FnOnce(Vec<(usize, <S as Flight>::Guard)>, C) -> Detached<'b, S> + Send + 'b>;

/// The end of a creation in the background, for a caller who waits for it: the values with the
/// indexes of their keys, of which some may have been taken away meanwhile. `None` if it came to
/// nothing: it was dropped, or it panicked.
pub(crate) type Detached<'b, S> =
    Pin<Box<dyn Future<Output = Option<Result<Indexed<S>, Stopped<S>>>> + Send + 'b>>;

/// Values with the indexes of their keys.
pub(crate) type Indexed<S> = Vec<(usize, <S as Flight>::Value)>;
