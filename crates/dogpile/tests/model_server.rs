//! The protocol of changes and creations over a server, under a model checker: claim,
//! change, commit, refresh, lost leases and dropped calls, by two processes whose
//! requests and answers take any time.
//!
//! The server is scripted. [`Scripted`] has a step for each operation, as the scripts of
//! Redis have; [`Plain`] has plain operations and a lock, so that the library's own
//! protocol of marks is checked.
//!
//! `cargo xtask test` runs this with `--cfg shuttle`.
#![cfg(shuttle)]

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use dogpile::backend::{
    Backend, BackendError, ClaimMode, Claimed, Commit, KeepsBytes, Seen, Wanted,
};
use dogpile::lock::{AnyMutex, KeyedLock, Lease};
use dogpile::value::Entry;
use dogpile::{Config, Region};
use dogpile_testkit::ManualClock;
use shuttle::future::{JoinHandle, block_on, spawn, yield_now};
use shuttle::rand::Rng;

/// The content of a server.
#[derive(Default)]
struct State {
    items: HashMap<String, Entry>,
    marks: HashMap<String, u64>,
    locks: HashMap<String, u64>,
    waiting: Vec<Waker>,
    tokens: u64,
    /// The creation times of values whose time to live has ended, as bits.
    ended: HashSet<u64>,
}

impl State {
    fn token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    fn seen(&self, key: &str) -> Seen {
        Seen::of(self.items.get(key))
    }

    fn unlock(&mut self, key: &str, token: u64) {
        if self.locks.get(key) == Some(&token) {
            self.locks.remove(key);
            self.waiting.drain(..).for_each(Waker::wake);
        }
    }

    fn unmark(&mut self, key: &str, token: u64) -> bool {
        let is_whole = self.marks.get(key) == Some(&token);
        if is_whole {
            self.marks.remove(key);
        }
        is_whole
    }

    /// A change ends the claim of a creation.
    fn change(&mut self, key: &str, entry: Option<Entry>) {
        self.marks.remove(key);
        if let Some(token) = self.locks.get(key).copied() {
            self.unlock(key, token);
        }
        self.put(key, entry);
    }

    fn put(&mut self, key: &str, entry: Option<Entry>) {
        match entry {
            Some(entry) => drop(self.items.insert(key.to_owned(), entry)),
            None => drop(self.items.remove(key)),
        }
    }

    fn claim(&mut self, key: &str, mode: ClaimMode, token: u64) -> Result<Seen, Option<Entry>> {
        if let Some(entry) = self.items.get(key)
            && mode.is_settled_by(Some(entry))
        {
            return Err(Some(entry.clone()));
        }
        if self.locks.contains_key(key) && !mode.takes_over() {
            return Err(None);
        }
        self.locks.insert(key.to_owned(), token);
        self.marks.insert(key.to_owned(), token);
        Ok(self.seen(key))
    }

    /// The time to live of a value ends. That is no change.
    fn end_value(&mut self, key: &str) {
        if let Some(entry) = self.items.remove(key) {
            self.ended.insert(entry.metadata.ct.to_bits());
        }
    }

    fn has_ended(&self, seen: Seen) -> bool {
        matches!(seen, Seen::Created(ct) if self.ended.contains(&ct.to_bits()))
    }

    fn commit(&mut self, key: &str, entry: Option<Entry>, held: &Held) -> bool {
        let now = self.seen(key);
        let is_over = now == Seen::Nothing && self.has_ended(held.seen);
        let may_follow = is_over || held.mode.may_follow(held.seen, now);
        let is_whole = self.unmark(key, held.token);
        self.unlock(key, held.token);
        if is_whole && may_follow {
            self.put(key, entry);
            return true;
        }
        if !is_whole && held.mode == ClaimMode::Refresh && now == held.seen {
            self.items.remove(key);
        }
        false
    }
}

#[derive(Clone, Default)]
struct Server(Arc<shuttle::sync::Mutex<State>>);

