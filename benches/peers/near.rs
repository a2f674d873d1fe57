//! Popular values of a Redis server, answered from this process's memory: the near tier beside a memory
//! region, a hit without it, and what else there is.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dogpile::backend::{AnyBackend, Memory, Redis};
use dogpile::{Config, Near, Region};
use dogpile_servers::RedisServer;
use redis::aio::MultiplexedConnection;
use tokio::runtime::Runtime;

use crate::measure::{Contestant, Effort, Times, race};
use crate::table::{Row, Section};

/// Cheap to clone, as cached values should be.
type Value = Arc<[u64; 8]>;

const KEYS: usize = 1_000;

const NEAR: &str = "get, near tier over Redis";
const MEMORY: &str = "get, memory";
const QUICK: &str = "quick_cache get";
const BY_HAND: &str = "moka before redis-rs, by hand";
const PLAIN: &str = "get, Redis without near tier";
const BARE: &str = "redis-rs GET, decoded";
const CACHE_AIO: &str = "redis-rs cache-aio, decoded";

fn key(number: usize) -> String {
    format!("user:{}", number * 389 % KEYS)
}

struct Contest {
    runtime: Runtime,
    keys: Vec<String>,
    memory: Region,
    near: Region,
    plain: Region,
    quick: quick_cache::sync::Cache<String, Value>,
    moka: moka::future::Cache<String, Value>,
    bare: MultiplexedConnection,
    caching: MultiplexedConnection,
}

impl Contest {
    fn over(server: &RedisServer) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be started");
        let redis = || Redis::open(&server.url()).expect("a good URL");
        let region = |name: &'static str, config: Config| {
            let region = Region::new(name);
            let config = config.shared_keys().local_invalidation();
            region.configure(config.expiration(Duration::from_secs(3_600))).expect("it is new");
            region
        };
        let client = redis::Client::open(format!("{}?protocol=resp3", server.url()));
        let client = client.expect("a good URL");
        let connect = async |config: redis::AsyncConnectionConfig| {
            let connecting = client.get_multiplexed_async_connection_with_config(&config);
            connecting.await.expect("the server is there")
        };
        let caching = redis::caching::CacheConfig::new();
        let caching = redis::AsyncConnectionConfig::new().set_cache_config(caching);
        let moka = moka::future::Cache::builder().max_capacity(10_000);
        Self {
            keys: (0..KEYS).map(key).collect(),
            memory: region("memory", Config::over(AnyBackend::new(Memory::new(10_000)))),
            near: region("near", Config::new(redis()).near(Near::entries(10_000))),
            plain: region("plain", Config::new(redis())),
            quick: quick_cache::sync::Cache::new(10_000),
            moka: moka.time_to_live(Duration::from_secs(1)).build(),
            bare: runtime.block_on(connect(redis::AsyncConnectionConfig::new())),
            caching: runtime.block_on(connect(caching)),
            runtime,
        }
    }

    fn fill(&self) {
        let value: Value = Arc::new([7; 8]);
        self.runtime.block_on(async {
            for key in &self.keys {
                self.plain.set(key, &value).await.expect("the server is there");
                self.memory.set(key, &value).await.expect("it is in memory");
                self.quick.insert(key.clone(), value.clone());
            }
            for key in self.keys.iter().cycle().take(3 * KEYS) {
                let read = self.near.get::<Value>(key).await.expect("the server is there");
                assert!(read.is_some());
            }
        });
    }

    /// Microseconds per call of something that asks the server now and then, or always.
    fn over_the_network(&self, ask: &impl AsyncFn(&str)) -> f64 {
        let times = (0..20).map(|_| {
            let began = Instant::now();
            self.runtime.block_on(async {
                for key in &self.keys {
                    ask(key).await;
                }
            });
            began.elapsed().as_secs_f64() * 1e6 / KEYS as f64
        });
        times.skip(1).fold(f64::INFINITY, f64::min)
    }
}

/// So many keys are read for the server's memory.
const TRACKED: usize = 100_000;

/// So many keys are asked for once.
const SCANNED: usize = 1_000_000;

impl Contest {
    /// What is left of a scan, here and on the server: next to nothing.
    fn scan(&self, server: &RedisServer) -> Row {
        let tracked = || -> f64 {
            let info = server.ask("INFO stats");
            let keys = info.lines().find_map(|line| line.strip_prefix("tracking_total_keys:"));
            keys.and_then(|keys| keys.trim().parse().ok()).expect("a server says it")
        };
        let copies = || self.near.statistics().near_entries as f64;
        let before = (copies(), tracked());
        for from in (0..SCANNED).step_by(10_000) {
            let keys = (from..from + 10_000).map(|n| format!("scanned:{n}"));
            let read = self.runtime.block_on(self.near.get_multi::<Value, _>(keys));
            assert!(read.is_ok_and(|read| read.iter().all(Option::is_none)));
        }
        Row::new(
            ("a scan of 1,000,000 keys: further copies", copies() - before.0),
            ("tracked on the server", tracked() - before.1),
            "keys",
        )
    }

