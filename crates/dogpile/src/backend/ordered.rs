//! The order of changes over any backend: a creation claims its key, a change of
//! the key ends the claim, and a commit stores only under a claim that is whole.
//!
//! A backend that [orders changes](super::Backend::orders_changes) by itself needs none of
//! this. Others get it from here:
//!
//! - within this process by [marks](super::marks), exactly;
//! - between processes that share a [mutex](super::Backend::mutex), by a mark beside the
//!   value, made of the plain operations. A change removes the mark first and then
//!   does its work. A commit looks whether its mark is there, stores, and looks
//!   again: if the mark has gone meanwhile, it removes what it has stored. So a
//!   stale value can be read for two round trips, and not longer.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use smallvec::SmallVec;

use super::marks::{Mark, Marks};
use super::{
    AnyMutex, BackendError, Boxed, Changed, ClaimMode, Claimed, Commit, ErasedBackend, Follower,
    IfChanged, Lease, Seen, Version, Wanted, Watch, mark_key,
};
use crate::finish::to_the_end;
use crate::key::Mangler;
use crate::lock::KeyedLock;
use crate::region::background;
use crate::token::new_token;
use crate::value::{Entry, Payload};

/// A backend whose changes are ordered.
#[derive(Clone)]
pub(crate) struct Ordered {
    backend: Arc<dyn ErasedBackend>,
    mutex: Option<AnyMutex>,
    marks: Marks,
}

/// A claim that was made here.
struct Claim {
    mark: Mark,
    mode: ClaimMode,
    /// The value's state then.
    seen: Seen,
    /// Between processes.
    shared: Option<SharedClaim>,
}

struct SharedClaim {
    /// The content of the mark beside the value.
    token: String,
    /// None of a claim that was taken over.
    mutex: Option<Lease>,
}

/// A change with the claim that it is made under.
struct Bound {
    entry: Option<Entry>,
    claim: Claim,
}

impl Bound {
    fn key(&self) -> &Arc<str> {
        self.claim.mark.key()
    }
}

/// The number of changes that are committed together in the memory of this process.
const COMMITTED_TOGETHER: usize = 512;

/// Takes changes apart.
fn bound(changes: Vec<Commit<'_>>) -> Result<Vec<Bound>, BackendError> {
    let mut taken = Vec::with_capacity(changes.len());
    for Commit { key, entry, lease } in changes {
        match lease.into_inner::<Claim>() {
            Ok(claim) if **claim.mark.key() == *key => taken.push(Bound { entry, claim }),
            Ok(_) => return Err(BackendError::other("lease belongs to a different key")),
            Err(_) => return Err(BackendError::other("lease belongs to a different backend")),
        }
    }
    Ok(taken)
}

impl Ordered {
    pub(crate) fn new(backend: Arc<dyn ErasedBackend>) -> Self {
        let mutex = backend.mutex();
        Self { backend, mutex, marks: Marks::new() }
    }

    /// Ends the claims to `keys`, before they are changed.
    async fn break_claims(&self, keys: &[&str]) -> Result<(), BackendError> {
        for key in keys {
            self.marks.change(key).await;
        }
        if self.mutex.is_some() {
            let marks: Vec<String> = keys.iter().map(|key| mark_key(key)).collect();
            if let [mark] = &marks[..] {
                self.backend.delete(mark).await?;
            } else {
                let marks: Vec<&str> = marks.iter().map(String::as_str).collect();
                self.backend.delete_multi(&marks).await?;
            }
        }
        Ok(())
    }

