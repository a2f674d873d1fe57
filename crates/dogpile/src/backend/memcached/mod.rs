//! The memcached backend: values and creation locks for a whole fleet.
//!
//! The plan is that of the Redis backend, where the same names have the same part:
//!
//! - `builder`, `url`, `settings`: what it is given: options, an address, settings by name;
//! - `connect`, `connection`, `protocol`: making a connection, what is said over it, and how, in two
//!   protocols;
//! - `servers`, `placement`, `answer`: asking several, which one has a key, what answers mean;
//! - `item`, `keys`: what is stored for an entry, and under which keys;
//! - `lock`: locks, which are polled, since the servers tell nobody of changes;
//! - `attempt`, `claim`, `takeover`, `held_claim`, `commit`, `give_up`, with `marks` and `doubts`: claiming and committing, which here
//!   takes several requests; what keeps a creation from being stored over a later change, and what may
//!   have been stored in spite of that;
//! - `inspect`: looking into it from outside.
//!
//! It keeps no `collections`. Here are the type itself, what it shares between clones, and the trait,
//! by way of these.

mod answer;
mod attempt;
mod builder;
mod claim;
mod commit;
mod connect;
mod connection;
mod doubts;
mod give_up;
mod held_claim;
mod inspect;
mod item;
mod keys;
mod lock;
mod marks;
mod placement;
mod protocol;
mod servers;
#[cfg(feature = "config")]
mod settings;
mod takeover;
mod url;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::inspect::Inspect;
use super::{Backend, BackendError, Claimed, Commit, IfChanged, KeepsBytes, Version, Wanted};
use crate::key::Mangler;
use crate::lock::{AnyMutex, Lease};
use crate::process::Rebuilt;
use crate::remote::ledger::Ledger;
use crate::remote::link::Driver;
use crate::remote::prefix::borrowed;
use crate::remote::{ends, lease};
use crate::value::Entry;
use answer::found;
pub use builder::MemcachedBuilder;
use builder::Options;
use connect::Target;
use doubts::Doubts;
use lock::{LockToken, Locks};
pub use placement::{Place, Placement};
use protocol::{Number, Only, Protocol, Reply, Request};
use servers::Servers;

/// A memcached server, or several that share the keys. Clones share it.
///
/// ```no_run
/// use dogpile::{Config, Region, backend::Memcached};
///
/// static USERS: Region = Region::new("users");
///
/// USERS.configure(Config::new(Memcached::open("memcached://localhost")?))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// **Values** are as Python's dogpile.cache writes them with a serializer of
/// JSON, by way of pylibmc or pymemcache. A hit is one request.
///
/// **Keys** of more than 243 bytes, or with spaces or control characters, are
/// [replaced](crate::key::for_memcached) by their SHA-1, unless the region mangles
/// keys itself; others stay as they are. (The server takes 250 bytes, and the mark of
/// a creation has 7 more than the key; a longer lock prefix than that leaves less.) A
/// mangler of yours has to keep to it: longer keys are an error, and so are those that
/// begin with the lock's prefix or `_mark{`, which are no values.
///
/// **One creation for the fleet.** The lock is Python's: the key with `_lock`
/// before it, taken by `add`; so either makes the other wait. It has a lease of
/// 30 seconds, renewed while its creator runs. Releasing it, renewing it and
/// storing the value are bound to the numbers that the server gives to items,
/// so nobody touches a successor's lock or value. Waiters poll, after 5 ms at
/// first and 40 ms at last.
///
/// **The order of changes.** Once a `set`, `delete`, `refresh` or invalidation has
/// returned, nobody is given what a creator began to read before it, with one exception.
/// Where a value was stored, a creation is bound to its number, which is exact. Where
/// nothing was, it stores and looks whether the key was changed meanwhile; if so, it
/// withdraws what it has stored. So an older value can be read for two round trips at
/// most. It is stored with a short time to live (the lease, of 2 seconds at least) until
/// the look has been taken, so it ends by itself if the process dies between the two. A
/// commit whose answer was lost may take effect later: what it stores then is removed in
/// the background.
///
/// **When a server is down** calls for its keys fail at once, until one of the
/// attempts to connect again succeeds; those calls run their creators. In calls
/// for several keys, the others' keys are served.
///
/// **Extra creations**: none while servers and creator live and the servers'
/// memory suffices. One, by its successor, where a creator dies, is paused for
/// longer than its lease or is cut off, and where a server evicts a lock to make
/// room, which the renewal finds out; one per process and key while the key's or
/// the lock's server is away, and after it came back empty; and another where the server
/// is lost during a creation, since what could not be stored is given to nobody who asked
/// after it began. A process that ends while it
/// creates delays the others by the rest of its lease, unless it calls
/// [`shutdown`](crate::shutdown()) first.
///
/// **What remains possible**: a Python process releases whatever lock it finds,
/// also one that is ours since its own has ended; then there are two creators.
///
/// It works on any executor and in blocking code. Nothing is connected before
/// the first call. A forked process opens connections of its own.
#[derive(Clone)]
pub struct Memcached(Rebuilt<Arc<Shared>>);