impl Server {
    fn at_once<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }

    /// A request that travels, is carried out in one step, and is answered.
    async fn ask<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        yield_now().await;
        let answer = self.at_once(work);
        yield_now().await;
        answer
    }

    async fn until_free(&self, key: &str) {
        yield_now().await;
        poll_fn(|cx| {
            self.at_once(|state| {
                if !state.locks.contains_key(key) {
                    return Poll::Ready(());
                }
                state.waiting.push(cx.waker().clone());
                Poll::Pending
            })
        })
        .await;
    }

    /// A lease ends, though its creation goes on.
    fn lose_lock(&self, key: &str) {
        self.at_once(|state| {
            if let Some(token) = state.locks.get(key).copied() {
                state.unlock(key, token);
            }
        });
    }
}

/// A claim, or an attempt at one whose answer nobody may hear: dropped, it is given up.
struct Held {
    server: Server,
    key: String,
    token: u64,
    mode: ClaimMode,
    seen: Seen,
}

impl Held {
    fn new(server: &Server, key: &str, mode: ClaimMode) -> Self {
        let token = server.at_once(State::token);
        Self { server: server.clone(), key: key.to_owned(), token, mode, seen: Seen::Nothing }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.server.at_once(|state| {
            state.unmark(&self.key, self.token);
            state.unlock(&self.key, self.token);
        });
    }
}

/// The lock of a server, for both kinds of clients.
struct Lock(Server);

impl KeyedLock for Lock {
    async fn try_lock(&self, key: &str) -> Result<Option<Lease>, BackendError> {
        let held = Held::new(&self.0, key, ClaimMode::TakeOver);
        let token = held.token;
        let is_ours =
            self.0.ask(|state| *state.locks.entry(key.to_owned()).or_insert(token) == token);
        Ok(is_ours.await.then(|| Lease::new(held)))
    }

    async fn wait(&self, key: &str) -> Result<Option<Lease>, BackendError> {
        self.0.until_free(key).await;
        Ok(None)
    }

    async fn unlock(&self, lease: Lease) -> Result<(), BackendError> {
        if let Ok(held) = lease.into_inner::<Held>() {
            self.0.ask(|state| state.unlock(&held.key, held.token)).await;
        }
        Ok(())
    }

    async fn is_locked(&self, key: &str) -> Result<bool, BackendError> {
        Ok(self.0.at_once(|state| state.locks.contains_key(key)))
    }
}

/// A client of a server that makes each change in one step.
struct Scripted(Server);

impl Backend for Scripted {
    type Keeps = KeepsBytes;

    async fn get(&self, key: &str) -> Result<Option<Entry>, BackendError> {
        Ok(self.0.ask(|state| state.items.get(key).cloned()).await)
    }

    async fn set(&self, key: &str, entry: Entry) -> Result<(), BackendError> {
        self.0.ask(|state| state.change(key, Some(entry))).await;
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        self.0.ask(|state| state.change(key, None)).await;
        Ok(())
    }

    fn mutex(&self) -> Option<AnyMutex> {
        Some(AnyMutex::new(Lock(self.0.clone())))
    }

    fn orders_changes(&self) -> bool {
        true
    }

    async fn claim(&self, keys: Vec<Wanted<'_>>) -> Result<Vec<Claimed>, BackendError> {
        let mut claims = Vec::new();
        for Wanted { key, mode, .. } in keys {
            let mut held = Held::new(&self.0, key, mode);
            let token = held.token;
            claims.push(match self.0.ask(|state| state.claim(key, mode, token)).await {
                Ok(seen) => {
                    held.seen = seen;
                    Claimed::Won(Lease::new(held))
                }
                Err(Some(entry)) => Claimed::Changed(entry),
                Err(None) => Claimed::Held,
            });
        }
        Ok(claims)
    }

