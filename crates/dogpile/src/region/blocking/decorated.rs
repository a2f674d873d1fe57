//! The calls of decorated functions that are not async.

use std::convert::Infallible;

use super::Region;
use crate::__macro::Key;
use crate::region::kind::{Cacheable, Kind};
use crate::region::lookup::{Answer, Plain, Shape};

#[doc(hidden)]
impl<K: Kind> Region<'_, K> {
    /// See [`get_or_create`](Self::get_or_create).
    pub fn get_or_create_decorated<T: Cacheable<K>>(
        self,
        key: &Key,
        creator: impl FnOnce() -> T + Send,
    ) -> T {
        if let Some(hit) = self.region.value_now(key.asked()) {
            return hit;
        }
        let created = self.entry(key.as_str()).create(|| Ok::<_, Infallible>(creator()));
        Plain::one(created.map(Answer::into_value))
    }

    /// See [`try_get_or_create`](Self::try_get_or_create).
    pub fn try_get_or_create_decorated<T: Cacheable<K>, E: Send>(
        self,
        key: &Key,
        creator: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E> {
        if let Some(hit) = self.region.value_now(key.asked()) {
            return Ok(hit);
        }
        Plain::tried(self.entry(key.as_str()).create(creator).map(Answer::into_value))
    }
}