struct Shared {
    target: Target,
    options: Options,
    servers: Servers,
    /// The servers as seen by renewals, and by releases in the background.
    leases: Servers,
    ledger: Ledger<LockToken>,
    doubts: Doubts,
}

impl Memcached {
    /// The servers that `url` names:
    /// `memcached://[user:password@]host[:port],host[:port]`, `memcacheds://` for
    /// TLS, `memcached+binary://` for the binary protocol, `memcached+unix:///path`.
    ///
    /// # Errors
    ///
    /// If it is no such URL. Whether anybody is there shows at the first call.
    pub fn open(url: &str) -> Result<Self, BackendError> {
        Self::builder(url)?.open()
    }

    /// The same with options.
    pub fn builder(url: &str) -> Result<MemcachedBuilder, BackendError> {
        let (target, key_prefix) = url::parse(url)?;
        Ok(MemcachedBuilder::new(target, key_prefix))
    }
}

impl fmt::Debug for Memcached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Memcached").field(&self.0.target).finish()
    }
}

/// For fuzzing: how many answers there are in what a server sent.
#[cfg(fuzzing)]
pub fn read_answers(is_binary: bool, bytes: &[u8]) -> usize {
    let protocol = if is_binary { Protocol::Binary } else { Protocol::Meta };
    let mut from = bytes::BytesMut::from(bytes);
    std::iter::from_fn(|| protocol.read(&mut from).ok().flatten())
        .map(|reply| match reply {
            Reply::Item { flags, value, .. } => drop(item::unpack(flags, &value)),
            _ => {}
        })
        .count()
}

impl Shared {
    /// For this process. Nothing is connected yet.
    fn new(target: Target, options: Options) -> Arc<Self> {
        let servers = |connections, driver| Servers::new(&target, &options, connections, driver);
        let leases = servers(1, Driver::IoThread);
        let servers = servers(options.connections, Driver::Caller);
        let (ledger, doubts) = (Ledger::new(), Doubts::default());
        let shared = Arc::new(Self { target, options, servers, leases, ledger, doubts });
        crate::shutdown::register(&shared);
        shared
    }

    /// Returns what `key` is called on the server, if that takes it.
    fn stored<'k>(&self, key: &'k str) -> Result<Cow<'k, str>, BackendError> {
        let key = self.options.key_prefix.stored(key);
        self.check_key(&key).map(|()| key)
    }

    fn all_stored<'k>(&self, keys: &[&'k str]) -> Result<Vec<Cow<'k, str>>, BackendError> {
        keys.iter().map(|key| self.stored(key)).collect()
    }
}

impl Backend for Memcached {
    type Keeps = KeepsBytes;

