//! The in-process mutex: one per key, with hand-over.
//!
//! Whoever finds a key free holds it; the others queue. The holder ends in
//! one of two ways:
//!
//! - with a value: it is handed to the waiters directly, and the key is free;
//! - without one (its creator failed, panicked, was cancelled, or its value
//!   may not be shared): the key passes to the waiter that has waited longest,
//!   while it still sleeps. A waiter that is dropped after that passes it on.
//!
//! So exactly one caller holds a key at any time, and as long as somebody
//! waits, somebody holds it: no wake-up can be lost.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::mutex::{Lease, Mutex as DogpileMutex};
use crate::error::BackendError;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex};

/// A value on its way from its creator to those who waited for it.
pub(crate) type Handed = std::sync::Arc<dyn Any + Send + Sync>;

/// The mutex of this process, per key. Clones are the same mutex.
#[derive(Clone)]
pub struct KeyedMutex(Arc<Table>);

/// What [`KeyedMutex::ticket`] was when a caller looked into the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// Who gets a handed-over value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Everyone who waits: the value is in the store as well.
    Everyone,
    /// Only those who were waiting when its creation began (contract 3): the
    /// value was kept out of the store, and to a later caller it would be
    /// older than the question.
    WaitingSinceBefore,
}

/// What a waiter wakes up to.
pub(crate) enum Turn {
    /// The key is this caller's now; its former holder left no value.
    Won(KeyGuard),
    /// The value that the holder made.
    Handed(Handed),
}

type Flights = HashMap<Arc<str>, Flight>;

struct Table {
    shards: Box<[Mutex<Flights>]>,
    hasher: RandomState,
    /// How many holders ended with a value so far.
    ended: AtomicU64,
    next_waiter: AtomicU64,
}

/// A key that is held.
struct Flight {
    key: Arc<str>,
    /// How many creations began under the present chain of holders.
    begun: u64,
    /// The last of them that began before somebody else changed what is stored.
    outdated: u64,
    /// In the order of their coming, since their numbers grow.
    waiters: BTreeMap<u64, Arc<Seat>>,
}

/// A waiter's place in the queue.
struct Seat {
    /// `Flight::begun` when it was taken.
    joined: u64,
    state: Mutex<SeatState>,
}

enum SeatState {
    Waiting(Option<Waker>),
    Elected,
    Handed(Handed),
    Gone,
}

#[cfg(not(shuttle))]
const SHARDS: usize = 32;
#[cfg(shuttle)]
const SHARDS: usize = 1;

impl KeyedMutex {
    /// A mutex that nobody holds.
    pub fn new() -> Self {
        Self(Arc::new(Table {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            ended: AtomicU64::new(0),
            next_waiter: AtomicU64::new(0),
        }))
    }

    /// Is somebody holding `key`?
    pub fn is_held(&self, key: &str) -> bool {
        self.0.shard(key).lock().contains_key(key)
    }

    /// To be taken before a look into the store: if no holder ended with a
    /// value since, the look is still good when the key is won.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.0.ended.load(Ordering::Acquire))
    }

    /// Takes `key` if it is free.
    pub(crate) fn try_hold(&self, key: &str) -> Option<KeyGuard> {
        let mut shard = self.0.shard(key).lock();
        if shard.contains_key(key) {
            return None;
        }
        Some(self.open_flight(&mut shard, key))
    }

    /// Waits for `key`; see [`Turn`].
    ///
    /// Cancel safe: a dropped waiter passes on what it was given.
    pub(crate) async fn hold(&self, key: &str) -> Turn {
        match self.join(key) {
            Ok(guard) => Turn::Won(guard),
            Err(waiter) => waiter.await,
        }
    }

    /// Somebody changes what is stored under `key`, past its holder: what a creation that is
    /// going on makes is older than that.
    pub(crate) fn note_change(&self, key: &str) {
        if let Some(flight) = self.0.shard(key).lock().get_mut(key) {
            flight.outdated = flight.begun;
        }
    }

    /// Takes `key` if it is free, or else a place in its queue.
    fn join(&self, key: &str) -> Result<KeyGuard, Waiter> {
        let mut shard = self.0.shard(key).lock();
        let Some(flight) = shard.get_mut(key) else {
            return Ok(self.open_flight(&mut shard, key));
        };
        let number = self.0.next_waiter.fetch_add(1, Ordering::Relaxed);
        let state = Mutex::new(SeatState::Waiting(None));
        let seat = Arc::new(Seat { joined: flight.begun, state });
        flight.waiters.insert(number, seat.clone());
        Err(Waiter { table: self.0.clone(), key: flight.key.clone(), number, seat })
    }

    fn open_flight(&self, shard: &mut Flights, key: &str) -> KeyGuard {
        let key: Arc<str> = key.into();
        let waiters = BTreeMap::new();
        let flight = Flight { key: key.clone(), begun: 0, outdated: 0, waiters };
        shard.insert(key.clone(), flight);
        KeyGuard::of(self.0.clone(), key)
    }
}

impl Default for KeyedMutex {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for KeyedMutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held: usize = self.0.shards.iter().map(|shard| shard.lock().len()).sum();
        f.debug_struct("KeyedMutex").field("held", &held).finish()
    }
}

impl DogpileMutex for KeyedMutex {
    async fn try_lock(&self, key: &str) -> Result<Option<Lease>, BackendError> {
        Ok(self.try_hold(key).map(Lease::new))
    }

