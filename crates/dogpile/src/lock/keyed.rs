//! The in-process mutex: one per key, with hand-over.
//!
//! Whoever finds a key free holds it; the others queue. The holder ends in
//! one of two ways:
//!
//! - with a value: it is handed to the waiters that may have it, and the key
//!   passes to the first of the rest, or is free;
//! - without one (its creator failed, panicked, was cancelled): the key passes
//!   to the waiter that has waited longest, while it still sleeps. A waiter that
//!   is dropped after that passes it on.
//!
//! So as long as somebody waits, somebody holds the key: no wake-up can be lost.
//!
//! A change of the key ends the holding of a creation that has begun: the key
//! passes on at once, and the creation keeps only the waiters that were there
//! before it began.
//!
//! A creation that waits for its runner is *parked*: it holds the key against those who
//! have a stale value, and against nobody who would have to wait for it. Who would, or a
//! change, takes the key from it, with the lease that it has in the backend; when the
//! runner comes to it, there is nothing left to create.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::mutex::{KeyedLock, Lease};
use super::queue::Queue;
use crate::error::BackendError;
use crate::key::{KeyHashes, hash_of};
use crate::process::{Rebuilt, first_number};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex};

/// A value on its way from its creator to the callers that waited for it.
pub(crate) type Handed = std::sync::Arc<dyn Any + Send + Sync>;

/// The mutex of this process, per key. Clones are the same mutex.
///
/// A process that was forked from this one begins with one that nobody holds.
#[derive(Clone)]
pub struct KeyedMutex(Rebuilt<Table>);

/// The state of [`KeyedMutex::ticket`] when a caller looked into the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// A moment among those who come and go at a key: callers that joined the queue
/// before it can be told from those that joined after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cut(u64);

/// The reason that wakes a waiter.
pub(crate) enum Turn {
    /// The key is this caller's now; its former holder left no value.
    Won(KeyGuard),
    /// The value that the holder created.
    Handed(Handed),
}

type Waiters = Queue<Arc<Seat>>;

#[derive(Default)]
struct Shard {
    flights: HashMap<Arc<str>, Flight, KeyHashes>,
    /// Of creations that a change has outdated, with the number of their holder:
    /// the waiters that were there before they began.
    outdated: Vec<(u64, Waiters)>,
}

struct Table {
    shards: Box<[Mutex<Shard>]>,
    /// The number of holders that have ended with a value.
    ended: AtomicU64,
    /// Numbers holders and waiters.
    next: AtomicU64,
}

/// A key that is held.
struct Flight {
    key: Arc<str>,
    holder: u64,
    stage: Stage,
    waiters: Waiters,
}

/// The progress of a holder.
enum Stage {
    /// It has the key, and is about to create.
    Claimed,
    /// Its creation waits for a runner; nobody waits for it. With what it holds in the
    /// backend.
    Parked(Option<Lease>),
    /// Its creation has begun.
    Begun(Cut),
}

/// A waiter that was made the holder, and what its predecessor held in the backend.
struct Elected {
    holder: u64,
    seat: Arc<Seat>,
    lease: Option<Lease>,
}

impl Flight {
    fn new(key: Arc<str>, holder: u64, waiters: Waiters) -> Self {
        Self { key, holder, stage: Stage::Claimed, waiters }
    }

    /// Takes a parked creation's lease out, if it is one.
    #[expect(clippy::option_option, reason = "whether it is parked, and whether it has a lease")]
    fn unpark(&mut self) -> Option<Option<Lease>> {
        match std::mem::replace(&mut self.stage, Stage::Claimed) {
            Stage::Parked(lease) => Some(lease),
            other => {
                self.stage = other;
                None
            }
        }
    }

    /// Makes the longest waiter the holder, if there is one.
    fn elect(&mut self) -> Option<Elected> {
        let (holder, seat) = self.waiters.pop_first()?;
        self.holder = holder;
        let lease = self.unpark().flatten();
        self.stage = Stage::Claimed;
        Some(Elected { holder, seat, lease })
    }

    /// The waiters that joined before `cut`, taken out.
    fn take_before(&mut self, Cut(cut): Cut) -> Waiters {
        self.waiters.take_before(cut)
    }
}

