//! Any backend behind one type: [`AnyBackend`].

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

#[cfg(feature = "collections")]
use super::CollectionStore;
use super::erased::{Erased, ErasedBackend};
#[cfg(feature = "serialized")]
use super::inspect::Inspect;
use super::{
    Backend, BackendError, Changed, Claimed, Commit, Follower, IfChanged, Keeps, Looked, Ordered,
    Version, Wanted, Watch,
};
use crate::key::Mangler;
use crate::lock::{AnyMutex, Lease};
use crate::value::{Entry, Object};

/// A backend of any type, proxies around it included. Clones share it.
///
/// Its operations are those of [`Backend`]; what a [proxy](crate::proxy)
/// passes its calls on to is one of these.
#[derive(Clone)]
pub struct AnyBackend {
    outermost: Arc<dyn ErasedBackend>,
    /// The same for reads that need not wait, past the order of changes, which they do not touch.
    reads: Arc<dyn ErasedBackend>,
    /// The backend inside all proxies.
    actual: Arc<dyn std::any::Any + Send + Sync>,
    /// There are none, nor anything else around it.
    #[cfg(feature = "memory")]
    is_bare: bool,
    /// The way to look into that one.
    #[cfg(feature = "serialized")]
    inspect: Option<Arc<dyn Inspect>>,
    #[cfg(feature = "collections")]
    collections: Option<Arc<dyn CollectionStore>>,
    /// The proxy that collections would go past.
    #[cfg(feature = "collections")]
    withheld_by: Option<String>,
}

impl AnyBackend {
    /// Erases the type of `backend`.
    pub fn new<B: Backend>(backend: B) -> Self {
        let actual = Arc::new(backend);
        #[cfg(feature = "serialized")]
        let inspect = actual.inspect();
        #[cfg(feature = "collections")]
        let collections = actual.collections();
        let erased = Erased { backend: actual.clone(), keeps_objects: B::Keeps::OBJECTS };
        let outermost: Arc<dyn ErasedBackend> = Arc::new(erased);
        let (orders_changes, reads) = (actual.orders_changes(), outermost.clone());
        Self {
            reads,
            outermost: if orders_changes { outermost } else { Arc::new(Ordered::new(outermost)) },
            actual,
            #[cfg(feature = "memory")]
            is_bare: true,
            #[cfg(feature = "serialized")]
            inspect,
            #[cfg(feature = "collections")]
            collections,
            #[cfg(feature = "collections")]
            withheld_by: None,
        }
    }

    /// `outer` around `self`.
    pub(crate) fn within(self, outer: impl ErasedBackend + 'static) -> Self {
        let outermost: Arc<dyn ErasedBackend> = Arc::new(outer);
        Self {
            reads: outermost.clone(),
            outermost,
            #[cfg(feature = "memory")]
            is_bare: false,
            ..self
        }
    }

    /// The same without collections, which `proxy` cannot treat as it treats values.
    #[cfg(feature = "collections")]
    pub(crate) fn without_collections(mut self, proxy: &str) -> Self {
        self.withheld_by.get_or_insert_with(|| proxy.to_owned());
        self
    }

    /// The backend inside all proxies, if it is a `B`.
    pub fn actual<B: Backend>(&self) -> Option<&B> {
        self.actual.downcast_ref()
    }

    /// Returns the backend, if it is a `B` with nothing around it: reads may go there directly.
    #[cfg(feature = "memory")]
    pub(crate) fn bare<B: Backend>(&self) -> Option<Arc<B>> {
        if self.is_bare { self.actual.clone().downcast().ok() } else { None }
    }

    /// Does a claim read what is stored before it takes anything, in the one round trip of a look, with nothing
    /// around the backend that would see no look?
    #[cfg_attr(not(feature = "redis"), expect(clippy::unused_self, reason = "no other does"))]
    pub(crate) fn claims_as_it_looks(&self) -> bool {
        #[cfg(feature = "redis")]
        return self.is_bare && self.actual().is_some_and(super::Redis::claims_as_it_looks);
        #[cfg(not(feature = "redis"))]
        false
    }

    /// The way to look into the backend inside all proxies, if it has one.
    #[cfg(feature = "serialized")]
    pub fn inspect(&self) -> Option<&dyn Inspect> {
        self.inspect.as_deref()
    }

    /// Returns the store of [collections](crate::collections) of the backend inside all
    /// proxies. `None` if it has none, and around it a proxy that does more than
    /// [observe](crate::proxy::Proxy::only_observes): collections would go past that.
    #[cfg(feature = "collections")]
    pub fn collections(&self) -> Option<Arc<dyn CollectionStore>> {
        self.collections.clone().filter(|_| self.withheld_by.is_none())
    }

