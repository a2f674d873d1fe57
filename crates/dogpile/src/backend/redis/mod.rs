//! The Redis and Valkey backend: values and creation locks for a whole fleet.
//!
//! The plan, which the other backends on servers follow:
//!
//! - `builder`, `url`, `settings`: what it is given: options, an address, settings by name;
//! - `connect`, `connection`, `link`: making a connection, what is said over it, keeping it alive and
//!   knowing that it is down while it is; `single`, `resp`: the connection to one server;
//! - `frame`: what is stored for an entry;
//! - `lock`, `tracking`, `broadcasts`, `watched`: locks, telling of changes, and those who are told;
//! - `asked`, `claim`, `commit`, `change`, with `mark`, `scripts` and `slot`: claiming, committing and
//!   changing in one step each; `plain`, `refusal`: the same where the server refuses scripts, and
//!   whether it does;
//! - `collections`: whole tables, in parts;
//! - `inspect`: looking into it from outside; `nodes`: the servers of a cluster one by one, for that
//!   and for tracking.
//!
//! Here are the type itself, what it shares between clones, and the trait, by way of these.

mod asked;
mod broadcasts;
mod builder;
mod change;
mod claim;
#[cfg(feature = "collections")]
mod collections;
mod commit;
mod connect;
mod connection;
mod frame;
mod inspect;
mod link;
mod lock;
mod mark;
mod nodes;
mod plain;
mod refusal;
mod resp;
mod scripts;
#[cfg(feature = "config")]
mod settings;
mod single;
mod slot;
mod tracking;
mod url;
mod watched;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::ConnectionLike;

use super::inspect::Inspect;
use super::{
    Backend, BackendError, Changed, Claimed, Commit, Follower, IfChanged, KeepsBytes, Version,
    Wanted, Watch,
};
use crate::lock::{AnyMutex, Lease};
use crate::process::{Rebuilt, generation};
use crate::remote::ledger::Ledger;
use crate::remote::link::Driver;
use crate::remote::prefix::{KeyPrefix, borrowed};
use crate::remote::{ends, lease};
use crate::value::Entry;
use builder::Options;
pub use builder::RedisBuilder;
use change::Change;
use connect::{Credentials, Endpoint, Target};
use connection::{Batch, Multiplexed};
use link::Link;
use lock::{LockToken, Locks};
use nodes::Nodes;
use refusal::Refusal;
use tracking::Tracker;

/// A Redis or Valkey server, the master that sentinels name, or a cluster.
/// Clones share it.
///
/// ```no_run
/// use dogpile::{Config, Region, backend::Redis};
///
/// static USERS: Region = Region::new("users");
///
/// USERS.configure(Config::new(Redis::open("redis://localhost")?))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// **Values** are as Python's dogpile.cache writes them; configure a JSON or
/// `MessagePack` serializer there. A hit is one `GET`.
///
/// **One creation for the fleet.** The lock is Python's: the key with `_lock`
/// before it, a random token, released only by its owner; so either makes the
/// other wait. It has a lease of 30 seconds, renewed while its creator runs, and
/// storing is bound to it: a creator that was paused for longer than its lease
/// stores nothing. One that hangs is given up after ten minutes. Waiters are
/// woken by the server's client tracking (Redis 6 and later), and poll where
/// there is none: over an existing connection, or where a rule of access forbids
/// it.
///
/// **When the server is down** calls fail at once, until one of the attempts to
/// connect again succeeds; those calls run their creators. Only those that
/// find out that it is down wait for the time-out.
///
/// **Extra creations**: none while server and creator live. One, by its
/// successor, where a creator dies, is paused for longer than its lease or is
/// cut off; one at a time per process and key while the server is away, and one after it
/// came back empty. A process that ends while it creates delays the others by the rest of
/// its lease, unless it calls [`shutdown`](crate::shutdown()) first.
///
/// **Access control**: beside the keys of its values, a user of this backend needs those of
/// their locks (`_lock` before the key) and of the marks of creations (`_mark{` before it). For
/// the region `users` that is `~users:* ~_lockusers:* ~_mark{users:*`. With a
/// [key prefix](RedisBuilder::key_prefix), all that this backend writes begins with that:
/// `redis://localhost?key_prefix=app:` needs `~app:*`.
///
/// **Collections** have a connection of their own for their data, which may take
/// a second per megabyte longer than other answers.
///
/// It works on any executor and in blocking code. Nothing is connected before
/// the first call.
///
/// **A forked process** opens connections of its own. An
/// [existing](Self::existing) connection belongs to the process that opened it: elsewhere
/// calls fail at once.
#[derive(Clone)]
pub struct Redis(Rebuilt<Arc<Shared>>);

