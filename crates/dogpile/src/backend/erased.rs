//! The object-safe trait under [`AnyBackend`](super::AnyBackend), which boxes the futures of the
//! public one.

use std::future::Future;
use std::pin::Pin;

use super::{BackendError, Changed, Claimed, Commit, Wanted, Watch};
use crate::key::Mangler;
use crate::lock::{AnyMutex, Lease};
use crate::value::Entry;

/// The future of an erased operation.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;

/// The object-safe form of a backend whose changes are ordered.
pub(crate) trait ErasedBackend: Send + Sync {
    fn name(&self) -> String;
    fn keeps_objects(&self) -> bool;
    fn is_shared(&self) -> bool;
    fn get<'a>(&'a self, key: &'a str) -> Boxed<'a, Option<Entry>>;
    fn get_now(&self, key: &str) -> Option<Result<Option<Entry>, BackendError>>;
    fn set<'a>(&'a self, key: &'a str, entry: Entry) -> Boxed<'a, ()>;
    fn delete<'a>(&'a self, key: &'a str) -> Boxed<'a, ()>;
    fn get_multi<'a>(&'a self, keys: &'a [&'a str]) -> Boxed<'a, Vec<Option<Entry>>>;
    fn set_multi<'a>(&'a self, entries: &'a [(&'a str, Entry)]) -> Boxed<'a, ()>;
    fn delete_multi<'a>(&'a self, keys: &'a [&'a str]) -> Boxed<'a, ()>;
    fn mutex(&self) -> Option<AnyMutex>;
    fn claim<'a>(&'a self, keys: Vec<Wanted<'a>>) -> Boxed<'a, Vec<Claimed>>;
    fn commit<'a>(&'a self, changes: Vec<Commit<'a>>) -> Boxed<'a, Vec<bool>>;
    fn release(&self, leases: Vec<Lease>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
    fn watch(&self, key: &str, changed: Changed) -> Option<Watch>;
    fn recommended_mangler(&self) -> Option<Mangler>;
}
