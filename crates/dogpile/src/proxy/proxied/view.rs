//! The backend inside a proxy, as the proxy sees it: its reads claim or compare, its writes commit.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::backend::{
    AnyBackend, BackendError, Boxed, Changed, ClaimMode, Claimed, Commit, ErasedBackend, Follower,
    IfChanged, Version, Wanted, Watch,
};
use crate::key::Mangler;
use crate::lock::{AnyMutex, Lease};
use crate::sync::Mutex;
use crate::value::Entry;

/// The backend inside a proxy, as the proxy sees it during a claim, a commit or a comparison.
#[derive(Clone)]
pub(super) struct View {
    next: AnyBackend,
    state: Arc<Mutex<State>>,
}

pub(super) enum State {
    /// Which mutex is here?
    Asked(AnyMutex),
    Claiming {
        /// In the order of the keys.
        terms: Vec<Term>,
        /// With the keys inside.
        claims: Vec<(Box<str>, Claimed)>,
    },
    Committing {
        /// Is it a removal? Otherwise something is to be stored.
        removes: bool,
        /// In the order of the keys outside.
        claims: Vec<Inside>,
        /// Whether the changes were made.
        outcomes: Vec<bool>,
    },
    Comparing {
        /// The key inside.
        key: String,
        /// The value there, if it was read before.
        read: Option<Compared>,
        answers: Vec<Told>,
    },
}

pub(super) type Compared = Result<IfChanged, BackendError>;

/// What is said of an entry that the proxy has read.
#[derive(Clone, Copy)]
pub(super) struct Told {
    pub(super) version: Option<Version>,
    pub(super) is_followed: bool,
}

/// A change on its way inside.
enum Way {
    /// Under this lease, which is that of the claim in this place.
    Bound(usize, Lease),
    /// As any other: no creation is about this key.
    Free,
}

/// A claim without its key: the proxy may ask for another.
pub(super) struct Term {
    mode: ClaimMode,
    held: Option<Lease>,
    is_current: bool,
}

impl From<Wanted<'_>> for Term {
    fn from(Wanted { mode, held, is_current, .. }: Wanted<'_>) -> Self {
        Self { mode, held, is_current }
    }
}

impl State {
    pub(super) fn storing(claims: Vec<Inside>) -> Self {
        let outcomes = vec![true; claims.len()];
        Self::Committing { removes: false, claims, outcomes }
    }

    pub(super) fn comparing(key: String, read: Option<Compared>) -> Self {
        Self::Comparing { key, read, answers: Vec::new() }
    }

    pub(super) fn removing(claim: Inside) -> Self {
        Self::Committing { removes: true, claims: vec![claim], outcomes: vec![true] }
    }
}

impl View {
    pub(super) fn over(next: &AnyBackend, state: State) -> Self {
        Self { next: next.clone(), state: Arc::new(Mutex::new(state)) }
    }

    pub(super) fn backend(&self) -> AnyBackend {
        self.next.clone().within(self.clone())
    }

    pub(super) fn take_claims(&self) -> Vec<(Box<str>, Claimed)> {
        match &mut *self.state.lock() {
            State::Claiming { claims, .. } => std::mem::take(claims),
            _ => Vec::new(),
        }
    }

    /// Were the changes made? What the proxy did not hand on is not to be stored:
    /// it has done its part.
    pub(super) async fn take_outcomes(&self) -> Vec<bool> {
        let (left, outcomes) = match &mut *self.state.lock() {
            State::Committing { claims, outcomes, .. } => {
                let left = claims.iter_mut().filter_map(|claim| claim.lease.take());
                (left.collect(), std::mem::take(outcomes))
            }
            _ => (Vec::new(), Vec::new()),
        };
        self.next.release(left).await;
        outcomes
    }

    pub(super) fn take_answers(&self) -> Vec<Told> {
        match &mut *self.state.lock() {
            State::Comparing { answers, .. } => std::mem::take(answers),
            _ => Vec::new(),
        }
    }

    /// Is this about reading `asked` with its version?
    fn compares(&self, asked: &str) -> bool {
        matches!(&*self.state.lock(), State::Comparing { key, .. } if key == asked)
    }

    /// Returns what was read before, once.
    fn take_read(&self) -> Option<Compared> {
        match &mut *self.state.lock() {
            State::Comparing { read, .. } => read.take(),
            _ => None,
        }
    }

