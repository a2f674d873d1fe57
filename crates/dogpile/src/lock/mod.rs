//! The dogpile lock: of all who want a missing or expired value, one creates
//! it, and the blocks it is built of, usable alone.
//!
//! ```text
//!   decision   who creates? a pure function
//!   drive      does what the decision says, for one key or many
//!   flight     what the driver asks of keys in a store, and is answered
//!   keyed      the mutex of this process: per key, with hand-over
//!   mutex      what a wider mutex must offer
//!   creator    runs a creator: its limit, its panics
//!   creating   notices a creator that asks for its own key
//!   dogpile    the lock for use without a cache
//! ```
//!
//! A region runs the same driver over its backend and both layers of mutexes.
//!
//! Beside it are blocks for code that has its own use for them: a [`ReadWriteMutex`], a
//! [`KeyReentrantMutex`] and a [`NameRegistry`].

pub(crate) mod creating;
pub(crate) mod creator;
mod decision;
mod dogpile;
pub(crate) mod drive;
pub(crate) mod flight;
pub(crate) mod keyed;
mod mutex;
mod queue;

pub use crate::blocks::{
    AlreadyHeld, KeyReentrantGuard, KeyReentrantMutex, NameRegistry, ReadWriteGuard, ReadWriteMutex,
};
pub use crate::freshness::{AgeLimits, CLOCK_SKEW, Freshness, fallback_after_failure, freshness};
pub(crate) use crate::freshness::{jittered, own_draw, part_of};
pub use decision::{Action, MutexState, decide};
pub use dogpile::{CreateError, Lock};
pub use flight::{LockError, OnWaitTimeout, Status};
pub use keyed::KeyedMutex;
#[cfg(feature = "file")]
pub(crate) use keyed::{KeyGuard, Turn};
pub use mutex::{AnyMutex, KeyedLock, Lease, NullMutex};