    /// What the server remembers of keys that are read, of which it tells: for one client, and for each
    /// further one.
    fn memory_of_tracking(&self, server: &RedisServer) -> Row {
        let used = || -> f64 {
            let info = server.ask("INFO memory");
            let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
            used.and_then(|used| used.trim().parse().ok()).expect("a server says it")
        };
        let keys: Vec<String> = (0..TRACKED).map(|n| format!("tracked:{n:05}")).collect();
        let mut clients = Vec::new();
        let mut memory = vec![used()];
        for _ in 0..2 {
            clients.push(self.runtime.block_on(track(&server.url(), &keys)));
            memory.push(used());
        }
        let [one, further] = [memory[1] - memory[0], memory[2] - memory[1]];
        let per_key = |bytes: f64| bytes / TRACKED as f64;
        Row::new(
            ("server: a tracked key", per_key(one)),
            ("each further client", per_key(further)),
            "bytes",
        )
    }
}

/// Reads keys over a connection that is told of their changes.
async fn track(url: &str, keys: &[String]) -> MultiplexedConnection {
    let client = redis::Client::open(format!("{url}?protocol=resp3")).expect("a good URL");
    let connection = client.get_multiplexed_async_connection().await;
    let mut connection = connection.expect("the server is there");
    let on = redis::cmd("CLIENT").arg("TRACKING").arg("ON").exec_async(&mut connection).await;
    on.expect("it can track");
    for keys in keys.chunks(1_000) {
        let mut pipeline = redis::pipe();
        for key in keys {
            pipeline.cmd("GET").arg(key).ignore();
        }
        pipeline.exec_async(&mut connection).await.expect("the server is there");
    }
    connection
}

async fn read(connection: &MultiplexedConnection, key: &str) -> Value {
    let mut connection = connection.clone();
    let mut get = redis::cmd("GET");
    let frame: Vec<u8> = get.arg(key).query_async(&mut connection).await.expect("it is there");
    let header = frame.iter().position(|byte| *byte == b'|').map_or(0, |end| end + 1);
    serde_json::from_slice(&frame[header..]).expect("what was stored")
}

pub(crate) fn section(effort: Effort) -> Section {
    let server = RedisServer::start();
    let contest = Contest::over(&server);
    contest.fill();
    let times = hits(&contest, effort);
    let plain = contest.over_the_network(&async |key| {
        black_box(contest.plain.get::<Value>(key).await.expect("the server is there"));
    });
    let bare = contest.over_the_network(&async |key| {
        black_box(read(&contest.bare, key).await);
    });
    let cache_aio = contest.over_the_network(&async |key| {
        black_box(read(&contest.caching, key).await);
    });
    let by_hand = contest.over_the_network(&async |key| {
        let value = contest.moka.get_with_by_ref(key, read(&contest.bare, key));
        black_box(value.await);
    });
    let near = times.of(NEAR);
    let beside = |peer: &str, micros: f64| Row::new((NEAR, near), (peer, micros * 1e3), "ns");
    let rows = vec![
        Row::new((NEAR, near), (MEMORY, times.of(MEMORY)), "ns").ratio_at_most(1.3),
        Row::new((NEAR, near), (QUICK, times.of(QUICK)), "ns"),
        beside(BY_HAND, by_hand),
        beside(CACHE_AIO, cache_aio),
        beside(BARE, bare),
        beside(PLAIN, plain),
        contest.scan(&server),
        contest.memory_of_tracking(&server),
    ];
    Section { title: "popular values of a Redis server", rows }
}

fn hits(contest: &Contest, effort: Effort) -> Times {
    let key = |number: usize| &*contest.keys[number % KEYS];
    let contestants = [
        Contestant::awaiting(NEAR, async |n| {
            drop(black_box(contest.near.get::<Value>(key(n)).await));
        }),
        Contestant::awaiting(MEMORY, async |n| {
            drop(black_box(contest.memory.get::<Value>(key(n)).await));
        }),
        Contestant::calling(QUICK, |n| drop(black_box(contest.quick.get(key(n))))),
    ];
    let [times] = race(&contestants, [1], effort);
    let counted = contest.near.statistics();
    assert!(counted.near_misses < counted.near_hits / 100, "{counted:?}");
    times
}
