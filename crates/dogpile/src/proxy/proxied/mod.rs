//! A proxy around what is inside it, with creations bound to their leases.
//!
//! Users override `get` and `set`; the engine claims and commits. A claim calls the
//! proxy's `get` with a [view](View) of what is inside, whose `get` claims; a commit
//! calls its `set` with one whose `set` commits. The near tier reads by one whose `get` tells versions.
//!
//! The proxy may use other keys inside than outside. So a lease bears the key that it was
//! claimed under, and only that is committed under it, once.

mod view;

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use self::view::{Inside, State, Term, Told, View, claim_inside};
use super::Proxy;
use crate::backend::{
    AnyBackend, Backend, BackendError, Boxed, Changed, ClaimMode, Claimed, Commit, Erased,
    ErasedBackend, Follower, IfChanged, KeepsObjects, Ordered, Seen, Version, Wanted, Watch,
};
use crate::key::Mangler;
use crate::lock::{AnyMutex, Lease, NullMutex};
use crate::value::Entry;

/// `inner` with `proxy` around it.
pub(super) fn layer<P: Proxy>(proxy: P, inner: AnyBackend) -> AnyBackend {
    let keeps_objects = inner.keeps_objects();
    #[cfg(feature = "collections")]
    let inner = if proxy.only_observes() { inner } else { inner.without_collections(proxy.name()) };
    let proxied = Proxied { proxy, next: inner.clone() };
    if proxied.has_own_mutex() {
        let proxied = Erased { backend: Arc::new(proxied), keeps_objects };
        inner.within(Ordered::new(Arc::new(proxied)))
    } else {
        inner.within(Through(proxied))
    }
}

struct Proxied<P> {
    proxy: P,
    next: AnyBackend,
}

impl<P: Proxy> Proxied<P> {
    /// Does the proxy bring another mutex than the one inside? Not if it only hides that:
    /// then changes are ordered as they are inside.
    fn has_own_mutex(&self) -> bool {
        let inside = AnyMutex::new(NullMutex);
        let state = State::Asked(inside.clone());
        let asked = self.proxy.mutex(&View::over(&self.next, state).backend());
        asked.is_some_and(|mutex| !mutex.is(&inside))
    }

    async fn claim(&self, keys: Vec<Wanted<'_>>) -> Result<Vec<Claimed>, BackendError> {
        if self.proxy.only_observes()
            && self.next.mutex().is_none()
            && keys.iter().all(|wanted| wanted.known().is_some())
        {
            // Nothing is read.
            return claim_inside(&self.next, keys).await;
        }
        let asked: Vec<(&str, ClaimMode)> =
            keys.iter().map(|wanted| (wanted.key, wanted.mode)).collect();
        let terms = keys.into_iter().map(Term::from).collect();
        let view = View::over(&self.next, State::Claiming { terms, claims: Vec::new() });
        let inside = view.backend();
        let entries = if let [(key, _)] = asked[..] {
            vec![self.proxy.get(&inside, key).await?]
        } else {
            let keys: Vec<&str> = asked.iter().map(|(key, _)| *key).collect();
            self.proxy.get_multi(&inside, &keys).await?
        };
        let mut claims = view.take_claims().into_iter();
        let mut entries = entries.into_iter();
        let mut claimed = Vec::with_capacity(asked.len());
        for (key, mode) in asked {
            let (claim, entry) = (claims.next(), entries.next().flatten());
            claimed.push(self.seen_through(key, mode, claim, entry).await?);
        }
        Ok(claimed)
    }

    /// The outcome of a claim inside, as the proxy shows it.
    async fn seen_through(
        &self,
        key: &str,
        mode: ClaimMode,
        claim: Option<(Box<str>, Claimed)>,
        entry: Option<Entry>,
    ) -> Result<Claimed, BackendError> {
        let (inside, claim) = claim.unzip();
        let mode = match (claim, entry) {
            // Also what the proxy has answered by itself.
            (Some(Claimed::Changed(_)) | None, Some(entry)) if mode.is_settled_by(Some(&entry)) => {
                return Ok(Claimed::Changed(entry));
            }
            // The proxy hides what is stored, or shows it with another creation time: it is
            // claimed all the same, or the two would ask each other for ever.
            (Some(Claimed::Changed(stored)), _) => ClaimMode::Create(Seen::of(Some(&stored))),
            (Some(claim), _) => return Ok(claim),
            (None, _) => mode,
        };
        let key = inside.as_deref().unwrap_or(key);
        let claims = claim_inside(&self.next, vec![Wanted::new(key, mode)]).await?;
        claims.into_iter().next().ok_or_else(|| BackendError::other("a claim was not answered"))
    }

