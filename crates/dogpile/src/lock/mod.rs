//! The dogpile lock: of all who want a missing or expired value, one creates
//! it, and the blocks it is built of, usable alone.
//!
//! ```text
//!   decision   who creates? a pure function
//!   drive      does what the decision says, for one key or many
//!   keyed      the mutex of this process: per key, with hand-over
//!   mutex      what a wider mutex must offer
//!   creating   notices a creator that asks for its own key
//!   dogpile    the lock for use without a cache
//!   rw         a read/write mutex
//!   reentrant  a mutex that a thread can take for several keys
//!   registry   one live object per name
//! ```
//!
//! A region runs the same driver over its backend and both layers of mutexes.

pub(crate) mod creating;
mod decision;
mod dogpile;
pub(crate) mod drive;
pub(crate) mod keyed;
mod mutex;
mod reentrant;
mod registry;
mod rw;

pub use crate::freshness::{AgeLimits, CLOCK_SKEW, Freshness, freshness};
pub use decision::{Action, MutexState, decide};
pub use dogpile::{CreateError, Lock};
pub use drive::{LockError, OnWaitTimeout, Status};
pub use keyed::KeyedMutex;
#[cfg(feature = "file")]
pub(crate) use keyed::{KeyGuard, Turn};
pub use mutex::{AnyMutex, KeyedLock, Lease, NullMutex};
pub use reentrant::{KeyReentrantGuard, KeyReentrantMutex, RawMutex, ReentrantError, ThreadMutex};
pub use registry::NameRegistry;
pub use rw::{ReadWriteGuard, ReadWriteMutex};
