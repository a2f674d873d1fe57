//! Looking into a backend from outside: what the `dogpile` command asks.
//! Regions never do.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde_json::Value;

use super::BackendError;

/// The future of an inspection.
pub type Inspecting<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;

/// What can be asked of a backend that can list what it holds. Keys are as
/// they are stored: mangled, and past any proxies.
pub trait Inspect: Send + Sync + 'static {
    /// Up to `limit` keys that begin with `prefix`; the following ones when
    /// the last answer's [`next`](KeyPage::next) is handed in as `after`.
    ///
    /// Keys that come or go meanwhile may be listed or not.
    fn keys<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Inspecting<'a, KeyPage>;

    /// The creation locks that are held now.
    fn locks(&self) -> Inspecting<'_, Vec<HeldLock>>;

    /// Facts about the store, in the order in which to show them: names in
    /// `snake_case`, with their unit at the end (`_bytes`, `_seconds`).
    fn info(&self) -> Inspecting<'_, Vec<(&'static str, Value)>>;

    /// Removes all values. Locks stay.
    fn clear(&self) -> Inspecting<'_, ()>;
}

/// Some of the keys of a backend.
#[derive(Debug, Clone, Default)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<KeyInfo>,
    /// Where the next page begins; `None` if this was the last one.
    pub next: Option<String>,
}

/// A stored key.
#[derive(Debug, Clone)]
pub struct KeyInfo {
    /// The key. What is no UTF-8 is replaced.
    pub key: String,
    /// The size of its value in bytes, header included, where it is known.
    pub value_bytes: Option<u64>,
}

/// A creation lock that somebody holds.
#[derive(Debug, Clone)]
pub struct HeldLock {
    /// The key, perhaps cut.
    pub key: String,
    /// Who holds it, in words.
    pub holder: String,
    /// For how long, where that is known.
    pub age: Option<Duration>,
}
