//! Bytes in this process's memory (Python's `memory_pickle`).

use std::fmt;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::{Backend, BackendError, KeepsBytes};
use crate::value::Entry;

/// The serialized memory backend: it keeps what the codec made of a value, in
/// the wire format, so that no caller can change what is cached. Bounded by
/// count, or by the size of keys and frames in bytes.
pub struct SerializedMemory {
    cache: Cache<Box<str>, Bytes, Weigher>,
}

#[derive(Clone, Copy)]
enum Weigher {
    Count,
    Bytes,
}

impl Weighter<Box<str>, Bytes> for Weigher {
    fn weight(&self, key: &Box<str>, frame: &Bytes) -> u64 {
        match self {
            Self::Count => 1,
            Self::Bytes => (key.len() + frame.len()) as u64,
        }
    }
}

/// The assumed size of a frame when the first allocation is sized.
const USUAL_BYTES: u64 = 1024;

impl SerializedMemory {
    /// A backend for at most `max_entries` values. Zero keeps nothing.
    pub fn new(max_entries: usize) -> Self {
        Self { cache: Cache::with_weighter(max_entries, max_entries as u64, Weigher::Count) }
    }

    /// A backend for at most `max_bytes` of keys and frames.
    pub fn bounded_by_bytes(max_bytes: u64) -> Self {
        let entries = usize::try_from(max_bytes / USUAL_BYTES).unwrap_or(usize::MAX).min(1 << 20);
        Self { cache: Cache::with_weighter(entries, max_bytes, Weigher::Bytes) }
    }

    fn lookup(&self, key: &str) -> Option<Entry> {
        self.cache.get(key).as_ref().map(Entry::from_frame)
    }
}

impl fmt::Debug for SerializedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SerializedMemory").field("len", &self.cache.len()).finish()
    }
}

impl Backend for SerializedMemory {
    type Keeps = KeepsBytes;

    async fn get(&self, key: &str) -> Result<Option<Entry>, BackendError> {
        Ok(self.lookup(key))
    }

    fn get_now(&self, key: &str) -> Option<Result<Option<Entry>, BackendError>> {
        Some(Ok(self.lookup(key)))
    }

    async fn set(&self, key: &str, entry: Entry) -> Result<(), BackendError> {
        let Some(frame) = entry.to_frame() else {
            return Err(BackendError::refused("this backend keeps bytes, not objects"));
        };
        self.cache.insert(key.into(), frame);
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        self.cache.remove(key);
        Ok(())
    }
}

#[cfg(feature = "config")]
impl super::Named for SerializedMemory {
    const NAMES: &'static [&'static str] = &["memory_pickle"];

    fn from_arguments(
        name: &str,
        arguments: &mut crate::settings::Arguments,
    ) -> Result<Self, crate::settings::ConfigError> {
        let max_entries = arguments.take("max_entries")?;
        match (arguments.take("max_bytes")?, max_entries) {
            (Some(max_bytes), None) => Ok(Self::bounded_by_bytes(max_bytes)),
            (None, max_entries) => {
                Ok(Self::new(max_entries.unwrap_or(super::memory::DEFAULT_ENTRIES)))
            }
            (Some(_), Some(_)) => {
                let error = BackendError::other("give it `max_entries` or `max_bytes`, not both");
                Err(crate::settings::ConfigError::of_backend(name, &error))
            }
        }
    }
}
