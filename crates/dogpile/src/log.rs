//! All events that the crate logs. Without the feature `tracing` they vanish.
//!
//! Keys appear escaped and cut, values never. What happens on every miss is
//! debug; what needs somebody's attention is warn or error.

#![cfg_attr(not(feature = "tracing"), allow(unused))]

use std::time::Duration;

use crate::error::{BackendError, shown};

macro_rules! event {
    ($level:ident, $($rest:tt)+) => {
        #[cfg(feature = "tracing")]
        tracing::event!(target: "dogpile", tracing::Level::$level, $($rest)+)
    };
}

pub(crate) fn no_value(region: &str, key: &str) {
    event!(DEBUG, region, key = %Lazy(key), "no value present for {}", Lazy(key));
}

pub(crate) fn version_changed(region: &str, key: &str, version: u32) {
    event!(DEBUG, region, key = %Lazy(key), version, "value version changed");
}

pub(crate) fn hard_invalidated(region: &str, key: &str) {
    event!(DEBUG, region, key = %Lazy(key), "hard invalidation detected");
}

pub(crate) fn unreadable(region: &str, key: &str, why: &dyn std::fmt::Display) {
    event!(WARN, region, key = %Lazy(key), %why, "stored value cannot be read and counts as missing");
}

pub(crate) fn generated(region: &str, keys: &[&str], took: Duration) {
    event!(
        DEBUG,
        region,
        seconds = took.as_secs_f64(),
        "value generated in {:.3} seconds for {}",
        took.as_secs_f64(),
        KeyList(keys)
    );
}

/// A creator returned an error. In the background nobody else learns of it.
pub(crate) fn creator_failed(region: &str, keys: &[&str], why: &str) {
    event!(WARN, region, why, "the creator failed for {}", KeyList(keys));
}

/// A background creation came to nothing by an error of the cache.
pub(crate) fn failed_in_background(region: &str, keys: &[&str], why: &dyn std::fmt::Display) {
    event!(WARN, region, %why, "creation in the background failed for {}", KeyList(keys));
}

/// A client library asks for the cryptography of the whole process.
#[cfg(all(feature = "redis", feature = "tls"))]
pub(crate) fn cryptography_chosen(server: &str) {
    event!(INFO, server, "ring was installed as rustls's provider for the process");
}

pub(crate) fn not_stored(region: &str, key: &str, why: &dyn std::fmt::Display) {
    event!(WARN, region, key = %Lazy(key), %why, "value was created but not stored");
}

pub(crate) fn outdated(region: &str, key: &str) {
    event!(
        DEBUG,
        region,
        key = %Lazy(key),
        "the key was changed or invalidated while its value was created: not stored"
    );
}

pub(crate) fn deleted_late(region: &str, keys: &[&str]) {
    event!(INFO, region, "deleted after a failure: {}", KeyList(keys));
}

pub(crate) fn deletion_given_up(region: &str, key: &str) {
    event!(
        WARN,
        region,
        key = %Lazy(key),
        "a deletion that failed waits with too many others: the whole region is invalidated in their place"
    );
}

#[cfg(feature = "near")]
pub(crate) fn near_by_age(region: &str) {
    event!(
        WARN,
        region,
        "the server tells the near tier of no changes: its copies are read again by their age alone"
    );
}

pub(crate) fn invalidates_alone(region: &str) {
    event!(
        WARN,
        region,
        "invalidated in this process only, although others share the backend: configure `shared_invalidation` to reach them"
    );
}

#[cfg(feature = "serialized")]
pub(crate) fn invalidation_ignored(key: &str, seconds: f64) {
    event!(
        WARN,
        key = %Lazy(key),
        seconds,
        "a stored invalidation lies in the future and is ignored: check the clocks of all machines"
    );
}

pub(crate) fn lease_lost(region: &str, key: &str) {
    event!(
        WARN,
        region,
        key = %Lazy(key),
        "the lock was lost, or the value changed by others, before this one was created: not stored, theirs stays"
    );
}

/// The first of a series is a warning; one for each call would bury
/// everything else while a server is away.
pub(crate) fn backend_failed(
    region: &str,
    operation: &'static str,
    error: &BackendError,
    first: bool,
) {
    if first {
        event!(WARN, region, operation, %error, "backend failed; going on without it");
    } else {
        event!(DEBUG, region, operation, %error, "backend failed again; going on without it");
    }
}

#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) fn server_lost(server: &str, why: &str) {
    event!(WARN, server, why, "server cannot be reached; trying again and again");
}

#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) fn server_found(server: &str, attempts: u32) {
    event!(INFO, server, attempts, "server can be reached again");
}

#[cfg(feature = "file")]
pub(crate) fn file_moved_aside(path: &std::path::Path, aside: &std::path::Path, why: &str) {
    event!(
        WARN,
        path = %path.display(),
        aside = %aside.display(),
        why,
        "cache file is damaged: moved aside, beginning an empty one"
    );
}

