//! The guide, chapter by chapter.
//!
//! | chapter | about |
//! |---|---|
//! | [`getting_started`] | the first region, and what a call does |
//! | [`keys`] | keys and values: keyspaces, generators, manglers, types, codecs |
//! | [`expiry`] | expiry, staleness, retention, invalidation |
//! | [`functions`] | attributes on functions, and the companions that they get |
//! | [`many_keys`] | one read, one creation and one write for many keys |
//! | [`errors`] | creators that fail, servers that are away, limits on waiting |
//! | [`blocking`] | the same calls for code that is not async |
//! | [`memory`] | values in the process |
//! | [`files`] | one file for all processes of a machine |
//! | [`redis`] | Redis and Valkey: one creation for a fleet |
//! | [`memcached`] | the same over memcached |
//! | [`near`] | popular values of a server from this process's memory, never older than a bound |
//! | [`settings`] | regions and backends from TOML or the environment, with all settings |
//! | [`python`] | sharing values and locks with dogpile.cache |
//! | [`queries`] | results of sqlx, SeaORM and Diesel |
//! | [`tables`] | whole tables in every process |
//! | [`observability`] | statistics, metrics, events, and processes that fork |
//! | [`testing`] | a cache of its own for each test, time that moves, faults |
//! | [`extending`] | backends, proxies, codecs, strategies and runners of your own |
//! | [`guarantees`] | one creation, and nothing older than a change: exactly |
//! | [`command`] | the program `dogpile` |
//! | [`moving`] | coming from moka or cached |
//! | [`from_python`] | coming from dogpile.cache |
//! | [`glossary`] | the words |

#[doc = include_str!("blocking.md")]
pub mod blocking {}
#[doc = include_str!("command.md")]
pub mod command {}
#[doc = include_str!("errors.md")]
pub mod errors {}
#[doc = include_str!("expiry.md")]
pub mod expiry {}
#[doc = include_str!("extending.md")]
pub mod extending {}
#[doc = include_str!("files.md")]
pub mod files {}
#[doc = include_str!("from_python.md")]
pub mod from_python {}
#[doc = include_str!("functions.md")]
pub mod functions {}
#[doc = include_str!("getting_started.md")]
pub mod getting_started {}
#[doc = include_str!("glossary.md")]
pub mod glossary {}
#[doc = include_str!("guarantees.md")]
pub mod guarantees {}
#[doc = include_str!("keys.md")]
pub mod keys {}
#[doc = include_str!("many_keys.md")]
pub mod many_keys {}
#[doc = include_str!("memcached.md")]
pub mod memcached {}
#[doc = include_str!("memory.md")]
pub mod memory {}
#[doc = include_str!("moving.md")]
pub mod moving {}
#[doc = include_str!("near.md")]
pub mod near {}
#[doc = include_str!("observability.md")]
pub mod observability {}
#[doc = include_str!("python.md")]
pub mod python {}
#[doc = include_str!("queries.md")]
pub mod queries {}
#[doc = include_str!("redis.md")]
pub mod redis {}
#[doc = include_str!("settings.md")]
pub mod settings {}
#[doc = include_str!("tables.md")]
pub mod tables {}
#[doc = include_str!("testing.md")]
pub mod testing {}