    /// Reads what has changed, as the proxy shows it. What has not is not shown to the proxy: it could
    /// only take that for missing, and answer or store something else. What the proxy has not read
    /// once, under the key that it says, has no version: nobody would tell of changes.
    async fn get_if_changed(
        &self,
        key: &str,
        since: Option<Version>,
    ) -> Result<IfChanged, BackendError> {
        let inside = self.proxy.key(key).into_owned();
        let mut read = None;
        if since.is_some() {
            match self.next.get_if_changed(&inside, since).await {
                Ok(same @ IfChanged::NotModified { .. }) => return Ok(same),
                other => read = Some(other),
            }
        }
        let view = View::over(&self.next, State::comparing(inside, read));
        let entry = self.proxy.get(&view.backend(), key).await?;
        Ok(match view.take_answers()[..] {
            [Told { version, is_followed }] => IfChanged::Read { entry, version, is_followed },
            _ => IfChanged::Read { entry, version: None, is_followed: false },
        })
    }

    fn told_as<'k>(&self, key: &'k str) -> Cow<'k, str> {
        match self.proxy.key(key) {
            Cow::Borrowed(same) => self.next.told_as(same),
            Cow::Owned(other) => Cow::Owned(self.next.told_as(&other).into_owned()),
        }
    }

    async fn commit(&self, changes: Vec<Commit<'_>>) -> Result<Vec<bool>, BackendError> {
        let mut made = vec![true; changes.len()];
        let mut entries = Vec::new();
        let mut claims = Vec::new();
        let mut places = Vec::new();
        for (place, Commit { key, entry, lease }) in changes.into_iter().enumerate() {
            let claim = lease.into_inner::<Inside>();
            let claim =
                claim.map_err(|_| BackendError::other("lease belongs to a different backend"))?;
            if let Some(entry) = entry {
                entries.push((key, entry));
                claims.push(claim);
                places.push(place);
                continue;
            }
            let view = View::over(&self.next, State::removing(claim));
            self.proxy.delete(&view.backend(), key).await?;
            made[place] = view.take_outcomes().await[0];
        }
        if entries.is_empty() {
            return Ok(made);
        }
        let view = View::over(&self.next, State::storing(claims));
        let stored = match &entries[..] {
            [(key, entry)] => self.proxy.set(&view.backend(), key, entry.clone()).await,
            _ => self.proxy.set_multi(&view.backend(), &entries).await,
        };
        let outcomes = view.take_outcomes().await;
        stored?;
        for (place, outcome) in places.into_iter().zip(outcomes) {
            made[place] = outcome;
        }
        Ok(made)
    }
}

/// A proxy that leaves the mutex alone.
struct Through<P>(Proxied<P>);

impl<P: Proxy> ErasedBackend for Through<P> {
    fn name(&self) -> String {
        format!("{} over {}", self.0.proxy.name(), self.0.next.name())
    }

    fn keeps_objects(&self) -> bool {
        self.0.next.keeps_objects()
    }

    fn is_shared(&self) -> bool {
        self.0.next.is_shared()
    }

    fn get<'a>(&'a self, key: &'a str) -> Boxed<'a, Option<Entry>> {
        Box::pin(self.0.proxy.get(&self.0.next, key))
    }

    fn get_now(&self, key: &str) -> Option<Result<Option<Entry>, BackendError>> {
        self.0.proxy.get_now(&self.0.next, key)
    }

    fn set<'a>(&'a self, key: &'a str, entry: Entry) -> Boxed<'a, ()> {
        Box::pin(self.0.proxy.set(&self.0.next, key, entry))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Boxed<'a, ()> {
        Box::pin(self.0.proxy.delete(&self.0.next, key))
    }

