//! Claiming and committing in as few round trips as can be: one each, where
//! there is one server; two, where a key and its lock may be on different ones.
//!
//! A commit stores only if the value is still the one that was there when the
//! lock was taken. So not even a lock that was evicted, or a lease that ends
//! between check and store, lets a late creator overwrite its successor's
//! value.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::mutex::{Grip, Held};
use super::protocol::{Only, Reply, Request};
use super::servers::Answer;
use super::{Shared, item, strange};
use crate::backend::{BackendError, Claimed, Seen};
use crate::lock::Lease;
use crate::remote::lease;
use crate::value::Entry;

/// What a lease of this backend holds.
pub(super) enum Won {
    Locked {
        held: Held,
        before: Before,
    },
    /// The lock's server is away: its caller goes ahead without.
    Unlocked,
}

/// What was under the key when its lock was taken.
#[derive(Clone, Copy)]
pub(super) enum Before {
    Unknown,
    Nothing,
    Numbered(u64),
}

impl Before {
    fn only(self) -> Only {
        match self {
            Self::Unknown => Only::Always,
            Self::Nothing => Only::IfAbsent,
            Self::Numbered(number) => Only::IfUnchanged(number),
        }
    }
}

impl Won {
    pub(super) async fn unlock(&self, shared: &Shared) -> Result<(), BackendError> {
        if let Self::Locked { held, .. } = self {
            shared.unlock(&held.grip).await?;
            held.is_over();
        }
        Ok(())
    }
}

impl Shared {
    /// Tries for locks: for each what was won, nothing if somebody holds it, or
    /// an error if its server is away.
    pub(super) async fn take(
        self: &Arc<Self>,
        grips: Vec<Grip>,
    ) -> Result<Vec<Result<Option<Won>, BackendError>>, BackendError> {
        let began = Instant::now();
        let answers = self.servers.ask_all(self.takings(&grips)).await;
        let held = self.taken(grips, answers, began);
        let won = |held: Held| Won::Locked { held, before: Before::Unknown };
        Ok(held.into_iter().map(|held| held.map(|held| held.map(won))).collect())
    }

