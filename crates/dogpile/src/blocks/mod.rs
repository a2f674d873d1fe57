//! Building blocks for code that has its own use for them: mutexes and a registry. The library itself
//! uses none of them. They are public in [`lock`](crate::lock).
//!
//! ```text
//!   rw         a read/write mutex
//!   reentrant  a mutex that a thread can take for several keys
//!   registry   one live object per name
//! ```

mod reentrant;
mod registry;
mod rw;

pub use reentrant::{AlreadyHeld, KeyReentrantGuard, KeyReentrantMutex};
pub use registry::NameRegistry;
pub use rw::{ReadWriteGuard, ReadWriteMutex};