    /// Claims keys within this process, with one read for those that somebody may
    /// have changed.
    async fn claim_here(&self, keys: Vec<Wanted<'_>>) -> Result<Vec<Claimed>, BackendError> {
        let put = |wanted: &Wanted<'_>| self.marks.put(wanted.key, wanted.mode.takes_over());
        let marks: SmallVec<[Mark; 1]> = keys.iter().map(put).collect();
        let unknown: Vec<&str> = keys
            .iter()
            .filter(|wanted| wanted.known().is_none())
            .map(|wanted| wanted.key)
            .collect();
        let mut entries = match unknown[..] {
            [] => Vec::new(),
            [key] => vec![self.backend.get(key).await?],
            _ => self.backend.get_multi(&unknown).await?,
        }
        .into_iter();
        let claimed = keys.iter().zip(marks).map(|(wanted, mark)| {
            let mode = wanted.mode;
            let known = wanted.known();
            let entry = if known.is_some() { None } else { entries.next().flatten() };
            let seen = known.unwrap_or_else(|| Seen::of(entry.as_ref()));
            match entry {
                Some(entry) if mode.is_settled_by(Some(&entry)) => Claimed::Changed(entry),
                _ => Claimed::Won(Lease::new(Claim { mark, mode, seen, shared: None })),
            }
        });
        let mut claims = Vec::with_capacity(keys.len());
        claims.extend(claimed);
        Ok(claims)
    }

    /// Claims one key between processes.
    async fn claim_between(
        &self,
        mutex: &AnyMutex,
        wanted: Wanted<'_>,
    ) -> Result<Claimed, BackendError> {
        let Wanted { key, mode, held, .. } = wanted;
        let lease = match held {
            Some(lease) => Some(lease),
            None => mutex.try_lock(key).await?,
        };
        if lease.is_none() && !mode.takes_over() {
            return Ok(Claimed::Held);
        }
        let mark = self.marks.put(key, mode.takes_over());
        let token = new_token();
        self.backend.set(&mark_key(key), self.mark_entry(&token)).await?;
        let entry = self.backend.get(key).await?;
        let seen = Seen::of(entry.as_ref());
        let shared = Some(SharedClaim { token, mutex: lease });
        let claim = Claim { mark, mode, seen, shared };
        match entry {
            Some(entry) if mode.is_settled_by(Some(&entry)) => {
                self.give_up(claim).await;
                Ok(Claimed::Changed(entry))
            }
            _ => Ok(Claimed::Won(Lease::new(claim))),
        }
    }

