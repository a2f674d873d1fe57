//! The backend that keeps nothing: caching switched off without
//! touching the code that uses it.

use super::{Backend, BackendError, KeepsObjects};
use crate::value::Entry;

/// Every read is a miss, every write is dropped.
///
/// The creation lock stays on: callers that were waiting when a creation
/// began take its value.
#[derive(Debug, Clone, Copy, Default)]
pub struct Null;

impl Backend for Null {
    type Keeps = KeepsObjects;

    async fn get(&self, _key: &str) -> Result<Option<Entry>, BackendError> {
        Ok(None)
    }

    fn get_now(&self, _key: &str) -> Option<Result<Option<Entry>, BackendError>> {
        Some(Ok(None))
    }

    async fn set(&self, _key: &str, _entry: Entry) -> Result<(), BackendError> {
        Ok(())
    }

    async fn delete(&self, _key: &str) -> Result<(), BackendError> {
        Ok(())
    }
}

#[cfg(feature = "config")]
impl super::Named for Null {
    const NAMES: &'static [&'static str] = &["null"];

    fn from_arguments(
        _name: &str,
        _arguments: &mut crate::settings::Arguments,
    ) -> Result<Self, crate::settings::ConfigError> {
        Ok(Self)
    }
}