    async fn wait(&self, key: &str) -> Result<Option<Lease>, BackendError> {
        match self.hold(key).await {
            Turn::Won(guard) => Ok(Some(Lease::new(guard))),
            Turn::Handed(_) => Ok(None),
        }
    }

    async fn unlock(&self, lease: Lease) -> Result<(), BackendError> {
        drop(lease);
        Ok(())
    }

    async fn is_locked(&self, key: &str) -> Result<bool, BackendError> {
        Ok(self.is_held(key))
    }
}

impl Table {
    fn shard(&self, key: &str) -> &Mutex<Flights> {
        let hash = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(0);
        &self.shards[hash % self.shards.len()]
    }

    /// Gives `key` to the longest waiter, or frees it if there is none.
    fn pass_on(&self, key: &str) {
        loop {
            let mut shard = self.shard(key).lock();
            let Some(flight) = shard.get_mut(key) else { return };
            let Some((_, seat)) = flight.waiters.pop_first() else {
                shard.remove(key);
                return;
            };
            drop(shard);
            if seat.deliver(SeatState::Elected) {
                return;
            }
        }
    }
}

impl Seat {
    /// Puts `news` into the seat and wakes its owner; false if it has left.
    fn deliver(&self, news: SeatState) -> bool {
        let mut state = self.state.lock();
        let SeatState::Waiting(waker) = &mut *state else { return false };
        let waker = waker.take();
        *state = news;
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }
}

/// Holding a key. Dropped without [`finish`](Self::finish), it passes the key
/// to a waiter.
pub(crate) struct KeyGuard {
    table: Arc<Table>,
    key: Arc<str>,
    /// Which creation under this key is going on; 0 before the first.
    creation: u64,
    /// The key was freed already.
    freed: bool,
}

impl KeyGuard {
    fn of(table: Arc<Table>, key: Arc<str>) -> Self {
        Self { table, key, creation: 0, freed: false }
    }

    /// Did a holder of any key end with a value since `ticket`? Then a look
    /// into the store from before is out of date.
    pub(crate) fn overtaken_since(&self, ticket: Ticket) -> bool {
        self.table.ended.load(Ordering::Acquire) != ticket.0
    }

    /// To be called when a creation begins: tells those who wait already from
    /// those who come during it.
    pub(crate) fn begin(&mut self) {
        if let Some(flight) = self.table.shard(&self.key).lock().get_mut(&self.key) {
            flight.begun += 1;
            self.creation = flight.begun;
        }
    }

    /// Was what is stored under the key changed by somebody else since this creation began?
    pub(crate) fn is_outdated(&self) -> bool {
        let shard = self.table.shard(&self.key).lock();
        shard.get(&self.key).is_some_and(|flight| (1..=flight.outdated).contains(&self.creation))
    }

    /// Hands `value` to the waiters and gives the key up.
    pub(crate) fn finish(mut self, value: &Handed, audience: Audience) {
        let served = match audience {
            Audience::Everyone => {
                self.table.ended.fetch_add(1, Ordering::AcqRel);
                self.freed = true;
                let flight = self.table.shard(&self.key).lock().remove(&self.key);
                flight.map(|flight| flight.waiters).unwrap_or_default()
            }
            Audience::WaitingSinceBefore => self.take_early_waiters(),
        };
        for seat in served.values() {
            seat.deliver(SeatState::Handed(value.clone()));
        }
    }

    fn take_early_waiters(&self) -> BTreeMap<u64, Arc<Seat>> {
        let mut shard = self.table.shard(&self.key).lock();
        let Some(flight) = shard.get_mut(&self.key) else { return BTreeMap::new() };
        let (early, late) = std::mem::take(&mut flight.waiters)
            .into_iter()
            .partition(|(_, seat)| seat.joined < self.creation);
        flight.waiters = late;
        early
    }
}

impl Drop for KeyGuard {
    fn drop(&mut self) {
        if !self.freed {
            self.table.pass_on(&self.key);
        }
    }
}

/// A place in the queue for a key.
struct Waiter {
    table: Arc<Table>,
    key: Arc<str>,
    number: u64,
    seat: Arc<Seat>,
}

impl Waiter {
    fn guard(&self) -> KeyGuard {
        KeyGuard::of(self.table.clone(), self.key.clone())
    }
}

impl Future for Waiter {
    type Output = Turn;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Turn> {
        let mut state = self.seat.state.lock();
        match std::mem::replace(&mut *state, SeatState::Gone) {
            SeatState::Elected => Poll::Ready(Turn::Won(self.guard())),
            SeatState::Handed(value) => Poll::Ready(Turn::Handed(value)),
            SeatState::Waiting(_) | SeatState::Gone => {
                *state = SeatState::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut *self.seat.state.lock(), SeatState::Gone);
        match state {
            // The key became this waiter's while it slept: pass it on.
            SeatState::Elected => drop(self.guard()),
            SeatState::Waiting(_) => {
                // Numbers are never used twice, so a later flight of the same
                // key is safe from this.
                if let Some(flight) = self.table.shard(&self.key).lock().get_mut(&self.key) {
                    flight.waiters.remove(&self.number);
                }
            }
            SeatState::Handed(_) | SeatState::Gone => {}
        }
    }
}