    #[cfg_attr(
        not(feature = "serialized"),
        expect(clippy::unused_self, reason = "all backends keep objects")
    )]
    fn mark_entry(&self, token: &str) -> Entry {
        #[cfg(feature = "serialized")]
        if !self.backend.keeps_objects() {
            return Entry::bytes(token.to_owned(), 0.0);
        }
        Entry::object(token.to_owned(), 0.0)
    }

    async fn is_marked(&self, key: &str, token: &str) -> Result<bool, BackendError> {
        let mark = self.backend.get(&mark_key(key)).await?;
        Ok(match mark.map(|mark| mark.payload) {
            Some(Payload::Bytes(bytes)) => *bytes == *token.as_bytes(),
            Some(Payload::Object(object)) => {
                object.downcast_ref::<String>().is_some_and(|held| held == token)
            }
            Some(Payload::Unreadable(_)) | None => false,
        })
    }

    /// Commits within this process: what may be stored is one write.
    async fn commit_here(&self, changes: &mut [Bound]) -> Result<Vec<bool>, BackendError> {
        let mut made = vec![false; changes.len()];
        let mut entries = SmallVec::<[(&str, Entry); 1]>::new();
        for (place, Bound { entry, claim }) in changes.iter_mut().enumerate() {
            let key = &**claim.mark.key();
            match entry.take() {
                _ if !claim.mark.is_whole() => self.come_too_late(key, claim).await?,
                Some(entry) => {
                    entries.push((key, entry));
                    made[place] = true;
                }
                None => {
                    self.backend.delete(key).await?;
                    made[place] = true;
                }
            }
        }
        if entries.len() > 1 {
            self.backend.set_multi(&entries).await?;
        } else if let Some((key, entry)) = entries.pop() {
            self.backend.set(key, entry).await?;
        }
        drop(entries);
        let settled = changes.iter().zip(&made).filter(|(_, made)| **made);
        settled.for_each(|(change, _)| self.marks.settle(change.key()));
        Ok(made)
    }

    /// Commits between processes.
    async fn commit_between(
        &self,
        shared: &SharedClaim,
        key: &str,
        entry: Option<Entry>,
        claim: &Claim,
    ) -> Result<bool, BackendError> {
        let is_whole = claim.mark.is_whole() && self.is_marked(key, &shared.token).await?;
        let now = Seen::of(self.backend.get(key).await?.as_ref());
        if !is_whole || !claim.mode.may_follow(claim.seen, now) {
            self.come_too_late(key, claim).await?;
            return Ok(false);
        }
        match entry {
            Some(entry) => self.backend.set(key, entry).await?,
            None => self.backend.delete(key).await?,
        }
        if self.is_marked(key, &shared.token).await? {
            return Ok(true);
        }
        self.backend.delete(key).await?;
        Ok(false)
    }

    /// Commits within this process, as many together as stay in a processor's cache meanwhile: each
    /// step is about all of them. Where a write is a request, all are one.
    async fn commit_in_parts(&self, changes: Vec<Bound>) -> Result<Vec<bool>, BackendError> {
        let most = if self.backend.is_shared() { usize::MAX } else { COMMITTED_TOGETHER };
        if changes.len() <= most {
            return self.commit_together(changes).await;
        }
        let (count, mut changes) = (changes.len(), changes.into_iter());
        let mut made = Vec::with_capacity(count);
        while made.len() < count {
            let part = changes.by_ref().take(most).collect();
            made.extend(self.commit_together(part).await?);
        }
        Ok(made)
    }

    /// Commits all at once within this process.
    async fn commit_together(&self, mut changes: Vec<Bound>) -> Result<Vec<bool>, BackendError> {
        let mut keys: SmallVec<[Arc<str>; 1]> =
            changes.iter().map(|change| change.key().clone()).collect();
        // All in one order, or two commits could wait for each other; each once, or this
        // one would wait for itself.
        keys.sort_unstable();
        keys.dedup();
        let mut storing = SmallVec::<[_; 1]>::with_capacity(keys.len());
        for key in &keys {
            storing.push(self.marks.store(key).await);
        }
        self.commit_here(&mut changes).await
    }

    /// Commits one after the other between processes.
    async fn commit_in_turn(&self, changes: Vec<Bound>) -> Result<Vec<bool>, BackendError> {
        let mut made = Vec::with_capacity(changes.len());
        for Bound { entry, claim } in changes {
            let key = claim.mark.key();
            let storing = self.marks.store(key).await;
            let done = match &claim.shared {
                Some(shared) => self.commit_between(shared, key, entry, &claim).await,
                None => Ok(false),
            };
            drop(storing);
            self.give_up(claim).await;
            made.push(done);
        }
        made.into_iter().collect()
    }

    /// Removes what was stored when a refresh claimed the key, unless it is gone.
    async fn come_too_late(&self, key: &str, claim: &Claim) -> Result<(), BackendError> {
        if claim.mode != ClaimMode::Refresh || claim.seen == Seen::Nothing {
            return Ok(());
        }
        if Seen::of(self.backend.get(key).await?.as_ref()) == claim.seen {
            self.backend.delete(key).await?;
        }
        Ok(())
    }

    async fn give_up(&self, claim: Claim) {
        let Some(SharedClaim { token, mutex: lease }) = claim.shared else { return };
        let key = claim.mark.key();
        // A mark that stays is replaced by the next creation's.
        if self.is_marked(key, &token).await.unwrap_or_default() {
            let _ = self.backend.delete(&mark_key(key)).await;
        }
        if let (Some(mutex), Some(lease)) = (&self.mutex, lease) {
            let _ = mutex.unlock(lease).await;
        }
    }
}

impl ErasedBackend for Ordered {
    fn name(&self) -> String {
        self.backend.name()
    }

    fn keeps_objects(&self) -> bool {
        self.backend.keeps_objects()
    }

    fn is_shared(&self) -> bool {
        self.backend.is_shared()
    }

    fn get<'a>(&'a self, key: &'a str) -> Boxed<'a, Option<Entry>> {
        self.backend.get(key)
    }

    #[inline]
    fn get_now(&self, key: &str) -> Option<Result<Option<Entry>, BackendError>> {
        self.backend.get_now(key)
    }

