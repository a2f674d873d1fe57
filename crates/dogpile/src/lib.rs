//! A cache that survives its own expiry: one caller recomputes, everyone else keeps going.
//!
//! When a popular entry expires (its TTL is over), every request that needs it misses at the same moment, and
//! each runs the same slow query: a *cache stampede*, a *thundering herd*, a *dogpile*. Here one
//! caller per key runs the query. All others get the previous value meanwhile
//! (*stale-while-revalidate*). If there is none, they wait for the one that is being computed
//! (*single-flight*).
//!
//! ```
//! use std::time::Duration;
//! use dogpile::{Config, Region, backend::Memory};
//!
//! static USERS: Region = Region::new("users");
//!
//! # async fn slow_query(id: u64) -> String { format!("user {id}") }
//! # pollster::block_on(async {
//! USERS.configure(Config::new(Memory::new(10_000)).expiration(Duration::from_secs(300)))?;
//! let name: String = USERS.get_or_create("user:42", || slow_query(42)).await;
//! # assert_eq!(name, "user 42");
//! # Ok::<(), dogpile::Error>(())
//! # }).unwrap();
//! ```
//!
//! # A tour
//!
//! - A [`Region`] is a cache: usually a `static`, given its backend and
//!   settings by [`configure`](Region::configure) with a [`Config`]. Its calls
//!   are async; [`blocking`](Region::blocking) has the same for other code.
//! - The attribute `cached` (with the feature `macros`) caches what a function returns;
//!   `cached_multi` is for functions of many keys.
//! - [`get_or_create`](Region::get_or_create) is the call to know;
//!   [`try_get_or_create`](Region::try_get_or_create) takes creators that can
//!   fail, [`get_or_create_multi`](Region::get_or_create_multi) many keys.
//!   [`entry`](Region::entry) begins a call with options of its own, and
//!   [`keyspace`](Region::keyspace) keeps one function's keys and type together.
//! - [`backend`] holds the places to keep values and the trait for others,
//!   [`proxy`] what can be put around them, [`codec`] how values become bytes,
//!   [`key`] how keys are changed on the way.
//! - `config` (with the feature of that name) turns settings into
//!   configurations.
//! - [`invalidation`] is about whole regions, [`stats`] about what happened.
//! - `collections` (with the feature of that name) keeps whole tables in every
//!   process, in step.
//! - `testing` (with the feature of that name, for tests only) gives each test a cache of its
//!   own, and a clock that it moves.
//! - [`lock`] is the dogpile lock itself, for use without a cache.
//!
//! The [`guide`] has a chapter for each subject. To begin with:
//! [getting started](guide::getting_started), [keys and values](guide::keys),
//! [expiry and invalidation](guide::expiry), [cached functions](guide::functions),
//! [errors and outages](guide::errors), [settings](guide::settings), and
//! [testing a service](guide::testing).
//!
//! # Which types
//!
//! A value's type is chosen by the call. A plain [`Region`] holds types that
//! are `Clone`, have serde's traits and own their data; over backends that keep
//! objects nothing is serialized all the same. A [`Region<InMemory>`](InMemory) holds
//! any `Clone` type, and the compiler keeps it from backends that keep bytes. A
//! [`Region<Encoded>`](Encoded) holds values that are bytes already.
//! Every hit clones the value. Wrap values that are expensive to clone in an `Arc`.
//!
//! # When things go wrong
//!
//! A creator's error goes to its caller, unchanged and uncached, and one of
//! the waiters takes over. The same happens after a panic, or when the future is dropped. On a
//! backend error plain calls run the creator, and [strict](Entry::strict) ones return an
//! [`Error`]. A stored value that cannot be read is a miss.
//!
//! # When the process ends
//!
//! Locks on servers have leases. When a process ends while it is creating, the waiters wait for
//! the end of its lease. A process that calls [`shutdown`] at its end delays nobody.
//!
//! # After a fork
//!
//! A process that was forked from one that has used the cache starts afresh. It has threads,
//! connections and file handles of its own. No caller in it waits for creations of its parent,
//! and its parent's locks stand. Values in memory are there. A call that was interrupted by the
//! fork stores nothing in the child. A runtime with a hook for forks spares the system some questions:
//! see [`announce_forks`] and [`before_fork`]. Three limits remain:
//!
//! - A cache file: see `backend::File` (with the feature `file`).
//! - A tokio runtime of the parent's has no threads, and a connection that the application has
//!   opened is its parent's: start others.
//! - A lock in memory that another thread held just then stays locked, such as one within the
//!   map of [`backend::Memory`]; they are held for less than a microsecond.
//!
//! # Features
//!
//! | feature | |
//! |---|---|
//! | `macros` (default) | the attributes `cached` and `cached_multi`, the derive macro `KeyPart` |
//! | `memory` (default) | `Memory`, the bounded backend in memory |
//! | `rc` (default) | `Arc` and `Rc` in plain regions |
//! | `tokio` (default) | the default background runner, blocking calls inside of a runtime |
//! | `file` | values in a file that processes share |
//! | `redis` | values on Redis or Valkey servers |
//! | `memcached` | values on memcached servers |
//! | `serialized` (with these three) | values as bytes: the codecs, `SerializedMemory`, backends of your own that keep bytes, shared invalidation |
//! | `near` (with these three) | a near tier in front of a backend, also one of your own |
//! | `tls` | TLS to these servers |
//! | `collections` | whole tables kept in every process |
//! | `config`, `toml` | settings from text maps and the environment; from TOML |
//! | `msgpack`, `pickle` | the codecs `MessagePack` and `Pickle` |
//! | `sha1` | the key mangler `sha1` |
//! | `compression`, `encryption` | the proxies `Compression` and `Encryption` |
//! | `metrics`, `tracing` | counters and events for these crates |
//! | `testing` | for tests: a cache of its own for each, a clock to move, faults |

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "macros")]
#[doc(hidden)]
#[path = "decorated/mod.rs"]
pub mod __macro;
/// For executors that block a thread, as another language's.
#[doc(hidden)]
pub mod __bridge {
    pub use crate::bridge::{first_look, poll_blocking};
}
#[doc(hidden)]
#[path = "scope.rs"]
pub mod __scope;
pub mod backend;
pub mod blocking;
mod blocks;
mod bridge;
pub mod clock;
pub mod codec;
#[cfg(feature = "collections")]
pub mod collections;
#[cfg(feature = "config")]
pub mod config;
mod delay;
pub mod error;
mod finish;
mod fork;
mod freshness;
#[cfg(any(
    doc,
    all(
        doctest,
        feature = "collections",
        feature = "file",
        feature = "memcached",
        feature = "msgpack",
        feature = "redis",
        feature = "testing",
        feature = "toml",
    )
))]
pub mod guide;
pub mod invalidation;
pub mod key;
pub mod lock;
mod log;
#[cfg(feature = "near")]
mod near;
mod process;
pub mod proxy;
pub mod region;
#[cfg(any(feature = "collections", feature = "redis", feature = "memcached"))]
mod remote;
#[cfg(feature = "config")]
mod settings;
mod shutdown;
pub mod stats;
mod sync;
mod tally;
#[cfg(feature = "testing")]
pub mod testing;
mod token;
#[cfg(any(feature = "config", feature = "redis", feature = "memcached"))]
mod url;
pub mod value;

/// Caches what a function returns, by its arguments (Python's
/// `cache_on_arguments`).
///
#[doc = include_str!("../docs/cached.md")]
#[cfg(feature = "macros")]
#[doc(alias = "cache_on_arguments")]
pub use dogpile_macros::cached;
/// Caches what a function returns for each of many keys (Python's `cache_multi_on_arguments`).
///
#[doc = include_str!("../docs/cached_multi.md")]
#[cfg(feature = "macros")]
#[doc(alias = "cache_multi_on_arguments")]
pub use dogpile_macros::cached_multi;
pub use error::{CreateError, Error, Result};
pub use fork::{after_fork, after_fork_in_parent, before_fork};
pub use lock::Status;
#[cfg(feature = "near")]
pub use near::Near;
pub use process::announce_forks;
#[cfg(feature = "serialized")]
pub use region::Encoded;
pub use region::{
    Begun, CachedValue, Config, Creation, Early, Entries, Entry, EntryOptions, Expiration,
    InMemory, Keyspace, Lookup, Region, Serialized,
};
pub use shutdown::shutdown;

#[cfg(all(doctest, feature = "file", feature = "toml"))]
#[doc = include_str!("../../../README.md")]
struct ReadmeExamples;
