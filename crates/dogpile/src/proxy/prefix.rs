//! Puts a prefix before every key, locks included.

use std::borrow::Cow;

use super::{Layer, Transform, Transforming};
use crate::backend::AnyBackend;

/// Puts a prefix before every key on its way to the backend, so that several
/// applications can share one server. What was mangled before is prefixed
/// after it; the keys of the backend's mutex are too.
#[derive(Debug, Clone)]
pub struct KeyPrefix(String);

impl KeyPrefix {
    /// The proxy that puts `prefix` before keys.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self(prefix.into())
    }
}

impl Transform for KeyPrefix {
    fn name(&self) -> &'static str {
        "KeyPrefix"
    }

    fn key<'k>(&self, key: &'k str) -> Cow<'k, str> {
        Cow::Owned(format!("{}{key}", self.0))
    }
}

impl Layer for KeyPrefix {
    // So only programs that use it compile what it is made of.
    #[inline]
    fn layer(self, inner: AnyBackend) -> AnyBackend {
        Transforming(self).layer(inner)
    }
}
