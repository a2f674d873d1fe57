//! Three ways to answer from the same store: by hand, and by two regions.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dogpile::backend::AnyBackend;
use dogpile::value::{Entry, Payload};
use dogpile::{Config, Region};

use super::phases::Times;
use super::source::Source;
use crate::error::CommandError;

/// The names of all ways.
pub(super) const WAYS: [&str; 3] = ["naive", "dogpile", "resilient"];

/// A way to answer a request.
pub(super) struct Way {
    pub(super) name: &'static str,
    pub(super) source: Arc<Source>,
    cache: Cache,
}

enum Cache {
    /// The code that is often written by hand: look, and if there is nothing fresh, query and
    /// store. A store that is away is a miss.
    Naive {
        store: AnyBackend,
        expiration: Duration,
    },
    Region(Region),
    /// Its creations go on without their callers, who get a stale value where that takes long.
    InBackground(Region),
}

impl Way {
    pub(super) fn new(
        name: &'static str,
        source: Source,
        store: AnyBackend,
        times: Times,
    ) -> Result<Self, CommandError> {
        let expiration = times.expiration();
        let config = Config::over(store.clone()).expiration(expiration);
        let cache = match name {
            "dogpile" => Cache::Region(region(name, config)?),
            // Minutes are seconds here: the pause after a failure is as short as the expiration.
            "resilient" => {
                Cache::InBackground(region(name, config.resilient().retry_after(expiration))?)
            }
            _ => Cache::Naive { store, expiration },
        };
        Ok(Self { name, source: Arc::new(source), cache })
    }

    /// Answers one request for the turnover of a region of the world.
    pub(super) async fn answer(&self, key: &'static str) -> Result<i64, CommandError> {
        match &self.cache {
            Cache::Naive { store, expiration } => {
                let stored_key = format!("{}:{key}", self.name);
                if let Ok(Some(entry)) = store.get(&stored_key).await
                    && let Some(value) = fresh_value(&entry, *expiration)
                {
                    return Ok(value);
                }
                let value = self.source.turnover(key).await?;
                let entry = Entry::bytes(value.to_string().into_bytes(), now());
                // The request is answered all the same.
                let _ = store.set(&stored_key, entry).await;
                Ok(value)
            }
            Cache::Region(region) => {
                region.try_get_or_create(key, || self.source.turnover(key)).await
            }
            Cache::InBackground(region) => {
                let source = self.source.clone();
                let query = move || async move { source.turnover(key).await };
                region.entry(key).try_get_or_create_in_background(query).await
            }
        }
    }
}

fn region(name: &'static str, config: Config) -> Result<Region, CommandError> {
    let region = Region::new(name);
    region.configure(config)?;
    Ok(region)
}

fn fresh_value(entry: &Entry, expiration: Duration) -> Option<i64> {
    let Payload::Bytes(bytes) = &entry.payload else { return None };
    let is_fresh = now() - entry.metadata.ct <= expiration.as_secs_f64();
    std::str::from_utf8(bytes).ok().filter(|_| is_fresh)?.parse().ok()
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
