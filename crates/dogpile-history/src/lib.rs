//! The history checker: does a cache keep its promises while processes change, read,
//! stop and die around it?
//!
//! ```text
//!   run        one run: starts all that takes part, and has its log checked
//!   plan       what a run consists of: backend, change, disturbance, seed
//!   servers    the servers of a run, and the proxies before them
//!   fleet      the worker processes, seen from outside
//!   disturb    what happens to processes, servers and connections meanwhile
//!   worker     a worker process: random calls, each of them logged
//!   cache      opening the region under test
//!   by_hand    copies as services keep them by hand, to compare with
//!   sabotage   backends that are broken on purpose
//!   database   the versions that the cached rows come from
//!   record     what is logged of a call, and how it is written
//!   check      pure functions over the log: what was broken?
//!   promises   what may be broken where
//!   report     the outcome for people and for programs
//! ```
//!
//! Each key has a version in the database that only grows. A change bumps it, then tells
//! the cache. Each value says which version it was read at, so a value that is older than a
//! change gives itself away.

mod by_hand;
pub mod cache;
pub mod check;
pub mod clock;
pub mod database;
mod disturb;
mod fleet;
pub mod plan;
pub mod promises;
pub mod random;
pub mod record;
pub mod report;
pub mod run;
pub mod sabotage;
mod servers;
pub mod worker;