    /// The error of who needs collections where there are none.
    #[cfg(feature = "collections")]
    pub(crate) fn keeps_no_collections(&self) -> BackendError {
        let name = self.name();
        BackendError::refused(match (&self.collections, &self.withheld_by) {
            (Some(_), Some(proxy)) => format!(
                "collections would go past the proxy `{proxy}` of the backend `{name}`: open them over the backend without it"
            ),
            _ => format!("the backend `{name}` keeps no collections: use Redis or a file"),
        })
    }

    /// The name of the backend, proxies around it included.
    pub fn name(&self) -> String {
        self.outermost.name()
    }

    /// Does it keep live objects? Otherwise bytes.
    pub fn keeps_objects(&self) -> bool {
        self.outermost.keeps_objects()
    }

    /// See [`Backend::get`].
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, BackendError> {
        self.outermost.get(key).await
    }

    /// See [`Backend::get_now`].
    pub fn get_now(&self, key: &str) -> Option<Result<Option<Entry>, BackendError>> {
        self.reads.get_now(key)
    }

    /// See [`Backend::look_now`].
    #[inline]
    pub(crate) fn look_now(&self, key: &str, look: &mut dyn FnMut(&Object) -> bool) -> Looked {
        self.reads.look_now(key, look)
    }

    /// See [`Backend::set`].
    pub async fn set(&self, key: &str, entry: Entry) -> Result<(), BackendError> {
        self.outermost.set(key, entry).await
    }

    /// See [`Backend::delete`].
    pub async fn delete(&self, key: &str) -> Result<(), BackendError> {
        self.outermost.delete(key).await
    }

    /// See [`Backend::get_multi`]. An answer of another length than `keys` is
    /// an error.
    pub async fn get_multi(&self, keys: &[&str]) -> Result<Vec<Option<Entry>>, BackendError> {
        let entries = self.outermost.get_multi(keys).await?;
        same_length(keys.len(), entries)
    }

    /// See [`Backend::set_multi`].
    pub async fn set_multi(&self, entries: &[(&str, Entry)]) -> Result<(), BackendError> {
        self.outermost.set_multi(entries).await
    }

    /// See [`Backend::delete_multi`].
    pub async fn delete_multi(&self, keys: &[&str]) -> Result<(), BackendError> {
        self.outermost.delete_multi(keys).await
    }

    /// See [`Backend::mutex`].
    pub fn mutex(&self) -> Option<AnyMutex> {
        self.outermost.mutex()
    }

    /// Claims keys for creations; see [`Backend::claim`]. Works over every backend.
    pub async fn claim(&self, keys: Vec<Wanted<'_>>) -> Result<Vec<Claimed>, BackendError> {
        let asked = keys.len();
        let claims = self.outermost.claim(keys).await?;
        same_length(asked, claims)
    }

    /// Makes changes under claims; see [`Backend::commit`].
    pub async fn commit(&self, changes: Vec<Commit<'_>>) -> Result<Vec<bool>, BackendError> {
        let asked = changes.len();
        let made = self.outermost.commit(changes).await?;
        same_length(asked, made)
    }

    /// Gives up claims; see [`Backend::release`].
    pub async fn release(&self, leases: Vec<Lease>) {
        self.outermost.release(leases).await;
    }

    /// See [`Backend::is_shared`].
    pub fn is_shared(&self) -> bool {
        self.outermost.is_shared()
    }

    /// See [`Backend::watch`].
    pub fn watch(&self, key: &str, changed: Changed) -> Option<Watch> {
        self.outermost.watch(key, changed)
    }

    /// See [`Backend::follow`].
    pub fn follow(&self, follower: Arc<dyn Follower>) -> Option<Watch> {
        self.outermost.follow(follower)
    }

    /// See [`Backend::get_if_changed`].
    pub async fn get_if_changed(
        &self,
        key: &str,
        since: Option<Version>,
    ) -> Result<IfChanged, BackendError> {
        self.outermost.get_if_changed(key, since).await
    }

    /// Returns the key by which followers are told of changes to `key`: proxies may change it.
    pub fn told_as<'k>(&self, key: &'k str) -> Cow<'k, str> {
        self.outermost.told_as(key)
    }

    /// See [`Backend::recommended_mangler`].
    pub fn recommended_mangler(&self) -> Option<Mangler> {
        self.outermost.recommended_mangler()
    }
}

/// A backend's or proxy's own mistake must not shift one key's value to
/// another.
fn same_length<T>(asked: usize, answers: Vec<T>) -> Result<Vec<T>, BackendError> {
    if answers.len() == asked {
        return Ok(answers);
    }
    let answered = answers.len();
    Err(BackendError::other(format!("the backend answered {answered} times for {asked} keys")))
}

impl<B: Backend> From<B> for AnyBackend {
    fn from(backend: B) -> Self {
        Self::new(backend)
    }
}

impl fmt::Debug for AnyBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyBackend({})", self.name())
    }
}