/// A waiter's place in the queue.
struct Seat {
    state: Mutex<SeatState>,
}

enum SeatState {
    Waiting(Option<Waker>),
    Elected(Option<Lease>),
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
        Self(Rebuilt::lazy(|| {
            let first = first_number();
            Table {
                shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
                ended: AtomicU64::new(first),
                next: AtomicU64::new(first + 1),
            }
        }))
    }

    /// Is somebody holding `key`?
    pub fn is_held(&self, key: &str) -> bool {
        self.0.shard(key).lock().flights.contains_key(key)
    }

    /// To be taken before a look into the store: if no holder ended with a
    /// value since, the look is still good when the key is won.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.0.ended.load(Ordering::Acquire))
    }

    /// The present moment among those who come for any key.
    pub(crate) fn cut(&self) -> Cut {
        self.0.cut()
    }

    /// Takes `key` if it is free.
    pub(crate) fn try_hold(&self, key: &str) -> Option<KeyGuard> {
        let table: &Table = &self.0;
        let mut shard = table.shard(key).lock();
        if shard.flights.contains_key(key) {
            return None;
        }
        Some(self.open_flight(table, &mut shard, key, Waiters::new()))
    }

    /// Takes `key` from whoever holds it. A creation that has begun is outdated
    /// by that, as by a [change](Self::note_change).
    pub(crate) fn take_over(&self, key: &str) -> KeyGuard {
        let table: &Table = &self.0;
        let mut shard = table.shard(key).lock();
        let (waiters, lease) = match shard.flights.remove(key) {
            Some(flight) => shard.detach(flight),
            None => (Waiters::new(), None),
        };
        self.open_flight(table, &mut shard, key, waiters).inheriting(lease)
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

    /// Somebody changes what is stored under `key`: a creation that has begun is
    /// older than that, and one that is parked has lost its reason. The key passes on
    /// at once.
    pub(crate) fn note_change(&self, key: &str) {
        let mut shard = self.0.shard(key).lock();
        let is_claimed = |flight: &Flight| matches!(flight.stage, Stage::Claimed);
        if shard.flights.get(key).is_none_or(is_claimed) {
            return;
        }
        let Some(flight) = shard.flights.remove(key) else { return };
        let key = flight.key.clone();
        let (waiters, lease) = shard.detach(flight);
        drop(shard);
        drop(lease);
        self.0.requeue(&key, waiters);
    }

    /// Takes `key` if it is free or its creation is parked, or else a place in its queue.
    fn join(&self, key: &str) -> Result<KeyGuard, Waiter> {
        let table: &Table = &self.0;
        let mut shard = table.shard(key).lock();
        let Some(flight) = shard.flights.get_mut(key) else {
            return Ok(self.open_flight(table, &mut shard, key, Waiters::new()));
        };
        let number = table.number();
        if let Some(inherited) = flight.unpark() {
            flight.holder = number;
            let guard = KeyGuard::of(self.0.clone(), flight.key.clone(), number);
            return Ok(guard.inheriting(inherited));
        }
        let seat = Arc::new(Seat { state: Mutex::new(SeatState::Waiting(None)) });
        flight.waiters.push(number, seat.clone());
        Err(Waiter { table: self.0.clone(), key: flight.key.clone(), number, seat })
    }

    fn open_flight(
        &self,
        table: &Table,
        shard: &mut Shard,
        key: &str,
        waiters: Waiters,
    ) -> KeyGuard {
        let (key, holder): (Arc<str>, u64) = (key.into(), table.number());
        shard.flights.insert(key.clone(), Flight::new(key.clone(), holder, waiters));
        KeyGuard::of(self.0.clone(), key, holder)
    }
}

impl Shard {
    /// Parts a flight from its holder. A creation that has begun keeps the
    /// waiters from before; the others are the answer, with the lease of one that was
    /// parked.
    fn detach(&mut self, mut flight: Flight) -> (Waiters, Option<Lease>) {
        if let Stage::Begun(begun) = flight.stage {
            let early = flight.take_before(begun);
            self.outdated.push((flight.holder, early));
        }
        let lease = flight.unpark().flatten();
        (flight.waiters, lease)
    }

