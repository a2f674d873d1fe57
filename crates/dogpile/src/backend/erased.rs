//! The object-safe trait under [`AnyBackend`](super::AnyBackend), which boxes the futures of the
//! public one.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::{
    Backend, BackendError, Changed, Claimed, Commit, Follower, IfChanged, Looked, Version, Wanted,
    Watch,
};
use crate::key::Mangler;
use crate::lock::{AnyMutex, Lease};
use crate::value::{Entry, Object};

/// The future of an erased operation.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;

/// The object-safe form of a backend.
pub(crate) trait ErasedBackend: Send + Sync {
    fn name(&self) -> String;
    fn keeps_objects(&self) -> bool;
    fn is_shared(&self) -> bool;
    fn get<'a>(&'a self, key: &'a str) -> Boxed<'a, Option<Entry>>;
    fn get_now(&self, key: &str) -> Option<Result<Option<Entry>, BackendError>>;
    fn look_now(&self, _key: &str, _look: &mut dyn FnMut(&Object) -> bool) -> Looked {
        Looked::UNKNOWN
    }
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
    fn follow(&self, follower: Arc<dyn Follower>) -> Option<Watch>;
    fn get_if_changed<'a>(&'a self, key: &'a str, since: Option<Version>) -> Boxed<'a, IfChanged>;
    /// The key by which followers are told of changes to `key`.
    fn told_as<'k>(&self, key: &'k str) -> Cow<'k, str>;
    fn recommended_mangler(&self) -> Option<Mangler>;
}

/// A backend of a known type, behind the trait.
pub(crate) struct Erased<B> {
    pub(crate) backend: Arc<B>,
    pub(crate) keeps_objects: bool,
}

impl<B: Backend> ErasedBackend for Erased<B> {
    fn name(&self) -> String {
        self.backend.name().to_owned()
    }

    fn keeps_objects(&self) -> bool {
        self.keeps_objects
    }

    fn is_shared(&self) -> bool {
        self.backend.is_shared()
    }

    fn get<'a>(&'a self, key: &'a str) -> Boxed<'a, Option<Entry>> {
        Box::pin(self.backend.get(key))
    }

    #[inline]
    fn get_now(&self, key: &str) -> Option<Result<Option<Entry>, BackendError>> {
        self.backend.get_now(key)
    }

    fn look_now(&self, key: &str, look: &mut dyn FnMut(&Object) -> bool) -> Looked {
        self.backend.look_now(key, look)
    }

    fn set<'a>(&'a self, key: &'a str, entry: Entry) -> Boxed<'a, ()> {
        Box::pin(self.backend.set(key, entry))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Boxed<'a, ()> {
        Box::pin(self.backend.delete(key))
    }

    fn get_multi<'a>(&'a self, keys: &'a [&'a str]) -> Boxed<'a, Vec<Option<Entry>>> {
        Box::pin(self.backend.get_multi(keys))
    }

    fn set_multi<'a>(&'a self, entries: &'a [(&'a str, Entry)]) -> Boxed<'a, ()> {
        Box::pin(self.backend.set_multi(entries))
    }

    fn delete_multi<'a>(&'a self, keys: &'a [&'a str]) -> Boxed<'a, ()> {
        Box::pin(self.backend.delete_multi(keys))
    }

    fn mutex(&self) -> Option<AnyMutex> {
        self.backend.mutex()
    }

    fn claim<'a>(&'a self, keys: Vec<Wanted<'a>>) -> Boxed<'a, Vec<Claimed>> {
        Box::pin(self.backend.claim(keys))
    }

    fn commit<'a>(&'a self, changes: Vec<Commit<'a>>) -> Boxed<'a, Vec<bool>> {
        Box::pin(self.backend.commit(changes))
    }

    fn release(&self, leases: Vec<Lease>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.backend.release(leases))
    }

    fn watch(&self, key: &str, changed: Changed) -> Option<Watch> {
        self.backend.watch(key, changed)
    }

    fn follow(&self, follower: Arc<dyn Follower>) -> Option<Watch> {
        self.backend.follow(follower)
    }

    fn get_if_changed<'a>(&'a self, key: &'a str, since: Option<Version>) -> Boxed<'a, IfChanged> {
        Box::pin(self.backend.get_if_changed(key, since))
    }

    fn told_as<'k>(&self, key: &'k str) -> Cow<'k, str> {
        self.backend.told_as(key)
    }

    fn recommended_mangler(&self) -> Option<Mangler> {
        self.backend.recommended_mangler()
    }
}
