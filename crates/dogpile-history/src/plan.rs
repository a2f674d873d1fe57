//! The plan of a run.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::sabotage::Sabotage;

/// The time that a creation lock lives that nobody renews.
pub const LEASE: Duration = Duration::from_secs(2);

/// The time that a server may take to answer, and to be connected to, where it is disturbed.
/// Elsewhere a busy machine must not look like a dead server.
pub const TIME_OUT: Duration = Duration::from_millis(500);

/// The delay of a slow connection, each way.
pub const LATENCY: Duration = Duration::from_millis(10);

/// The number of keys.
pub const KEYS: usize = 8;

/// The longest creation.
pub const CREATION: Duration = Duration::from_millis(20);

/// A backend under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// Live objects in one process.
    Memory,
    /// Bytes in one process.
    Serialized,
    /// A file that processes share.
    File,
    /// A Redis server.
    Redis,
    /// A Redis server that refuses scripts.
    RedisPlain,
    /// A Redis cluster.
    RedisCluster,
    /// A Redis master that sentinels watch.
    RedisSentinel,
    /// A memcached server.
    Memcached,
    /// Two memcached servers.
    #[value(name = "memcached-2")]
    #[serde(rename = "memcached-2")]
    Memcached2,
}

/// The kind of change whose promises are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Deletions of keys.
    Delete,
    /// Values set by hand.
    Set,
    /// Values created once more.
    Refresh,
    /// Values expired before their time: older ones are stale.
    Expire,
    /// Hard invalidation of the region, which every read looks for.
    Invalidate,
    /// Hard invalidation of the region, which processes look for each second.
    InvalidateDelayed,
    /// Soft invalidation of the region: older values are stale.
    InvalidateSoft,
    /// Any of those that take an older value away: a deletion, a value set, one created once
    /// more, a hard invalidation.
    Mixed,
}

/// The disturbances meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Disturb {
    /// Nothing.
    None,
    /// Calls are dropped after at most 10 ms.
    Cancel,
    /// Worker processes are stopped for longer than a lease, and go on.
    Stop,
    /// Worker processes are killed, and others take their places.
    Kill,
    /// A server is stopped, and goes on.
    ServerStop,
    /// A server is killed, and comes back empty.
    ServerAway,
    /// Connections end.
    Cut,
    /// Connections stay open, but nothing passes any more.
    HalfOpen,
    /// The connections on which servers tell of changes end, again and again.
    TrackingCut,
    /// The connections on which servers tell of changes stay open, but nothing passes any more.
    TrackingHalfOpen,
    /// The connections of one process, or those to one server, are held back for a while.
    Partition,
    /// Everything comes 10 ms later, each way.
    Slow,
    /// A master is killed, and a replica takes over.
    Failover,
    /// Keys move to other nodes of the cluster.
    Migrate,
}

/// The callers in the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Callers {
    /// Tasks.
    Tasks,
    /// Threads that their calls block.
    Threads,
    /// Tasks and such threads, in turn.
    Mixed,
}

/// The proxy around the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Around {
    /// The proxy that logs each operation.
    Logging,
    /// Copies in moka, kept by hand for a second: promises are broken, and the row says how often.
    ByHand,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The backend under test.
    pub backend: Backend,
    /// The kind of change.
    pub change: Change,
    /// The disturbances meanwhile.
    pub disturb: Disturb,
    /// The proxy around the backend.
    pub around: Option<Around>,
    /// The fault that the backend is given on purpose.
    pub sabotage: Option<Sabotage>,
    /// The time for which a process keeps what it cannot store.
    pub keep_when_down: Duration,
    /// The age of the copies in the near tiers of the processes at most, if they have any.
    pub near: Option<Duration>,
    /// For how long the processes work.
    pub lasts: Duration,
    /// The seed of the random numbers.
    pub seed: u64,
    /// The number of processes that take part, where several can.
    pub processes: usize,
    /// The callers.
    pub callers: Callers,
    /// The number of callers that each process has.
    pub tasks: usize,
    /// The program of the worker processes.
    pub worker: PathBuf,
    /// The place where the log stays, if it is wanted.
    pub keep: Option<PathBuf>,
}

impl Plan {
    /// A run of five seconds in four processes of eight tasks, undisturbed.
    pub fn new(backend: Backend, change: Change, worker: impl Into<PathBuf>) -> Self {
        Self {
            backend,
            change,
            disturb: Disturb::None,
            around: None,
            sabotage: None,
            keep_when_down: Duration::ZERO,
            near: None,
            lasts: Duration::from_secs(5),
            seed: 1,
            processes: 4,
            callers: Callers::Tasks,
            tasks: 8,
            worker: worker.into(),
            keep: None,
        }
    }

    /// Returns how many processes take part.
    pub fn workers(&self) -> usize {
        if self.backend.is_shared() { self.processes } else { 1 }
    }

    /// Returns how long a server may take to answer, and to be connected to.
    pub fn time_out(&self) -> Duration {
        if self.disturb.breaks_things() { TIME_OUT } else { 4 * TIME_OUT }
    }