    async fn commit(&self, changes: Vec<Commit<'_>>) -> Result<Vec<bool>, BackendError> {
        let mut made = Vec::new();
        for Commit { key, entry, lease } in changes {
            let Ok(held) = lease.into_inner::<Held>() else { continue };
            made.push(self.0.ask(|state| state.commit(key, entry, &held)).await);
        }
        Ok(made)
    }

    async fn release(&self, leases: Vec<Lease>) {
        yield_now().await;
        drop(leases);
        yield_now().await;
    }
}

/// A client of a server that knows plain operations only.
struct Plain(Server);

impl Backend for Plain {
    type Keeps = KeepsBytes;

    async fn get(&self, key: &str) -> Result<Option<Entry>, BackendError> {
        Ok(self.0.ask(|state| state.items.get(key).cloned()).await)
    }

    async fn set(&self, key: &str, entry: Entry) -> Result<(), BackendError> {
        self.0.ask(|state| state.put(key, Some(entry))).await;
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        self.0.ask(|state| state.put(key, None)).await;
        Ok(())
    }

    fn mutex(&self) -> Option<AnyMutex> {
        Some(AnyMutex::new(Lock(self.0.clone())))
    }
}

/// Lets others go on for a while: a creation takes more steps than a change, which would
/// mostly be over before one has begun.
async fn sometime() {
    for _ in 0..shuttle::rand::thread_rng().gen_range(0..30) {
        yield_now().await;
    }
}

/// Two processes over one server, and the database that they read.
struct World {
    server: Server,
    processes: [Region; 2],
    clock: ManualClock,
    /// The version of the row in the database.
    version: AtomicUsize,
    /// The latest version whose change has returned.
    told: AtomicUsize,
    /// Creators that run.
    running: AtomicUsize,
    /// An old value is never read, not even for a moment.
    is_exact: bool,
    /// Nothing lets a second creator begin while one runs.
    excludes: bool,
}

impl World {
    fn new(is_exact: bool, excludes: bool) -> Arc<Self> {
        let (server, clock) = (Server::default(), ManualClock::new());
        let process = |name| {
            let region = Region::new(name);
            let config = if is_exact {
                Config::new(Scripted(server.clone()))
            } else {
                Config::new(Plain(server.clone()))
            };
            region.configure(config.clock(clock.clone())).unwrap();
            region
        };
        Arc::new(Self {
            processes: [process("one"), process("other")],
            server,
            clock,
            version: AtomicUsize::new(1),
            told: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            is_exact,
            excludes,
        })
    }

    async fn creator(&self) -> usize {
        let version = self.version.load(Ordering::SeqCst);
        let others = self.running.fetch_add(1, Ordering::SeqCst);
        assert!(others == 0 || !self.excludes, "somebody else creates already");
        self.clock.advance(Duration::from_millis(1));
        yield_now().await;
        self.running.fetch_sub(1, Ordering::SeqCst);
        version
    }

    fn check(&self, floor: usize, read: usize) {
        assert!(read >= floor || !self.is_exact, "{read} was read after {floor} was told of");
    }

    async fn create(self: Arc<Self>, process: usize) {
        let floor = self.told.load(Ordering::SeqCst);
        let read = self.processes[process].get_or_create("k", || self.creator()).await;
        self.check(floor, read);
    }

    async fn get(self: Arc<Self>, process: usize) {
        let floor = self.told.load(Ordering::SeqCst);
        if let Some(read) = self.processes[process].get::<usize>("k").await.unwrap() {
            self.check(floor, read);
        }
    }

    async fn delete(self: Arc<Self>, process: usize) {
        sometime().await;
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        self.processes[process].delete("k").await.unwrap();
        self.told.fetch_max(version, Ordering::SeqCst);
    }

    async fn refresh(self: Arc<Self>, process: usize) {
        sometime().await;
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        let entry = self.processes[process].entry("k");
        entry.refresh(|| self.creator()).await;
        self.told.fetch_max(version, Ordering::SeqCst);
    }