pub(crate) fn running_uncached(region: &str, why: &dyn std::fmt::Display) {
    event!(WARN, region, %why, "running the creator uncached");
}

pub(crate) fn operation(
    operation: &'static str,
    key: &str,
    outcome: Result<&'static str, &BackendError>,
    took: Duration,
) {
    #[cfg(feature = "tracing")]
    match outcome {
        Ok(outcome) => {
            tracing::debug!(target: "dogpile::backend", operation, key, outcome, ?took);
        }
        Err(error) => {
            tracing::warn!(target: "dogpile::backend", operation, key, %error, ?took);
        }
    }
}

#[cfg(feature = "collections")]
pub(crate) fn collection_loaded(
    collection: &str,
    took: Duration,
    failed: Option<&(dyn std::error::Error + Send + Sync)>,
) {
    let seconds = took.as_secs_f64();
    match failed {
        None => {
            event!(INFO, collection, seconds, "collection loaded in {seconds:.3} seconds");
        }
        Some(error) => {
            event!(WARN, collection, seconds, %error, "the collection's loader failed");
        }
    }
}

#[cfg(feature = "collections")]
pub(crate) fn collection_pushed(collection: &str, revision: u64, bytes: u64, took: Duration) {
    event!(INFO, collection, revision, bytes, seconds = took.as_secs_f64(), "collection pushed");
}

#[cfg(feature = "collections")]
pub(crate) fn collection_pulled(collection: &str, revision: u64, bytes: u64, took: Duration) {
    event!(INFO, collection, revision, bytes, seconds = took.as_secs_f64(), "collection pulled");
}

#[cfg(feature = "collections")]
pub(crate) fn collection_unreadable(collection: &str, revision: u64, why: &str) {
    event!(
        WARN,
        collection,
        revision,
        why,
        "the stored data of the collection cannot be read: if their shape has changed, change the version"
    );
}

#[cfg(feature = "collections")]
pub(crate) fn collection_gone(collection: &str, revision: u64, why: &str) {
    event!(
        WARN,
        collection,
        revision,
        why,
        "the stored revision of the collection is not whole: it is loaded again"
    );
}

#[cfg(feature = "collections")]
pub(crate) fn collection_lease_lost(collection: &str) {
    event!(
        WARN,
        collection,
        "the lock was lost before the collection was stored: its successor's data stay"
    );
}

#[cfg(feature = "collections")]
pub(crate) fn collection_in_step(collection: &str, revision: u64) {
    event!(INFO, collection, revision, "the collection is in step with its store");
}

/// As with backends, the first of a series is a warning.
#[cfg(feature = "collections")]
pub(crate) fn collection_out_of_step(collection: &str, error: &dyn std::fmt::Display, first: bool) {
    if first {
        event!(WARN, collection, %error, "the collection cannot be kept in step; serving what is there");
    } else {
        event!(DEBUG, collection, %error, "the collection still cannot be kept in step");
    }
}

/// `work` in the span that creators run in.
#[cfg(feature = "tracing")]
pub(crate) fn in_creation_span<F: Future>(
    region: &str,
    keys: &[&str],
    work: F,
) -> impl Future<Output = F::Output> + use<F> {
    use tracing::Instrument;
    let span = tracing::debug_span!(target: "dogpile", "create", region, keys = %KeyList(keys));
    work.instrument(span)
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn in_creation_span<F: Future>(_region: &str, _keys: &[&str], work: F) -> F {
    work
}

/// A key that is only prepared for a message that is really wanted.
struct Lazy<'a>(&'a str);

impl std::fmt::Display for Lazy<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&shown(self.0))
    }
}

/// Keys of one creation, cut in the middle at about 300 characters.
struct KeyList<'a>(&'a [&'a str]);

impl std::fmt::Display for KeyList<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const MOST: usize = 300;
        // Enough from either end to fill the message, however many there are.
        let some = MOST / 2;
        let keys = self.0;
        let ends = if keys.len() > 2 * some {
            [&keys[..some], &keys[keys.len() - some..]].concat()
        } else {
            keys.to_vec()
        };
        let text = ends.iter().map(|key| shown(key)).collect::<Vec<_>>().join(", ");
        let length = text.chars().count();
        if length <= MOST {
            return f.write_str(&text);
        }
        let head: String = text.chars().take(MOST / 2).collect();
        let tail: String = text.chars().skip(length - MOST / 2).collect();
        write!(f, "{head} … {tail}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_key_list_is_cut_in_the_middle() {
        let keys: Vec<String> = (0..1_000_000).map(|n| format!("key-{n}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let text = KeyList(&keys).to_string();
        assert!(text.chars().count() < 310);
        assert!(text.starts_with("key-0, key-1,") && text.ends_with("key-999999"));
        assert_eq!(KeyList(&["a", "b\n"]).to_string(), "a, b\\n");
    }
}
