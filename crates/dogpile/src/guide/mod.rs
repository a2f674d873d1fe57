//! The guide, chapter by chapter.
//!
//! | chapter | about |
//! |---|---|
//! | [`functions`] | attributes on functions, and the companions that they get |
//! | [`regions`] | the calls: one key, many keys, the background, blocking code |
//! | [`errors`] | creators that fail, servers that are away, limits to waiting |
//! | [`settings`] | backends, TTLs and proxies from TOML or the environment |
//! | [`files`] | one file for all processes of a machine |
//! | [`redis`] | Redis and Valkey: one creation for a fleet, shared with Python |
//! | [`memcached`] | the same over memcached |
//! | [`tables`] | whole tables in every process |
//! | [`observability`] | statistics, metrics, events, and processes that fork |
//! | [`testing`] | a cache of its own for each test, time that moves, faults |
//! | [`command`] | the program `dogpile` |
//! | [`guarantees`] | one creation, and nothing older than a change: exactly |
//! | [`moving`] | coming from moka or cached |
//! | [`from_python`] | coming from dogpile.cache |
//! | [`glossary`] | the words |

#[doc = include_str!("command.md")]
pub mod command {}
#[doc = include_str!("errors.md")]
pub mod errors {}
#[doc = include_str!("files.md")]
pub mod files {}
#[doc = include_str!("from_python.md")]
pub mod from_python {}
#[doc = include_str!("functions.md")]
pub mod functions {}
#[doc = include_str!("glossary.md")]
pub mod glossary {}
#[doc = include_str!("guarantees.md")]
pub mod guarantees {}
#[doc = include_str!("memcached.md")]
pub mod memcached {}
#[doc = include_str!("moving.md")]
pub mod moving {}
#[doc = include_str!("observability.md")]
pub mod observability {}
#[doc = include_str!("redis.md")]
pub mod redis {}
#[doc = include_str!("regions.md")]
pub mod regions {}
#[doc = include_str!("settings.md")]
pub mod settings {}
#[doc = include_str!("tables.md")]
pub mod tables {}
#[doc = include_str!("testing.md")]
pub mod testing {}
