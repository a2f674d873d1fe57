//! Marks of the creations that are going on over a backend of this process: a
//! change takes them away, and a commit needs its own.
//!
//! A commit has its key to itself while it stores. So a change comes before it,
//! and then nothing is stored, or after it, and then what was stored is changed.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use smallvec::SmallVec;

use crate::key::{KeyHashes, hash_of};
use crate::process::{Rebuilt, first_number};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The marks of a backend in this process. Clones share them.
#[derive(Clone)]
pub(super) struct Marks(Rebuilt<Table>);

struct Table {
    shards: Box<[Mutex<Slots>]>,
    next: AtomicU64,
}

type Slots = HashMap<Arc<str>, Slot, KeyHashes>;

struct Slot {
    key: Arc<str>,
    marks: SmallVec<[u64; 1]>,
    is_storing: bool,
    waiting: Vec<Waker>,
}

/// The mark of one creation, until this is dropped.
pub(super) struct Mark {
    marks: Marks,
    key: Arc<str>,
    number: u64,
}

/// A key is being stored under; changes of it wait until this is dropped.
pub(super) struct Storing<'m> {
    marks: &'m Marks,
    key: Arc<str>,
}

#[cfg(not(shuttle))]
const SHARDS: usize = 32;
#[cfg(shuttle)]
const SHARDS: usize = 1;

impl Marks {
    pub(super) fn new() -> Self {
        Self(Rebuilt::new(|| Table {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            next: AtomicU64::new(first_number()),
        }))
    }

    /// To find this process's table takes a system call.
    fn shard(&self, key: &str) -> &Mutex<Slots> {
        self.0.shard(key)
    }

    /// Marks `key` for a creation; `alone` takes the marks of others away.
    pub(super) fn put(&self, key: &str, alone: bool) -> Mark {
        let table: &Table = &self.0;
        let number = table.next.fetch_add(1, Ordering::Relaxed);
        let mut shard = table.shard(key).lock();
        let slot = slot_of(&mut shard, key);
        if alone {
            slot.marks.clear();
        }
        slot.marks.push(number);
        Mark { marks: self.clone(), key: slot.key.clone(), number }
    }

    /// Takes the marks of `key` away, once nobody is storing under it.
    pub(super) async fn change(&self, key: &str) {
        poll_fn(|cx| {
            let mut shard = self.shard(key).lock();
            let Some(slot) = shard.get_mut(key) else { return Poll::Ready(()) };
            if slot.is_storing {
                slot.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            slot.marks.clear();
            remove_if_empty(&mut shard, key);
            Poll::Ready(())
        })
        .await;
    }

    /// Takes the marks of `key` away: something was stored by whoever has it to itself. Of
    /// claims that overlap, one is stored.
    pub(super) fn settle(&self, key: &str) {
        if let Some(slot) = self.shard(key).lock().get_mut(key) {
            slot.marks.clear();
        }
    }

    /// Has `key` to itself, to store under it.
    pub(super) async fn store(&self, key: &str) -> Storing<'_> {
        poll_fn(|cx| {
            let mut shard = self.shard(key).lock();
            let slot = slot_of(&mut shard, key);
            if slot.is_storing {
                slot.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            slot.is_storing = true;
            Poll::Ready(Storing { marks: self, key: slot.key.clone() })
        })
        .await
    }
}

impl Table {
    fn shard(&self, key: &str) -> &Mutex<Slots> {
        let hash = usize::try_from(hash_of(key.as_bytes()) >> 32).unwrap_or(0);
        &self.shards[hash % self.shards.len()]
    }
}

impl Mark {
    pub(super) fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// Is it still there?
    pub(super) fn is_whole(&self) -> bool {
        let shard = self.marks.shard(&self.key).lock();
        shard.get(&*self.key).is_some_and(|slot| slot.marks.contains(&self.number))
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let mut shard = self.marks.shard(&self.key).lock();
        if let Some(slot) = shard.get_mut(&*self.key) {
            slot.marks.retain(|number| *number != self.number);
            remove_if_empty(&mut shard, &self.key);
        }
    }
}

impl Drop for Storing<'_> {
    fn drop(&mut self) {
        let mut shard = self.marks.shard(&self.key).lock();
        let Some(slot) = shard.get_mut(&*self.key) else { return };
        slot.is_storing = false;
        let waiting = std::mem::take(&mut slot.waiting);
        remove_if_empty(&mut shard, &self.key);
        drop(shard);
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// Returns the slot of `key`, which is made if there is none.
fn slot_of<'s>(shard: &'s mut Slots, key: &str) -> &'s mut Slot {
    if !shard.contains_key(key) {
        let key: Arc<str> = key.into();
        let slot = Slot {
            key: key.clone(),
            marks: SmallVec::new(),
            is_storing: false,
            waiting: Vec::new(),
        };
        shard.insert(key, slot);
    }
    match shard.get_mut(key) {
        Some(slot) => slot,
        None => unreachable!("a key that was put in is there"),
    }
}

fn remove_if_empty(shard: &mut Slots, key: &str) {
    let is_empty =
        |slot: &Slot| slot.marks.is_empty() && !slot.is_storing && slot.waiting.is_empty();
    if shard.get(key).is_some_and(is_empty) {
        shard.remove(key);
    }
}
