//! Tests for authors of backends of the [`dogpile`] cache.
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
//! - [`tcp`]: a proxy before a server that injects the faults of a network.
//! - [`ManualClock`] and [`Faults`]: from [`dogpile::testing`], where a
//!   [`Scope`](dogpile::testing::Scope) gives each test a cache of its own.

#![forbid(unsafe_code)]

pub mod conformance;
pub mod tcp;

pub use dogpile::testing::{Fault, Faults, ManualClock, Operation};