    fn set<'a>(&'a self, key: &'a str, entry: Entry) -> Boxed<'a, ()> {
        Box::pin(async move {
            self.break_claims(&[key]).await?;
            self.backend.set(key, entry).await
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Boxed<'a, ()> {
        Box::pin(async move {
            self.break_claims(&[key]).await?;
            self.backend.delete(key).await
        })
    }

    fn get_multi<'a>(&'a self, keys: &'a [&'a str]) -> Boxed<'a, Vec<Option<Entry>>> {
        self.backend.get_multi(keys)
    }

    fn set_multi<'a>(&'a self, entries: &'a [(&'a str, Entry)]) -> Boxed<'a, ()> {
        Box::pin(async move {
            let keys: Vec<&str> = entries.iter().map(|(key, _)| *key).collect();
            self.break_claims(&keys).await?;
            self.backend.set_multi(entries).await
        })
    }

    fn delete_multi<'a>(&'a self, keys: &'a [&'a str]) -> Boxed<'a, ()> {
        Box::pin(async move {
            self.break_claims(keys).await?;
            self.backend.delete_multi(keys).await
        })
    }

    fn mutex(&self) -> Option<AnyMutex> {
        self.mutex.clone()
    }

    fn claim<'a>(&'a self, keys: Vec<Wanted<'a>>) -> Boxed<'a, Vec<Claimed>> {
        Box::pin(async move {
            let Some(mutex) = &self.mutex else { return self.claim_here(keys).await };
            let mut claims = Vec::with_capacity(keys.len());
            for wanted in keys {
                // Claims within this process need not have its room.
                claims.push(Box::pin(self.claim_between(mutex, wanted)).await?);
            }
            Ok(claims)
        })
    }

    fn commit<'a>(&'a self, changes: Vec<Commit<'a>>) -> Boxed<'a, Vec<bool>> {
        Box::pin(async move {
            let changes = bound(changes)?;
            if self.mutex.is_none() {
                return self.commit_in_parts(changes).await;
            }
            // What is stored is looked after, also when the caller has gone.
            let ordered = self.clone();
            let work = async move { ordered.commit_in_turn(changes).await };
            to_the_end(work, |work| background::spawn("dogpile-commit", work)).await
        })
    }

    fn release(&self, leases: Vec<Lease>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            for lease in leases {
                match lease.into_inner::<Claim>() {
                    Ok(claim) => self.give_up(claim).await,
                    // Of the mutex itself: waiting has acquired it.
                    Err(lease) => self.backend.release(vec![lease]).await,
                }
            }
        })
    }

    fn watch(&self, key: &str, changed: Changed) -> Option<Watch> {
        self.backend.watch(key, changed)
    }

    fn follow(&self, follower: Arc<dyn Follower>) -> Option<Watch> {
        self.backend.follow(follower)
    }

    fn get_if_changed<'a>(&'a self, key: &'a str, since: Option<Version>) -> Boxed<'a, IfChanged> {
        self.backend.get_if_changed(key, since)
    }

    fn told_as<'k>(&self, key: &'k str) -> Cow<'k, str> {
        self.backend.told_as(key)
    }

    fn recommended_mangler(&self) -> Option<Mangler> {
        self.backend.recommended_mangler()
    }
}

#[cfg(all(test, feature = "memory", not(shuttle)))]
mod tests {
    use futures_util::FutureExt;

    use super::super::{Erased, Memory};
    use super::*;

    #[test]
    fn a_lease_is_of_one_key() {
        let erased = Erased { backend: Arc::new(Memory::new(10)), keeps_objects: true };
        let ordered = Ordered::new(Arc::new(erased));
        let lease = || {
            let wanted = Wanted::new("one", ClaimMode::Create(Seen::Nothing));
            match ordered.claim(vec![wanted]).now_or_never().unwrap().unwrap().pop() {
                Some(Claimed::Won(lease)) => lease,
                _ => panic!("nobody has it"),
            }
        };
        let commit = |key, lease| {
            let entry = Some(Entry::object(7, 1.0));
            ordered.commit(vec![Commit { key, entry, lease }]).now_or_never().unwrap()
        };
        let refused = commit("another", lease()).unwrap_err();
        assert_eq!(refused.to_string(), "lease belongs to a different key");
        assert!(ordered.get("another").now_or_never().unwrap().unwrap().is_none());
        assert_eq!(commit("one", lease()).unwrap(), [true]);
    }
}