    /// Takes each lock, and asks whose it is: which says it, also if the first
    /// was sent twice.
    fn takings<'g>(&self, grips: &'g [Grip]) -> Vec<Request<'g>> {
        let lease = self.options.terms.lease;
        let both = |grip: &'g Grip| [grip.taking(lease, Only::IfAbsent), grip.looking()];
        grips.iter().flat_map(both).collect()
    }

    /// What the answers to [`takings`](Self::takings) say.
    fn taken(
        self: &Arc<Self>,
        grips: Vec<Grip>,
        answers: Vec<Answer>,
        began: Instant,
    ) -> Vec<Result<Option<Held>, BackendError>> {
        let looks = answers.into_iter().skip(1).step_by(2);
        let taken = grips.into_iter().zip(looks).map(|(grip, look)| match look {
            Ok(reply) => Ok(grip.is_in(&reply).map(|number| {
                grip.confirm(number, began);
                Held::new(self, grip)
            })),
            Err(fault) => {
                // It may have been taken all the same.
                lease::give_up(self, std::iter::once(grip));
                Err(fault)
            }
        });
        taken.collect()
    }

    pub(super) async fn claim(
        self: &Arc<Self>,
        keys: &[(&str, Seen)],
    ) -> Result<Vec<Claimed>, BackendError> {
        let grips = keys.iter().map(|(key, _)| Ok(Grip::new(self.lock_key(key)?)));
        let grips = grips.collect::<Result<Vec<_>, BackendError>>()?;
        let reads = keys.iter().map(|&(key, _)| Request::Get { key, value: true });
        let began = Instant::now();
        let mut requests = self.takings(&grips);
        let (locks, values) = if self.servers.are_one() {
            requests.extend(reads);
            let mut answers = self.servers.ask_all(requests).await;
            let values = answers.split_off(2 * keys.len());
            (answers, values)
        } else {
            // The locks first: what is read must be newer.
            let locks = self.servers.ask_all(requests).await;
            (locks, self.servers.ask_all(reads.collect()).await)
        };
        let mut taken = self.taken(grips, locks, began);
        if taken.iter().all(Result::is_err)
            && let Some(Err(fault)) = taken.pop()
        {
            return Err(fault);
        }
        let mut free = Vec::new();
        let claims = keys.iter().zip(taken).zip(values).map(|(((_, seen), taken), value)| {
            let held = match taken {
                Ok(Some(held)) => held,
                Ok(None) => return Claimed::Held,
                Err(_) => return Claimed::Won(Lease::new(Won::Unlocked)),
            };
            match claimed(*seen, value) {
                Ok(before) => Claimed::Won(Lease::new(Won::Locked { held, before })),
                Err(entry) => {
                    free.push(held);
                    Claimed::Changed(entry)
                }
            }
        });
        let claims = claims.collect();
        self.free(&free).await;
        Ok(claims)
    }

    /// Frees locks, in one round trip to each server. What that fails for is
    /// freed when it is dropped.
    async fn free(&self, held: &[Held]) {
        let all: Vec<&Held> = held.iter().collect();
        for held in &all {
            held.grip.ends().await;
        }
        let answers = self.servers.ask_all(freeings(&all)).await;
        note_freed(&all, &answers);
    }

    pub(super) async fn commit(
        &self,
        entries: Vec<(&str, Entry, Lease)>,
    ) -> Result<Vec<bool>, BackendError> {
        let mut stores = Vec::with_capacity(entries.len());
        for (key, entry, lease) in entries {
            let won = lease.into_inner::<Won>();
            let won = won.map_err(|_| BackendError::other("this is no lease of memcached's"))?;
            let (packed, ttl) = (self.pack(key, &entry), self.ttl());
            stores.push(Store { key, packed, ttl, won, ours: true });
        }
        for held in stores.iter().filter_map(Store::held) {
            held.grip.ends().await;
        }
        self.confirm(&mut stores).await;
        let answers = self.store_and_free(&stores).await;
        let mut outcomes = Vec::with_capacity(stores.len());
        for (store, answer) in stores.iter().zip(answers) {
            outcomes.push(self.outcome(store, answer).await);
        }
        outcomes.into_iter().collect()
    }

    /// Asks for the locks whose lease may have ended whether they are still
    /// ours.
    async fn confirm(&self, stores: &mut [Store<'_>]) {
        let lease = self.options.terms.lease;
        let doubtful =
            |store: &&mut Store<'_>| store.held().is_some_and(|held| !held.grip.is_fresh(lease));
        let mut doubtful: Vec<_> = stores.iter_mut().filter(doubtful).collect();
        let grips: Vec<Arc<Grip>> =
            doubtful.iter().filter_map(|store| Some(store.held()?.grip.clone())).collect();
        let answers = self.servers.ask_all(grips.iter().map(|grip| grip.looking()).collect()).await;
        for ((store, grip), answer) in doubtful.iter_mut().zip(&grips).zip(answers) {
            store.ours = answer.is_ok_and(|reply| grip.is_in(&reply).is_some());
        }
    }

    /// Stores what may be stored, then frees the locks. The answers are those of
    /// the stores, `None` where nothing was to be stored.
    async fn store_and_free(&self, stores: &[Store<'_>]) -> Vec<Option<Answer>> {
        let requests: Vec<_> = stores.iter().map(|store| store.request(None)).collect();
        let held: Vec<&Held> = stores.iter().filter_map(Store::held).collect();
        let mut together: Vec<Request<'_>> = requests.iter().flatten().cloned().collect();
        let count = together.len();
        let mut answers;
        if self.servers.are_one() {
            together.extend(freeings(&held));
            answers = self.servers.ask_all(together).await;
            note_freed(&held, &answers.split_off(count));
        } else {
            answers = self.servers.ask_all(together).await;
            note_freed(&held, &self.servers.ask_all(freeings(&held)).await);
        }
        let mut answers = answers.into_iter();
        requests.iter().map(|request| request.as_ref().and_then(|_| answers.next())).collect()
    }

    /// Was it stored, or is there a better value?
    async fn outcome(
        &self,
        store: &Store<'_>,
        answer: Option<Answer>,
    ) -> Result<bool, BackendError> {
        let Some(answer) = answer else {
            // A value that cannot be stored, or a lost lease.
            return match &store.packed {
                Err(fault) => Err(BackendError::new(fault.kind(), fault.to_string())),
                Ok(_) => Ok(false),
            };
        };
        match answer? {
            Reply::Done { .. } => Ok(true),
            // The old value has gone since.
            Reply::Missing => match store.request(Some(Only::IfAbsent)) {
                Some(again) => self.servers.ask(again).await.map(|_| true),
                None => Ok(false),
            },
            // Somebody has stored another since. Perhaps this was sent twice, and
            // that is the first one.
            Reply::Refused => {
                let read = Request::Get { key: store.key, value: true };
                let there = self.servers.ask(read).await?;
                Ok(
                    matches!((there, &store.packed), (Reply::Item { value, .. }, Ok((_, ours))) if value == *ours),
                )
            }
            other => Err(strange(&other)),
        }
    }
}

/// What was under a key that was locked; the entry, if it is another than was
/// seen.
fn claimed(seen: Seen, value: Answer) -> Result<Before, Entry> {
    match value {
        Ok(Reply::Item { flags, number, value }) => {
            let entry = item::unpack(flags, &value);
            if seen.is_outdated_by(Some(&entry)) {
                Err(entry)
            } else {
                Ok(Before::Numbered(number))
            }
        }
        Ok(Reply::Missing) => Ok(Before::Nothing),
        // The value's server is away, or says something strange.
        _ => Ok(Before::Unknown),
    }
}

/// An entry on its way to be stored.
struct Store<'k> {
    key: &'k str,
    packed: Result<(u32, Bytes), BackendError>,
    ttl: u32,
    won: Won,
    /// The lock is not known to be lost.
    ours: bool,
}

impl<'k> Store<'k> {
    fn held(&self) -> Option<&Held> {
        match &self.won {
            Won::Locked { held, .. } => Some(held),
            Won::Unlocked => None,
        }
    }

    /// What stores it, if it may be stored.
    fn request(&self, only: Option<Only>) -> Option<Request<'k>> {
        let (flags, value) = self.packed.as_ref().ok().filter(|_| self.ours)?;
        let only = only.unwrap_or(match &self.won {
            Won::Locked { before, .. } => before.only(),
            Won::Unlocked => Only::Always,
        });
        let (key, flags, value, ttl) = (self.key, *flags, value.clone(), self.ttl);
        Some(Request::Store { key, flags, value, ttl, only })
    }
}

/// What frees locks, if they are still the ones that were taken.
fn freeings<'h>(held: &[&'h Held]) -> Vec<Request<'h>> {
    let free = |held: &&'h Held| {
        let Held { grip, .. } = held;
        // Every lock that was taken has one.
        Request::Delete { key: &grip.lock, number: Some(grip.number().unwrap_or(u64::MAX)) }
    };
    held.iter().map(free).collect()
}

/// A lock whose number has changed, by a renewal perhaps, is left to be freed
/// when it is dropped.
fn note_freed(held: &[&Held], answers: &[Answer]) {
    for (held, answer) in held.iter().zip(answers) {
        if matches!(answer, Ok(Reply::Done { .. } | Reply::Missing)) {
            held.is_over();
        }
    }
}
