//! Logs every operation of a backend, with how long it took.

use std::future::Future;
use std::time::Instant;

use super::Proxy;
use crate::backend::{AnyBackend, BackendError};
use crate::error::shown;
use crate::log;
use crate::value::Entry;

/// Logs each operation at debug level under the target `dogpile::backend`,
/// with its key, what came of it and how long it took; failures at warn
/// level. Payloads are never logged.
///
/// Without the `tracing` feature it does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Logging;

async fn logged<T>(
    operation: &'static str,
    key: &str,
    work: impl Future<Output = Result<T, BackendError>> + Send,
    describe: impl FnOnce(&T) -> &'static str,
) -> Result<T, BackendError> {
    let began = Instant::now();
    let result = work.await;
    let outcome = result.as_ref().map(describe);
    log::operation(operation, &shown(key), outcome, began.elapsed());
    result
}

#[expect(clippy::ref_option, reason = "it describes the operation's result as it is")]
fn hit_or_miss(found: &Option<Entry>) -> &'static str {
    if found.is_some() { "hit" } else { "miss" }
}

fn count(keys: usize) -> String {
    format!("{keys} keys")
}

impl Proxy for Logging {
    fn only_observes(&self) -> bool {
        true
    }

    async fn get(&self, next: &AnyBackend, key: &str) -> Result<Option<Entry>, BackendError> {
        logged("get", key, next.get(key), hit_or_miss).await
    }

    fn get_now(&self, next: &AnyBackend, key: &str) -> Option<Result<Option<Entry>, BackendError>> {
        let began = Instant::now();
        let result = next.get_now(key)?;
        log::operation("get", &shown(key), result.as_ref().map(hit_or_miss), began.elapsed());
        Some(result)
    }

    async fn set(&self, next: &AnyBackend, key: &str, entry: Entry) -> Result<(), BackendError> {
        logged("set", key, next.set(key, entry), |()| "done").await
    }

    async fn delete(&self, next: &AnyBackend, key: &str) -> Result<(), BackendError> {
        logged("delete", key, next.delete(key), |()| "done").await
    }

    async fn get_multi(
        &self,
        next: &AnyBackend,
        keys: &[&str],
    ) -> Result<Vec<Option<Entry>>, BackendError> {
        logged("get_multi", &count(keys.len()), next.get_multi(keys), |_| "done").await
    }

    async fn set_multi(
        &self,
        next: &AnyBackend,
        entries: &[(&str, Entry)],
    ) -> Result<(), BackendError> {
        logged("set_multi", &count(entries.len()), next.set_multi(entries), |()| "done").await
    }

    async fn delete_multi(&self, next: &AnyBackend, keys: &[&str]) -> Result<(), BackendError> {
        logged("delete_multi", &count(keys.len()), next.delete_multi(keys), |()| "done").await
    }
}
