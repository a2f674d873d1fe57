//! Details of each kind of [`Error`](super::Error), in a box there: an error is rare, and a result that
//! holds a wide one is copied with each value that is found.

use std::time::Duration;

use super::backend::BackendError;
use crate::codec::CodecError;

/// An error of a whole region.
#[derive(Debug)]
pub struct InRegion {
    /// The region's name.
    pub region: String,
}

/// An error of a region together with the backend that it was to have.
#[derive(Debug)]
pub struct WithBackend {
    /// The region's name.
    pub region: String,
    /// The backend's name.
    pub backend: String,
}

/// An operation of a region in which its backend failed.
#[derive(Debug)]
pub struct Operation {
    /// The region's name.
    pub region: String,
    /// The operation that failed: `get`, `set_multi`, `lock` and so on.
    pub operation: &'static str,
    /// The backend's error.
    pub source: BackendError,
}

/// A value of another type than was asked for.
#[derive(Debug)]
pub struct Types {
    /// The region's name.
    pub region: String,
    /// The key, fit for a message.
    pub key: String,
    /// The type that is stored.
    pub stored: &'static str,
    /// The type that was asked for.
    pub asked: &'static str,
}

/// A value that its codec could not turn into bytes.
#[derive(Debug)]
pub struct Unencodable {
    /// The region's name.
    pub region: String,
    /// The key, fit for a message.
    pub key: String,
    /// The codec's error.
    pub source: CodecError,
}

/// An error of one key.
#[derive(Debug)]
pub struct AtKey {
    /// The region's name.
    pub region: String,
    /// The key, fit for a message.
    pub key: String,
}

/// A limit of time that a key has reached.
#[derive(Debug)]
pub struct Limit {
    /// The region's name.
    pub region: String,
    /// The key, fit for a message.
    pub key: String,
    /// The limit.
    pub limit: Duration,
}

/// Another number of values than of keys.
#[derive(Debug)]
pub struct Counts {
    /// The region's name.
    pub region: String,
    /// The number of keys that the creator was given.
    pub asked: usize,
    /// The number of values that came back.
    pub returned: usize,
}

/// An operation of a collection in which its store failed.
#[cfg(feature = "collections")]
#[derive(Debug)]
pub struct CollectionOperation {
    /// The collection's name.
    pub collection: String,
    /// The operation that failed: `open`, `pull`, `push` and so on.
    pub operation: &'static str,
    /// The store's error.
    pub source: BackendError,
}

/// A load of a collection in which its loader failed.
#[cfg(feature = "collections")]
#[derive(Debug)]
pub struct CollectionLoad {
    /// The collection's name.
    pub collection: String,
    /// The loader's own error.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}
