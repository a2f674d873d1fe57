//! Tools for the tests of a service: a cache of their own, time that they move, faults on demand.
//!
//! Regions are statics, and tests run in parallel in one process. In a [`Scope`] every region is
//! another one: empty, in memory, with its own configuration, statistics and clock. The code
//! under test stays as it is.
//!
//! ```
//! use std::time::Duration;
//! use dogpile::testing::Scope;
//! use dogpile::{Region, cached};
//!
//! static USERS: Region = Region::new("users");
//!
//! #[cached(region = USERS, expiration = "5m")]
//! async fn load_user(id: u64) -> String {
//!     format!("user {id}") // a slow query
//! }
//!
//! // #[tokio::test]
//! async fn a_user_is_read_again_after_five_minutes() {
//!     let cache = Scope::new().enter(); // until it is dropped
//!
//!     load_user(42).await;
//!     load_user(42).await;
//!     assert_eq!(USERS.statistics().creations, 1);
//!
//!     cache.advance(Duration::from_secs(301));
//!     load_user(42).await;
//!     assert_eq!(USERS.statistics().creations, 2);
//! }
//! # pollster::block_on(a_user_is_read_again_after_five_minutes());
//! ```
//!
//! The feature belongs among the dependencies of tests, where it costs the service nothing:
//!
//! ```toml
//! [dev-dependencies]
//! dogpile = { version = "0.1", features = ["testing"] }
//! ```
//!
//! The chapter [`guide::testing`](crate::guide::testing) has
//! examples of all of it.

mod clock;
mod faults;
mod scope;
pub(crate) mod used;

pub use clock::ManualClock;
pub use faults::{Fault, Faults, Operation};
pub use scope::{Entered, InScope, Scope};