    #[expect(clippy::unnecessary_literal_bound, reason = "the trait has it so")]
    fn name(&self) -> &str {
        "memcached"
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, BackendError> {
        let shared = &*self.0;
        let key = shared.stored(key)?;
        found(shared.servers.ask(Request::Get { key: &key, value: true }).await)
    }

    async fn set(&self, key: &str, entry: Entry) -> Result<(), BackendError> {
        let shared = &*self.0;
        let key = &shared.stored(key)?;
        let item = shared.pack(key, &entry)?;
        shared.change(vec![item.storing(key, item.ttl, Only::Always)]).await
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        let shared = &*self.0;
        let key = &shared.stored(key)?;
        shared.change(vec![Request::Delete { key, number: None }]).await
    }

    /// The keys of servers that are away read as missing, unless all are away.
    async fn get_multi(&self, keys: &[&str]) -> Result<Vec<Option<Entry>>, BackendError> {
        let shared = &*self.0;
        let keys = shared.all_stored(keys)?;
        let requests = keys.iter().map(|key| Request::Get { key, value: true });
        let mut answers = shared.servers.ask_all(requests.collect()).await;
        if answers.iter().all(Result::is_err)
            && let Some(Err(error)) = answers.pop()
        {
            return Err(error);
        }
        Ok(answers.into_iter().map(|answer| found(answer).unwrap_or_default()).collect())
    }

    /// All that can be stored is, also where another value or server fails.
    async fn set_multi(&self, entries: &[(&str, Entry)]) -> Result<(), BackendError> {
        let shared = &*self.0;
        let prefix = &shared.options.key_prefix;
        let keys: Vec<_> = entries.iter().map(|(key, _)| prefix.stored(key)).collect();
        let mut requests = Vec::with_capacity(entries.len());
        let mut refused = Ok(());
        for (key, (_, entry)) in keys.iter().zip(entries) {
            match shared.pack(key, entry) {
                Ok(item) => requests.push(item.storing(key, item.ttl, Only::Always)),
                Err(error) => refused = Err(error),
            }
        }
        shared.change(requests).await.and(refused)
    }

    async fn delete_multi(&self, keys: &[&str]) -> Result<(), BackendError> {
        let shared = &*self.0;
        let keys = shared.all_stored(keys)?;
        let requests = keys.iter().map(|key| Request::Delete { key, number: None });
        shared.change(requests.collect()).await
    }

    fn mutex(&self) -> Option<AnyMutex> {
        self.0.options.locks.then(|| AnyMutex::new(Locks(self.0.clone())))
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
        let prefix = &shared.options.key_prefix;
        let keys: Vec<_> = changes.iter().map(|change| prefix.stored(change.key)).collect();
        let changes = changes.into_iter().zip(&keys);
        shared.commit(changes.map(|(change, key)| Commit { key, ..change }).collect()).await
    }

    async fn release(&self, leases: Vec<Lease>) {
        self.0.give_back(leases).await;
    }

    /// By the number of the item, which is another one after each change. Where its connection is a
    /// younger one, the server may be another, and the item is read.
    async fn get_if_changed(
        &self,
        key: &str,
        since: Option<Version>,
    ) -> Result<IfChanged, BackendError> {
        let shared = &*self.0;
        let key = &*shared.stored(key)?;
        if let Some(number) = since.map(Number::of_version) {
            let answer = shared.servers.ask(Request::Compare { key, number }).await;
            match answer {
                Ok(Reply::Done { number: now } | Reply::Item { number: now, .. })
                    if now == number =>
                {
                    return Ok(IfChanged::NotModified { is_followed: false });
                }
                Ok(Reply::Done { .. } | Reply::Refused) => {}
                read => return answer::read(read),
            }
        }
        answer::read(shared.servers.ask(Request::Get { key, value: true }).await)
    }

    fn recommended_mangler(&self) -> Option<Mangler> {
        Some(self.0.mangler())
    }

    fn inspect(&self) -> Option<Arc<dyn Inspect>> {
        let text = self.0.target.protocol == Protocol::Meta;
        text.then(|| Arc::new(self.clone()) as Arc<dyn Inspect>)
    }
}