    /// Reads with the version, unless that is done.
    async fn compare(&self, key: &str) -> Result<Option<Entry>, BackendError> {
        let read = match self.take_read() {
            Some(read) => read,
            None => self.next.get_if_changed(key, None).await,
        };
        let (entry, told) = match read? {
            IfChanged::Read { entry, version, is_followed } => {
                (entry, Told { version, is_followed })
            }
            // As what? It was not compared with anything.
            IfChanged::NotModified { is_followed } => {
                (self.next.get(key).await?, Told { version: None, is_followed })
            }
        };
        if let State::Comparing { answers, .. } = &mut *self.state.lock() {
            answers.push(told);
        }
        Ok(entry)
    }

    /// The terms of the next `count` claims, if so many are left.
    fn next_terms(&self, count: usize) -> Option<Vec<Term>> {
        match &mut *self.state.lock() {
            State::Claiming { terms, .. } if terms.len() >= count => {
                Some(terms.drain(..count).collect())
            }
            _ => None,
        }
    }

    /// The way of a change to `key`.
    ///
    /// A claim is good for one change, during the commit. What is handed on a second time,
    /// or later, may be older by then than a change of somebody else's.
    fn way(&self, key: &str, removal: bool) -> Result<Way, BackendError> {
        let State::Committing { removes, claims, .. } = &mut *self.state.lock() else {
            return Ok(Way::Free);
        };
        if *removes != removal {
            return Ok(Way::Free);
        }
        let mut used = false;
        for (place, claim) in claims.iter_mut().enumerate().filter(|(_, claim)| &*claim.key == key)
        {
            match claim.lease.take() {
                Some(lease) => return Ok(Way::Bound(place, lease)),
                None => used = true,
            }
        }
        if used {
            return Err(BackendError::refused(
                "a proxy hands a created value on twice, or after its `set` has returned",
            ));
        }
        Ok(Way::Free)
    }

    /// Claims instead of reading: what has changed is what is read.
    async fn claim(
        &self,
        keys: &[&str],
        terms: Vec<Term>,
    ) -> Result<Vec<Option<Entry>>, BackendError> {
        let wanted = keys.iter().zip(terms);
        let wanted = wanted.map(|(key, Term { mode, held, is_current })| Wanted {
            key,
            mode,
            held,
            is_current,
        });
        let claimed = claim_inside(&self.next, wanted.collect()).await?;
        let changed = claimed.iter().map(|claim| match claim {
            Claimed::Changed(entry) => Some(entry.clone()),
            Claimed::Won(_) | Claimed::Held | Claimed::Failed(_) => None,
        });
        let changed = changed.collect();
        if let State::Claiming { claims, .. } = &mut *self.state.lock() {
            claims.extend(keys.iter().map(|&key| key.into()).zip(claimed));
        }
        Ok(changed)
    }

    /// Commits instead of storing or removing.
    async fn commit(
        &self,
        places: Vec<usize>,
        changes: Vec<Commit<'_>>,
    ) -> Result<(), BackendError> {
        let made = self.next.commit(changes).await?;
        if let State::Committing { outcomes, .. } = &mut *self.state.lock() {
            for (place, made) in places.into_iter().zip(made) {
                if let Some(outcome) = outcomes.get_mut(place) {
                    *outcome = made;
                }
            }
        }
        Ok(())
    }
}

impl ErasedBackend for View {
    fn name(&self) -> String {
        self.next.name()
    }

    fn keeps_objects(&self) -> bool {
        self.next.keeps_objects()
    }

    fn is_shared(&self) -> bool {
        self.next.is_shared()
    }

    fn get<'a>(&'a self, key: &'a str) -> Boxed<'a, Option<Entry>> {
        Box::pin(async move {
            if self.compares(key) {
                return self.compare(key).await;
            }
            match self.next_terms(1) {
                Some(terms) => Ok(self.claim(&[key], terms).await?.pop().flatten()),
                None => self.next.get(key).await,
            }
        })
    }

    fn get_now(&self, _key: &str) -> Option<Result<Option<Entry>, BackendError>> {
        None
    }

