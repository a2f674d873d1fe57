//! Tests for backends of the [`dogpile`] cache, and what tests of code over a
//! cache need.
//!
//! - [`mod@conformance`]: what every backend must do. An author of a backend runs all of it with one line:
//!
//!   ```
//!   use dogpile::backend::{AnyBackend, Memory};
//!
//!   dogpile_testkit::conformance!(memory, async || AnyBackend::new(Memory::new(100_000)).into());
//!   # fn main() {}
//!   ```
//!
//! - [`collections_conformance!`]: the same for collections.
//! - [`fleet`]: races between processes.
//! - [`servers`]: real servers on free ports.
//! - [`ManualClock`] and [`Faults`]: from [`dogpile::testing`], where a
//!   [`Scope`](dogpile::testing::Scope) gives each test a cache of its own.
//! - `lockers`: which processes hold a lock on a file.

pub mod conformance;
pub mod fleet;
#[cfg(target_os = "linux")]
mod lockers;
pub mod servers;

pub use dogpile::testing::{Fault, Faults, ManualClock, Operation};
#[cfg(target_os = "linux")]
pub use lockers::lockers;