struct Shared {
    target: Target,
    options: Options,
    link: Link,
    /// The servers that values are read from; the same unless a replica was asked for.
    reads: Link,
    /// The servers by themselves.
    nodes: Nodes,
    tracker: Option<Tracker>,
    refuses_scripts: Refusal,
    /// The servers as seen by renewals, and by releases in the background.
    leases: Link,
    ledger: Ledger<LockToken>,
    /// For the data of collections: nothing else waits behind them, or is lost with
    /// their connection.
    #[cfg(feature = "collections")]
    bulk: Link,
    /// For collections, where locks between processes are off.
    #[cfg(feature = "collections")]
    local_locks: crate::lock::KeyedMutex,
}

impl Redis {
    /// The server or servers that `url` names:
    /// `redis://[user:password@]host[:port][/db]`, `rediss://` for TLS,
    /// `unix:///path`, `redis+sentinel://host:port,host:port/service[/db]`,
    /// `redis+cluster://host:port,host:port`; `valkey` says the same as `redis`.
    ///
    /// TLS has the cryptography that the application has installed as rustls's default, or
    /// ring's, for these connections only. With sentinels and clusters the client library needs
    /// a default of the whole process: if there is none, connecting installs ring's, and says
    /// so by an event. An application that wants another installs it before.
    ///
    /// # Errors
    ///
    /// If it is no such URL. Whether anybody is there shows at the first call.
    pub fn open(url: &str) -> Result<Self, BackendError> {
        Self::builder(url)?.open()
    }

    /// The same with options.
    pub fn builder(url: &str) -> Result<RedisBuilder, BackendError> {
        let (target, key_prefix) = url::parse(url)?;
        Ok(RedisBuilder::new(target, key_prefix))
    }

    /// A connection that the application has, of redis-rs 1: multiplexed,
    /// managed, or of a cluster that keeps both keys in one slot. Its time-outs
    /// and its way to reconnect are the application's.
    ///
    /// Locks are renewed over it too: a creator that blocks all threads of its
    /// runtime for longer than the lease loses its lock, as it does not
    /// over a connection of this backend's own.
    pub fn existing<C>(connection: C) -> RedisBuilder
    where
        C: ConnectionLike + Clone + Send + Sync + 'static,
    {
        let target = Target {
            endpoint: Endpoint::Existing {
                connection: Arc::new(connection::Existing(Multiplexed(connection))),
                generation: generation(),
            },
            addresses: Vec::new(),
            credentials: Credentials::default(),
            db: 0,
            tls: None,
        };
        RedisBuilder::new(target, KeyPrefix::default())
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redis").field(&self.0.target).finish()
    }
}

impl Shared {
    /// For this process. Nothing is connected yet.
    fn new(target: Target, options: Options) -> Arc<Self> {
        let limits = options.limits;
        let link = link::to(&target, limits, Driver::Caller);
        let reads = match target.reading().filter(|_| options.read_from_replicas) {
            Some(replica) => link::to(&replica, limits, Driver::Caller),
            None => link.clone(),
        };
        let leases = link::to(&target, limits, Driver::IoThread);
        let tracker = target.can_track().then(|| Tracker::new(&target, link.clone(), limits));
        let (own, is_cluster) = (link.clone(), target.is_cluster());
        let open = move |server: &Target| {
            if is_cluster { link::to(server, limits, Driver::Caller) } else { own.clone() }
        };
        let nodes = Nodes::new(&target, link.clone(), open);
        #[cfg(feature = "collections")]
        let bulk = link::to(&target, limits, Driver::Caller);
        let shared = Arc::new(Self {
            target,
            options,
            link,
            reads,
            nodes,
            tracker,
            refuses_scripts: Refusal::new(),
            leases,
            ledger: Ledger::new(),
            #[cfg(feature = "collections")]
            bulk,
            #[cfg(feature = "collections")]
            local_locks: crate::lock::KeyedMutex::new(),
        });
        crate::shutdown::register(&shared);
        shared
    }

    /// Returns what `key` is called on the server.
    fn stored<'k>(&self, key: &'k str) -> Cow<'k, str> {
        self.options.key_prefix.stored(key)
    }

    fn all_stored<'k>(&self, keys: &[&'k str]) -> Vec<Cow<'k, str>> {
        keys.iter().map(|key| self.stored(key)).collect()
    }

    fn lease_milliseconds(&self) -> u64 {
        u64::try_from(self.options.terms.lease.as_millis()).unwrap_or(u64::MAX)
    }

    async fn send_changes(&self, changes: Batch) -> Result<(), BackendError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.link.send_all_or_fail(&changes).await.map(drop)
    }
}

impl Backend for Redis {
    type Keeps = KeepsBytes;