    fn set<'a>(&'a self, key: &'a str, entry: Entry) -> Boxed<'a, ()> {
        Box::pin(async move {
            match self.way(key, false)? {
                Way::Bound(place, lease) => {
                    let change = Commit { key, entry: Some(entry), lease };
                    self.commit(vec![place], vec![change]).await
                }
                Way::Free => self.next.set(key, entry).await,
            }
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Boxed<'a, ()> {
        Box::pin(async move {
            match self.way(key, true)? {
                Way::Bound(place, lease) => {
                    self.commit(vec![place], vec![Commit { key, entry: None, lease }]).await
                }
                Way::Free => self.next.delete(key).await,
            }
        })
    }

    fn get_multi<'a>(&'a self, keys: &'a [&'a str]) -> Boxed<'a, Vec<Option<Entry>>> {
        Box::pin(async move {
            match self.next_terms(keys.len()) {
                Some(terms) => self.claim(keys, terms).await,
                None => self.next.get_multi(keys).await,
            }
        })
    }

    fn set_multi<'a>(&'a self, entries: &'a [(&'a str, Entry)]) -> Boxed<'a, ()> {
        Box::pin(async move {
            let (mut places, mut bound, mut free) = (Vec::new(), Vec::new(), Vec::new());
            for (key, entry) in entries {
                match self.way(key, false)? {
                    Way::Bound(place, lease) => {
                        places.push(place);
                        bound.push(Commit { key, entry: Some(entry.clone()), lease });
                    }
                    Way::Free => free.push((*key, entry.clone())),
                }
            }
            if !bound.is_empty() {
                self.commit(places, bound).await?;
            }
            if free.is_empty() { Ok(()) } else { self.next.set_multi(&free).await }
        })
    }

    fn delete_multi<'a>(&'a self, keys: &'a [&'a str]) -> Boxed<'a, ()> {
        Box::pin(self.next.delete_multi(keys))
    }

    fn mutex(&self) -> Option<AnyMutex> {
        match &*self.state.lock() {
            State::Asked(mutex) => Some(mutex.clone()),
            _ => self.next.mutex(),
        }
    }

    fn claim<'a>(&'a self, keys: Vec<Wanted<'a>>) -> Boxed<'a, Vec<Claimed>> {
        Box::pin(self.next.claim(keys))
    }

    fn commit<'a>(&'a self, changes: Vec<Commit<'a>>) -> Boxed<'a, Vec<bool>> {
        Box::pin(self.next.commit(changes))
    }

    fn release(&self, leases: Vec<Lease>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.next.release(leases))
    }

    fn watch(&self, key: &str, changed: Changed) -> Option<Watch> {
        self.next.watch(key, changed)
    }

    fn follow(&self, follower: Arc<dyn Follower>) -> Option<Watch> {
        self.next.follow(follower)
    }

    fn get_if_changed<'a>(&'a self, key: &'a str, since: Option<Version>) -> Boxed<'a, IfChanged> {
        Box::pin(self.next.get_if_changed(key, since))
    }

    fn told_as<'k>(&self, key: &'k str) -> Cow<'k, str> {
        self.next.told_as(key)
    }

    fn recommended_mangler(&self) -> Option<Mangler> {
        self.next.recommended_mangler()
    }
}

/// A claim of the backend inside.
pub(super) struct Inside {
    /// The key there.
    key: Box<str>,
    /// None once something was stored under it.
    lease: Option<Lease>,
}

impl Inside {
    /// The lease within `lease`, or that itself if it is one of the mutex: waiting has
    /// acquired it.
    pub(super) fn unwrapped(lease: Lease) -> Option<Lease> {
        match lease.into_inner::<Self>() {
            Ok(inside) => inside.lease,
            Err(lease) => Some(lease),
        }
    }
}

/// Claims keys of `next`.
pub(super) async fn claim_inside(
    next: &AnyBackend,
    wanted: Vec<Wanted<'_>>,
) -> Result<Vec<Claimed>, BackendError> {
    let keys: Vec<Box<str>> = wanted.iter().map(|wanted| wanted.key.into()).collect();
    let claims = keys.into_iter().zip(next.claim(wanted).await?);
    let claims = claims.map(|(key, claim)| match claim {
        Claimed::Won(lease) => Claimed::Won(Lease::new(Inside { key, lease: Some(lease) })),
        other => other,
    });
    Ok(claims.collect())
}