    /// Everything has ended: nothing old is left, and nothing is held.
    fn is_over(&self) {
        let told = self.told.load(Ordering::SeqCst);
        let left = block_on(self.processes[0].get::<usize>("k")).unwrap();
        assert!(left.is_none_or(|left| left >= told), "{left:?} stays after {told} was told of");
        self.server.at_once(|state| {
            assert!(state.locks.is_empty(), "a lock was left");
            assert!(state.marks.is_empty(), "a mark was left");
            let own = |key: &&String| key.as_str() != "k";
            assert_eq!(state.items.keys().find(own), None, "a mark was left beside the value");
        });
    }
}

/// Runs `scenario` in many interleavings; each call is a task.
fn check(
    is_exact: bool,
    excludes: bool,
    scenario: impl Fn(&Arc<World>) -> Vec<JoinHandle<()>> + Send + Sync + 'static,
) {
    let scenario = Arc::new(scenario);
    let run = move || {
        let world = World::new(is_exact, excludes);
        for call in scenario(&world) {
            block_on(call).unwrap();
        }
        world.is_over();
    };
    shuttle::check_random(run.clone(), 10_000);
    shuttle::check_pct(run, 10_000, 3);
}

/// Polls `call` so many times and then drops it.
async fn abandon(call: impl Future<Output = ()>, polls: usize) {
    let mut call = Box::pin(call);
    for _ in 0..polls {
        if poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await.is_ready() {
            return;
        }
        yield_now().await;
    }
}

#[test]
fn creations_of_two_processes_exclude_each_other() {
    for is_exact in [true, false] {
        check(is_exact, true, |world| {
            let process = |index: usize| spawn(world.clone().create(index % 2));
            (0..4).map(process).collect()
        });
    }
}

#[test]
fn nothing_outlives_a_delete_by_another_process() {
    for is_exact in [true, false] {
        check(is_exact, false, |world| {
            vec![
                spawn(world.clone().create(0)),
                spawn(world.clone().delete(1)),
                spawn(world.clone().create(1)),
                spawn(world.clone().get(0)),
                spawn(world.clone().create(0)),
            ]
        });
    }
}

#[test]
fn of_two_refreshes_the_later_one_stays() {
    for is_exact in [true, false] {
        check(is_exact, false, |world| {
            vec![
                spawn(world.clone().create(0)),
                spawn(world.clone().refresh(0)),
                spawn(world.clone().refresh(1)),
                spawn(world.clone().create(1)),
            ]
        });
    }
}

#[test]
fn a_lost_lease_brings_nothing_old_back() {
    for is_exact in [true, false] {
        check(is_exact, false, |world| {
            let server = world.server.clone();
            let lose = async move {
                sometime().await;
                server.lose_lock("k");
            };
            vec![
                spawn(world.clone().create(0)),
                spawn(lose),
                spawn(world.clone().create(1)),
                spawn(world.clone().delete(0)),
                spawn(world.clone().create(1)),
            ]
        });
    }
}

#[test]
fn a_value_that_ends_hides_no_change() {
    check(true, false, |world| {
        let server = world.server.clone();
        let end = async move {
            for _ in 0..2 {
                sometime().await;
                server.at_once(|state| state.end_value("k"));
            }
        };
        vec![
            spawn(world.clone().create(0)),
            spawn(end),
            spawn(world.clone().refresh(1)),
            spawn(world.clone().delete(0)),
            spawn(world.clone().create(1)),
        ]
    });
}

#[test]
fn dropped_calls_leave_nothing_held() {
    check(true, false, |world| {
        let mut calls: Vec<_> = [1, 3, 5]
            .into_iter()
            .map(|polls| spawn(abandon(world.clone().create(polls % 2), polls)))
            .collect();
        calls.push(spawn(abandon(world.clone().refresh(0), 4)));
        calls.push(spawn(world.clone().create(0)));
        calls.push(spawn(world.clone().create(1)));
        calls
    });
}