    #[expect(clippy::unnecessary_literal_bound, reason = "the trait has it so")]
    fn name(&self) -> &str {
        "redis"
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, BackendError> {
        let shared = &*self.0;
        let key = shared.stored(key);
        frame::entry_of(&shared.reads, shared.reads.read(&lock::get(&key)).await?)
    }

    async fn set(&self, key: &str, entry: Entry) -> Result<(), BackendError> {
        let shared = &*self.0;
        let (key, frame) = (shared.stored(key), Some(shared.frame(&entry)?));
        shared.change(vec![Change { key: &key, frame }]).await
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        let shared = &*self.0;
        let key = shared.stored(key);
        shared.change(vec![Change { key: &key, frame: None }]).await
    }

    async fn get_multi(&self, keys: &[&str]) -> Result<Vec<Option<Entry>>, BackendError> {
        let shared = &*self.0;
        frame::get_multi(&shared.reads, &shared.all_stored(keys)).await
    }

    async fn set_multi(&self, entries: &[(&str, Entry)]) -> Result<(), BackendError> {
        let shared = &*self.0;
        let keys: Vec<_> = entries.iter().map(|(key, _)| shared.stored(key)).collect();
        let mut changes = Vec::with_capacity(entries.len());
        for (key, (_, entry)) in keys.iter().zip(entries) {
            changes.push(Change { key, frame: Some(shared.frame(entry)?) });
        }
        shared.change(changes).await
    }

    async fn delete_multi(&self, keys: &[&str]) -> Result<(), BackendError> {
        let shared = &*self.0;
        let keys = shared.all_stored(keys);
        let changes = keys.iter().map(|key| Change { key, frame: None });
        shared.change(changes.collect()).await
    }

    fn mutex(&self) -> Option<AnyMutex> {
        let locks = || AnyMutex::new(Locks::new(&self.0, Duration::ZERO));
        self.0.options.locks.then(locks)
    }

    fn orders_changes(&self) -> bool {
        true
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn claim(&self, keys: Vec<Wanted<'_>>) -> Result<Vec<Claimed>, BackendError> {
        let shared = &*self.0;
        if shared.ledger.is_closed() {
            let owned = shared.options.key_prefix.wanted(&keys);
            return shared.claim_in_vain(borrowed(&owned)).await;
        }
        let (held, owned) = (shared.clone(), shared.options.key_prefix.wanted(&keys));
        let claim = async move { held.claim(borrowed(&owned)).await };
        lease::claiming::<Shared, _>(shared, claim).await.ok_or_else(ends)?
    }

    async fn commit(&self, changes: Vec<Commit<'_>>) -> Result<Vec<bool>, BackendError> {
        let shared = &*self.0;
        let keys: Vec<_> = changes.iter().map(|change| shared.stored(change.key)).collect();
        let changes = changes.into_iter().zip(&keys);
        shared.commit(changes.map(|(change, key)| Commit { key, ..change }).collect()).await
    }

    async fn release(&self, leases: Vec<Lease>) {
        self.0.give_back(leases).await;
    }

    fn follow(&self, follower: Arc<dyn Follower>) -> Option<Watch> {
        let shared = &*self.0;
        let key_prefix = shared.options.key_prefix.clone();
        match &shared.tracker {
            Some(tracker) => tracker.follow(follower, key_prefix).ok(),
            // Each read says that nobody is told.
            None => Some(Watch::new(())),
        }
    }

    async fn get_if_changed(
        &self,
        key: &str,
        since: Option<Version>,
    ) -> Result<IfChanged, BackendError> {
        let shared = &*self.0;
        let key = shared.stored(key);
        if shared.tracker.as_ref().is_some_and(|tracker| tracker.tells_all_of(&key)) {
            // Of the master: a replica may be behind what was told.
            let answer = shared.link.read(&lock::get(&key)).await?;
            return frame::if_changed(&shared.link, answer, since, true);
        }
        if let Some(tracker) = &shared.tracker
            && let Ok((link, Ok(answer))) = tracker.read(&key).await
        {
            return frame::if_changed(&link, Ok(answer), since, true);
        }
        let answer = shared.reads.read(&lock::get(&key)).await?;
        frame::if_changed(&shared.reads, answer, since, false)
    }

    fn watch(&self, key: &str, changed: Changed) -> Option<Watch> {
        let shared = &*self.0;
        shared.tracker.as_ref()?.watch(&shared.stored(key), changed).ok()
    }

    #[cfg(feature = "collections")]
    fn collections(&self) -> Option<Arc<dyn super::CollectionStore>> {
        Some(Arc::new(self.clone()))
    }

    fn inspect(&self) -> Option<Arc<dyn Inspect>> {
        Some(Arc::new(self.clone()))
    }
}
