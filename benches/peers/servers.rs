//! The backends on servers beside bare clients, and Python's dogpile.cache,
//! each on a server of its own.

use std::sync::Arc;

use dogpile::backend::{AnyBackend, Memcached, Redis};
use dogpile::{Config, Region};
use dogpile_servers::{MemcachedServer, RedisServer};
use memcache::exp::AsyncMetaClient;
use tokio::runtime::Runtime;

use crate::python;
use crate::table::{Row, Section};

/// Rounds of each contestant, in turn.
const ROUNDS: usize = 100;
const CALLS: usize = 800;
const CONCURRENT: usize = 64;

struct Contest {
    runtime: Runtime,
    region: Arc<Region>,
}

impl Contest {
    fn over(backend: AnyBackend) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be started");
        let region = Region::named(backend.name());
        region.configure(Config::over(backend).shared_keys()).expect("it is the only time");
        runtime.block_on(async {
            let value = "x".repeat(200);
            for n in 0..100 {
                region.set(&format!("user:{n}"), &value).await.expect("the server is there");
            }
        });
        Self { runtime, region: Arc::new(region) }
    }

    /// Microseconds per call of `one`, in so many tasks at once.
    fn time<F, Fut>(&self, tasks: usize, one: F) -> f64
    where
        F: Fn(usize) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = ()> + Send,
    {
        let began = std::time::Instant::now();
        self.runtime.block_on(async {
            let mut running = Vec::new();
            for _ in 0..tasks {
                let one = one.clone();
                running.push(tokio::spawn(async move {
                    for number in 0..CALLS / tasks.min(8) {
                        one(number % 100).await;
                    }
                }));
            }
            for task in running {
                task.await.expect("no task panics");
            }
        });
        began.elapsed().as_secs_f64() * 1e6 / (tasks * (CALLS / tasks.min(8))) as f64
    }

    fn ours(&self, tasks: usize) -> f64 {
        let region = self.region.clone();
        self.time(tasks, move |number| {
            let region = region.clone();
            async move {
                let value = region.get::<String>(&format!("user:{number}")).await;
                assert!(value.is_ok_and(|value| value.is_some()));
            }
        })
    }

    /// Us and `bare` in turn, alone and then in a crowd: microseconds per call.
    fn run<F, Fut>(&self, bare: F) -> [f64; 4]
    where
        F: Fn(usize) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = ()> + Send,
    {
        let both = |tasks| {
            // The first round warms up.
            let rounds = (0..=ROUNDS).map(|_| (self.ours(tasks), self.time(tasks, bare.clone())));
            let (ours, theirs): (Vec<f64>, Vec<f64>) = rounds.skip(1).unzip();
            [undisturbed(ours), undisturbed(theirs)]
        };
        let [[ours, theirs], [our_crowd, their_crowd]] = [1, CONCURRENT].map(both);
        [ours, theirs, our_crowd, their_crowd]
    }
}

/// Returns what a tenth of the rounds beat: which thread an answer arrives at is luck,
/// and the luckiest rounds of both are comparable.
fn undisturbed(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 10]
}

pub(crate) fn redis() -> Section {
    let server = RedisServer::start();
    let contest = Contest::over(AnyBackend::new(Redis::open(&server.url()).expect("a good URL")));
    let client = redis::Client::open(server.url()).expect("a good URL");
    let connection = client.get_multiplexed_async_connection();
    let connection = contest.runtime.block_on(connection).expect("the server is there");
    let times = contest.run(move |number| {
        let mut connection = connection.clone();
        async move {
            let mut get = redis::cmd("GET");
            get.arg(format!("user:{number}"));
            let value: Vec<u8> = get.query_async(&mut connection).await.expect("it is there");
            assert!(value.len() > 200);
        }
    });
    let mut rows = rows("redis", "redis-rs", 1.0, times);
    rows.extend(beside_python(("get, redis", times[0]), "redis", &server.url()));
    Section { title: "values on a Redis server: 200 bytes, JSON", rows }
}

pub(crate) fn memcached() -> Section {
    let server = MemcachedServer::start();
    let backend = Memcached::open(&server.url()).expect("a good URL");
    let contest = Contest::over(AnyBackend::new(backend));
    let client = contest.runtime.block_on(AsyncMetaClient::connect(server.address()));
    let client = Arc::new(client.expect("the server is there"));
    let times = contest.run(move |number| {
        let client = client.clone();
        async move {
            let found = client.get(format!("user:{number}")).send().await.expect("it answers");
            assert!(found.value.is_some_and(|value| value.len() > 200));
        }
    });
    let mut rows = rows("memcached", "memcache", 1.9, times);
    for client in ["pylibmc", "pymemcache"] {
        rows.extend(beside_python(("get, memcached", times[0]), client, &server.address()));
    }
    Section { title: "values on a memcached server: 200 bytes, JSON", rows }
}

fn rows(
    server: &str,
    client: &str,
    least: f64,
    [ours, bare, many, many_bare]: [f64; 4],
) -> Vec<Row> {
    let per_second = |micros: f64| 1_000.0 / micros;
    let alone = (format!("get, {server}"), ours);
    let crowd = (format!("get, {server}, 64 tasks"), per_second(many));
    let bare_crowd = (format!("{client}, 64 tasks"), per_second(many_bare));
    vec![
        Row::new(alone, (format!("{client} get"), bare), "us").ratio_at_most(1.05),
        Row::new(crowd, bare_crowd, "k/s").ratio_at_least(least),
    ]
}

/// The same with dogpile.cache's backend of this name.
fn beside_python(ours: (&str, f64), backend: &str, url: &str) -> Option<Row> {
    let [python] = python::numbers(SCRIPT, &[backend, url])?;
    Some(Row::new(ours, (format!("dogpile.cache.{backend} get"), python), "us"))
}

const SCRIPT: &str = r#"
import json, sys, time
from dogpile.cache import make_region
region = make_region(
    serializer=lambda value: json.dumps(value).encode(), deserializer=json.loads
).configure("dogpile.cache." + sys.argv[1], arguments={"url": sys.argv[2]})
assert isinstance(region.get("user:1"), str)
times = []
for _ in range(7):
    began = time.perf_counter()
    for number in range(1000):
        region.get(f"user:{number % 100}")
    times.append((time.perf_counter() - began) / 1000 * 1e6)
print(sorted(times)[3])
"#;
