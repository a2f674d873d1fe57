//! Metadata beyond what this crate says of each value, as it stands in the header of its bytes.

use std::sync::Arc;

use super::Metadata;

/// The header keys of proxies that change payloads: they are gone once that is undone.
pub(crate) const COMPRESSED: &str = "z";
/// See [`COMPRESSED`].
pub(crate) const ENCRYPTED: &str = "k";

/// Metadata beyond `ct` and `v`: what proxies and other writers put beside
/// them.
pub type Extra = serde_json::Map<String, serde_json::Value>;

impl Metadata {
    /// The extra header key `name`.
    pub fn extra(&self, name: &str) -> Option<&serde_json::Value> {
        self.extra.as_deref()?.get(name)
    }

    /// Returns what a proxy has done to the payload and nobody has undone.
    pub(crate) fn left_undone(&self) -> Option<&'static str> {
        let is_left = |name| self.extra(name).is_some_and(serde_json::Value::is_string);
        let done = [(COMPRESSED, "compressed"), (ENCRYPTED, "encrypted")];
        done.into_iter().find(|(name, _)| is_left(name)).map(|(_, what)| what)
    }

    /// The same metadata with the extra header key `name` set.
    #[must_use]
    pub fn with_extra(mut self, name: &str, value: serde_json::Value) -> Self {
        let mut extra = self.extra.as_deref().cloned().unwrap_or_default();
        extra.insert(name.to_owned(), value);
        self.extra = Some(Arc::new(extra));
        self
    }

    /// The same metadata without the extra header key `name`.
    #[must_use]
    pub fn without_extra(mut self, name: &str) -> Self {
        if self.extra(name).is_some() {
            let mut extra = self.extra.as_deref().cloned().unwrap_or_default();
            extra.remove(name);
            self.extra = (!extra.is_empty()).then(|| Arc::new(extra));
        }
        self
    }
}