    /// Returns why there is no such run, if there is none.
    pub fn skipped(&self) -> Option<&'static str> {
        let Self { backend, change, disturb, .. } = *self;
        if self.near.is_some() && backend == Backend::Memory {
            return Some("a near tier over memory is refused");
        }
        if change == Change::InvalidateDelayed && !backend.is_shared() {
            return Some("an invalidation within a process has no delay");
        }
        disturb.missing_for(backend)
    }
}

impl Backend {
    /// Returns whether several processes can share it.
    pub fn is_shared(self) -> bool {
        !matches!(self, Self::Memory | Self::Serialized)
    }

    /// Returns whether it lies on servers.
    pub fn has_servers(self) -> bool {
        self.is_shared() && self != Self::File
    }

    /// Returns whether its servers tell of changes on connections for this.
    fn tells_of_changes(self) -> bool {
        self.has_servers() && !matches!(self, Self::Memcached | Self::Memcached2)
    }

    fn has_replicas(self) -> bool {
        matches!(self, Self::RedisCluster | Self::RedisSentinel)
    }

    /// Returns its name on the command line.
    pub fn name(self) -> String {
        name(&self)
    }
}

impl Callers {
    /// Returns whether the caller number `index` of a process is a thread that its calls block.
    pub fn blocks(self, index: usize) -> bool {
        match self {
            Self::Tasks => false,
            Self::Threads => true,
            Self::Mixed => index % 2 == 1,
        }
    }

    /// Returns its name on the command line.
    pub fn name(self) -> String {
        name(&self)
    }
}

impl Change {
    /// Returns its name on the command line.
    pub fn name(self) -> String {
        name(&self)
    }

    /// Returns whether the region is invalidated, and not its keys alone changed.
    pub fn is_of_the_region(self) -> bool {
        !matches!(self, Self::Delete | Self::Set | Self::Refresh | Self::Expire)
    }

    /// Returns how long processes may go without looking for an invalidation.
    pub fn delay(self) -> Duration {
        if self == Self::InvalidateDelayed { Duration::from_secs(1) } else { Duration::ZERO }
    }
}

impl Disturb {
    /// Returns its name on the command line.
    pub fn name(self) -> String {
        name(&self)
    }

    /// Returns whether locks may end before their time, and calls fail.
    pub fn breaks_things(self) -> bool {
        !matches!(self, Self::None | Self::Cancel | Self::Slow | Self::TrackingCut)
    }

    /// Returns whether it needs proxies before the servers.
    pub fn needs_proxy(self) -> bool {
        matches!(
            self,
            Self::Cut | Self::HalfOpen | Self::TrackingHalfOpen | Self::Partition | Self::Slow
        )
    }

    /// Returns why `backend` cannot be disturbed so, if it cannot.
    fn missing_for(self, backend: Backend) -> Option<&'static str> {
        match self {
            Self::Stop | Self::Kill if !backend.is_shared() => {
                Some("the cache is a part of its only process")
            }
            Self::None | Self::Cancel | Self::Stop | Self::Kill => None,
            Self::Failover if !backend.has_replicas() => Some("it has no replicas"),
            Self::TrackingCut | Self::TrackingHalfOpen if !backend.tells_of_changes() => {
                Some("it has no connections that tell of changes")
            }
            Self::Migrate if backend != Backend::RedisCluster => Some("it is not a cluster"),
            _ if !backend.has_servers() => Some("it has no servers"),
            Self::ServerStop | Self::ServerAway if backend.has_replicas() => {
                Some("a replica takes over: see `failover`")
            }
            Self::HalfOpen | Self::Partition if backend == Backend::RedisSentinel => {
                Some("its sentinels would take it for dead: see `failover`")
            }
            _ => None,
        }
    }
}

fn name<T: ValueEnum>(value: &T) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// The place where a worker finds the cache.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Place {
    /// Live objects in the worker.
    Memory,
    /// Bytes in the worker.
    Serialized,
    /// A file.
    File(PathBuf),
    /// Redis servers, by their URL.
    Redis(String),
    /// memcached servers, as `host:port`.
    Memcached(Vec<String>),
}

/// A worker's orders, as its only argument.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// The number of the process, unique in the run.
    pub process: u64,
    /// Its place among the workers; the keys that it may change follow from it.
    pub index: usize,
    /// The number of workers.
    pub workers: usize,
    /// The callers.
    pub callers: Callers,
    /// The number of callers; none only looks at what is left.
    pub tasks: usize,
    /// The seed of the random numbers.
    pub seed: u64,
    /// When the run began.
    pub began: Moment,
    /// The place of the cache.
    pub place: Place,
    /// The kind of change.
    pub change: Change,
    /// The time that a server may take to answer, and to be connected to.
    pub time_out: Duration,
    /// Whether calls are dropped at random.
    pub cancels: bool,
    /// The proxy around the backend.
    pub around: Option<Around>,
    /// The fault that the backend is given on purpose.
    pub sabotage: Option<Sabotage>,
    /// The time for which it keeps what it cannot store.
    pub keep_when_down: Duration,
    /// The age of the copies in its near tier at most, if it has one.
    pub near: Option<Duration>,
    /// The directory of the database and the logs.
    pub directory: PathBuf,
    /// Whether it looks at what is left when it has ended, and how much later.
    pub looks_after: Option<Duration>,
}
