//! Tests for backends of the [`dogpile`] cache, and what tests of code over a
//! cache need.
//!
//! - [`mod@conformance`]: what every backend must do, derived from dogpile's
//!   behaviour contract. An author of a backend runs all of it with one line:
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
//! - [`ManualClock`]: time that moves when a test says so.
//! - `lockers`: which processes hold a lock on a file.
//! - [`Faults`]: a proxy that fails, holds up, loses or corrupts operations.

mod clock;
pub mod conformance;
mod faults;
pub mod fleet;
#[cfg(target_os = "linux")]
mod lockers;
pub mod servers;

pub use clock::ManualClock;
pub use faults::{Fault, Faults, Operation};
#[cfg(target_os = "linux")]
pub use lockers::lockers;