    fn get_multi<'a>(&'a self, keys: &'a [&'a str]) -> Boxed<'a, Vec<Option<Entry>>> {
        Box::pin(self.0.proxy.get_multi(&self.0.next, keys))
    }

    fn set_multi<'a>(&'a self, entries: &'a [(&'a str, Entry)]) -> Boxed<'a, ()> {
        Box::pin(self.0.proxy.set_multi(&self.0.next, entries))
    }

    fn delete_multi<'a>(&'a self, keys: &'a [&'a str]) -> Boxed<'a, ()> {
        Box::pin(self.0.proxy.delete_multi(&self.0.next, keys))
    }

    fn mutex(&self) -> Option<AnyMutex> {
        self.0.proxy.mutex(&self.0.next)
    }

    fn claim<'a>(&'a self, keys: Vec<Wanted<'a>>) -> Boxed<'a, Vec<Claimed>> {
        Box::pin(self.0.claim(keys))
    }

    fn commit<'a>(&'a self, changes: Vec<Commit<'a>>) -> Boxed<'a, Vec<bool>> {
        Box::pin(self.0.commit(changes))
    }

    fn release(&self, leases: Vec<Lease>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.0.next.release(leases.into_iter().filter_map(Inside::unwrapped).collect()))
    }

    fn watch(&self, key: &str, changed: Changed) -> Option<Watch> {
        self.0.proxy.watch(&self.0.next, key, changed)
    }

    fn follow(&self, follower: Arc<dyn Follower>) -> Option<Watch> {
        self.0.next.follow(follower)
    }

    fn get_if_changed<'a>(&'a self, key: &'a str, since: Option<Version>) -> Boxed<'a, IfChanged> {
        Box::pin(self.0.get_if_changed(key, since))
    }

    fn told_as<'k>(&self, key: &'k str) -> Cow<'k, str> {
        self.0.told_as(key)
    }

    fn recommended_mangler(&self) -> Option<Mangler> {
        self.0.next.recommended_mangler()
    }
}

/// A proxy with a mutex of its own is a backend like any other.
impl<P: Proxy> Backend for Proxied<P> {
    // What is kept is said by the one inside.
    type Keeps = KeepsObjects;

    fn name(&self) -> &str {
        self.proxy.name()
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, BackendError> {
        self.proxy.get(&self.next, key).await
    }

    fn get_now(&self, key: &str) -> Option<Result<Option<Entry>, BackendError>> {
        self.proxy.get_now(&self.next, key)
    }

    async fn set(&self, key: &str, entry: Entry) -> Result<(), BackendError> {
        self.proxy.set(&self.next, key, entry).await
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        self.proxy.delete(&self.next, key).await
    }

    async fn get_multi(&self, keys: &[&str]) -> Result<Vec<Option<Entry>>, BackendError> {
        self.proxy.get_multi(&self.next, keys).await
    }

    async fn set_multi(&self, entries: &[(&str, Entry)]) -> Result<(), BackendError> {
        self.proxy.set_multi(&self.next, entries).await
    }

    async fn delete_multi(&self, keys: &[&str]) -> Result<(), BackendError> {
        self.proxy.delete_multi(&self.next, keys).await
    }

    fn mutex(&self) -> Option<AnyMutex> {
        self.proxy.mutex(&self.next)
    }

    fn is_shared(&self) -> bool {
        self.next.is_shared()
    }

    fn watch(&self, key: &str, changed: Changed) -> Option<Watch> {
        self.proxy.watch(&self.next, key, changed)
    }

    fn follow(&self, follower: Arc<dyn Follower>) -> Option<Watch> {
        self.next.follow(follower)
    }

    async fn get_if_changed(
        &self,
        key: &str,
        since: Option<Version>,
    ) -> Result<IfChanged, BackendError> {
        Self::get_if_changed(self, key, since).await
    }

    fn told_as<'k>(&self, key: &'k str) -> Cow<'k, str> {
        Self::told_as(self, key)
    }

    fn recommended_mangler(&self) -> Option<Mangler> {
        self.next.recommended_mangler()
    }
}