    /// Takes out the waiters from before a creation that a change has outdated.
    fn take_outdated(&mut self, holder: u64) -> Option<Waiters> {
        let place = self.outdated.iter().position(|(outdated, _)| *outdated == holder)?;
        Some(self.outdated.swap_remove(place).1)
    }
}

impl Default for KeyedMutex {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for KeyedMutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held: usize = self.0.shards.iter().map(|shard| shard.lock().flights.len()).sum();
        f.debug_struct("KeyedMutex").field("held", &held).finish()
    }
}

impl KeyedLock for KeyedMutex {
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
    fn shard(&self, key: &str) -> &Mutex<Shard> {
        let hash = usize::try_from(hash_of(key.as_bytes()) >> 32).unwrap_or(0);
        &self.shards[hash % self.shards.len()]
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::AcqRel)
    }

    fn cut(&self) -> Cut {
        Cut(self.next.load(Ordering::Acquire))
    }

    /// Puts waiters that nobody serves any more into the queue of `key`. If it
    /// is free, or its creation is parked, the longest waiter gets it.
    fn requeue(&self, key: &Arc<str>, waiters: Waiters) {
        if waiters.is_empty() {
            return;
        }
        let mut shard = self.shard(key).lock();
        let elected = if let Some(flight) = shard.flights.get_mut(key) {
            flight.waiters.merge(waiters);
            if matches!(flight.stage, Stage::Parked(_)) { flight.elect() } else { None }
        } else {
            // Its first holder is one of the waiters.
            let mut flight = Flight::new(key.clone(), 0, waiters);
            let elected = flight.elect();
            shard.flights.insert(key.clone(), flight);
            elected
        };
        drop(shard);
        if let Some(elected) = elected {
            self.seat(key, elected);
        }
    }

    /// Gives the key of this holder to the longest waiter, or frees it.
    fn pass_on(&self, key: &Arc<str>, holder: u64) {
        let mut shard = self.shard(key).lock();
        if let Some(early) = shard.take_outdated(holder) {
            drop(shard);
            return self.requeue(key, early);
        }
        let flight = shard.flights.get_mut(key).filter(|flight| flight.holder == holder);
        let Some(flight) = flight else { return };
        if let Some(elected) = flight.elect() {
            drop(shard);
            self.seat(key, elected);
        } else {
            let freed = shard.flights.remove(key);
            drop(shard);
            // With its lease, if it was parked.
            drop(freed);
        }
    }

    /// Tells a waiter that the key is its own. If it has left, the key passes on.
    fn seat(&self, key: &Arc<str>, Elected { holder, seat, lease }: Elected) {
        if !seat.deliver(SeatState::Elected(lease)) {
            self.pass_on(key, holder);
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
    table: Rebuilt<Table>,
    key: Arc<str>,
    holder: u64,
    /// When its creation began, if it has.
    begun: Option<Cut>,
    /// The lease in the backend of the parked creation from which the key was taken.
    inherited: Option<Lease>,
}

/// Holding a key whose creation waits for its runner. Dropped, it passes the key on.
pub(crate) struct Parked(KeyGuard);

impl Parked {
    /// The key again, with what is held in the backend, now that the creation can begin;
    /// nothing if the key was changed or taken over meanwhile.
    pub(crate) fn resume(self) -> Option<(KeyGuard, Option<Lease>)> {
        let Self(guard) = self;
        let lease = {
            let mut shard = guard.table.shard(&guard.key).lock();
            let flight = shard.flights.get_mut(&guard.key);
            flight.filter(|flight| flight.holder == guard.holder).and_then(Flight::unpark)
        };
        lease.map(|lease| (guard, lease))
    }
}

impl KeyGuard {
    fn of(table: Rebuilt<Table>, key: Arc<str>, holder: u64) -> Self {
        Self { table, key, holder, begun: None, inherited: None }
    }

    fn inheriting(mut self, lease: Option<Lease>) -> Self {
        self.inherited = lease;
        self
    }

    /// Takes out the lease of the parked creation from which the key was taken.
    pub(crate) fn inherited(&mut self) -> Option<Lease> {
        self.inherited.take()
    }

    /// Leaves the key, with what is held in the backend, to a creation that waits for
    /// its runner. Who waits already does not wait for that: it gets the key.
    pub(crate) fn park(self, lease: Option<Lease>) -> Parked {
        let mut shard = self.table.shard(&self.key).lock();
        let elected = match shard.flights.get_mut(&self.key) {
            Some(flight) if flight.holder == self.holder => {
                flight.stage = Stage::Parked(lease);
                flight.elect()
            }
            // It was taken over: the lease ends here, outside of the lock.
            _ => {
                drop(shard);
                return Parked(self);
            }
        };
        drop(shard);
        if let Some(elected) = elected {
            self.table.seat(&self.key, elected);
        }
        Parked(self)
    }

    /// Did a holder of any key end with a value since `ticket`? Then a look
    /// into the store from before is out of date.
    pub(crate) fn overtaken_since(&self, ticket: Ticket) -> bool {
        self.table.ended.load(Ordering::Acquire) != ticket.0
    }

    /// The present moment among those who come for the key.
    pub(crate) fn cut(&self) -> Cut {
        self.table.cut()
    }

    /// When the creation began: to be called when it does, and to tell those who
    /// wait already from those who come during it.
    pub(crate) fn begin(&mut self) {
        let table: &Table = &self.table;
        let mut shard = table.shard(&self.key).lock();
        // Taken under the lock of those who join.
        let cut = table.cut();
        self.begun = Some(cut);
        if let Some(flight) = shard.flights.get_mut(&self.key)
            && flight.holder == self.holder
        {
            flight.stage = Stage::Begun(cut);
        }
    }

    /// When its creation began; now, if it has not.
    pub(crate) fn begun(&self) -> Cut {
        self.begun.unwrap_or_else(|| self.cut())
    }

    /// Was the key changed or taken over since this creation began?
    pub(crate) fn is_outdated(&self) -> bool {
        let shard = self.table.shard(&self.key).lock();
        self.begun.is_some()
            && shard.flights.get(&self.key).is_none_or(|flight| flight.holder != self.holder)
    }

    /// Hands the value to the waiters that joined before `cut`, if there are any, and passes the key on
    /// to the others. An outdated creation has no other waiters than those from
    /// before its begin.
    pub(crate) fn finish(self, value: impl FnOnce() -> Handed, cut: Cut) {
        let table: &Table = &self.table;
        table.ended.fetch_add(1, Ordering::AcqRel);
        let mut shard = table.shard(&self.key).lock();
        let served = match shard.flights.get_mut(&self.key) {
            Some(flight) if flight.holder == self.holder => flight.take_before(cut),
            _ => shard.take_outdated(self.holder).unwrap_or_default(),
        };
        drop(shard);
        if !served.is_empty() {
            let value = value();
            for seat in served.into_values() {
                seat.deliver(SeatState::Handed(value.clone()));
            }
        }
        // Dropping it passes the key on.
    }
}

impl Drop for KeyGuard {
    fn drop(&mut self) {
        drop(self.inherited.take());
        self.table.pass_on(&self.key, self.holder);
    }
}

/// A place in the queue for a key.
struct Waiter {
    table: Rebuilt<Table>,
    key: Arc<str>,
    number: u64,
    seat: Arc<Seat>,
}

impl Waiter {
    fn guard(&self) -> KeyGuard {
        KeyGuard::of(self.table.clone(), self.key.clone(), self.number)
    }
}

impl Future for Waiter {
    type Output = Turn;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Turn> {
        let mut state = self.seat.state.lock();
        match std::mem::replace(&mut *state, SeatState::Gone) {
            SeatState::Elected(lease) => Poll::Ready(Turn::Won(self.guard().inheriting(lease))),
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
            SeatState::Elected(lease) => {
                drop(lease);
                drop(self.guard());
            }
            SeatState::Waiting(_) => {
                // Numbers are never used twice, so other flights of the same key
                // are safe from this.
                let mut shard = self.table.shard(&self.key).lock();
                if let Some(flight) = shard.flights.get_mut(&self.key) {
                    flight.waiters.remove(self.number);
                }
                for (_, early) in &mut shard.outdated {
                    early.remove(self.number);
                }
            }
            SeatState::Handed(_) | SeatState::Gone => {}
        }
    }
}
