//! The calls of decorated functions: by keys that need not be text before they are stored.

use std::future::Future;

use super::Region;
use super::kind::{Cacheable, Kind};
use super::lookup::{Answer, Plain, Shape};
use crate::__macro::Key;

#[doc(hidden)]
impl<K: Kind> Region<K> {
    /// See [`get_or_create`](Self::get_or_create).
    pub async fn get_or_create_decorated<T, F, Fut>(&self, key: &Key, creator: F) -> T
    where
        T: Cacheable<K>,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = T> + Send,
    {
        if let Some(hit) = self.value_now(key.asked()) {
            return hit;
        }
        let created = Box::pin(self.entry(key.as_str()).create_infallibly(creator)).await;
        Plain::one(created.map(Answer::into_value))
    }

    /// See [`try_get_or_create`](Self::try_get_or_create).
    pub async fn try_get_or_create_decorated<T, E, F, Fut>(
        &self,
        key: &Key,
        creator: F,
    ) -> Result<T, E>
    where
        T: Cacheable<K>,
        E: Send,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        if let Some(hit) = self.value_now(key.asked()) {
            return Ok(hit);
        }
        let created = Box::pin(self.entry(key.as_str()).create(creator)).await;
        Plain::tried(created.map(Answer::into_value))
    }
}
