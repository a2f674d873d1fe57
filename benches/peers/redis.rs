//! The Redis backend beside bare redis-rs, and Python's dogpile.cache, on a
//! server of its own.

use std::path::Path;
use std::process::Command;

use dogpile::backend::Redis;
use dogpile::{Config, Region};
use dogpile_testkit::servers::RedisServer;
use redis::aio::MultiplexedConnection;
use tokio::runtime::Runtime;

use crate::table::{Row, Section};

/// Rounds of each contestant, in turn.
const ROUNDS: usize = 60;
const CALLS: usize = 800;
const CONCURRENT: usize = 64;

struct Contest {
    runtime: Runtime,
    server: RedisServer,
    region: &'static Region,
    bare: MultiplexedConnection,
}

impl Contest {
    fn ready() -> Self {
        static REGION: Region = Region::new("redis");
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be started");
        let server = RedisServer::start();
        let backend = Redis::open(&server.url()).expect("it is a good URL");
        REGION.configure(Config::new(backend)).expect("it is the only time");
        let client = redis::Client::open(server.url()).expect("it is a good URL");
        let bare = runtime.block_on(async {
            let value = "x".repeat(200);
            for n in 0..100 {
                REGION.set(&format!("user:{n}"), &value).await.expect("the server is there");
            }
            client.get_multiplexed_async_connection().await.expect("the server is there")
        });
        Self { runtime, server, region: &REGION, bare }
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
        let region = self.region;
        self.time(tasks, move |number| async move {
            let value = region.get::<String>(&format!("user:{number}")).await;
            assert!(value.is_ok_and(|value| value.is_some()));
        })
    }

    fn bare(&self, tasks: usize) -> f64 {
        let bare = self.bare.clone();
        self.time(tasks, move |number| {
            let mut bare = bare.clone();
            async move {
                let mut get = redis::cmd("GET");
                get.arg(format!("user:{number}"));
                let value: Vec<u8> = get.query_async(&mut bare).await.expect("it is there");
                assert!(value.len() > 200);
            }
        })
    }
}

/// What a tenth of the rounds beat: which thread an answer arrives at is luck,
/// and the luckiest rounds of both are comparable.
fn undisturbed(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 10]
}

pub(crate) fn section() -> Section {
    let contest = Contest::ready();
    let mut times = [const { Vec::new() }; 4];
    for round in 0..=ROUNDS {
        let turn =
            [contest.ours(1), contest.bare(1), contest.ours(CONCURRENT), contest.bare(CONCURRENT)];
        // The first round warms up.
        if round > 0 {
            times.iter_mut().zip(turn).for_each(|(times, time)| times.push(time));
        }
    }
    let [ours, bare, many, many_bare] = times.map(undisturbed);
    let per_second = |micros: f64| 1_000.0 / micros;
    let mut rows = vec![
        Row::new(("get, redis", ours), ("redis-rs get", bare), "us").ratio_at_most(1.1),
        Row::new(
            ("get, redis, 64 tasks", per_second(many)),
            ("redis-rs, 64 tasks", per_second(many_bare)),
            "k/s",
        )
        .ratio_at_least(0.9),
    ];
    match python(&contest.server.url()) {
        Some(python) => {
            rows.push(Row::new(("get, redis", ours), ("dogpile.cache.redis get", python), "us"));
        }
        None => eprintln!("no Python beside it: `cargo xtask python` installs what it needs"),
    }
    Section { title: "values on a Redis server: 200 bytes, JSON", rows }
}

const SCRIPT: &str = r#"
import json, sys, time
from dogpile.cache import make_region
region = make_region(
    serializer=lambda value: json.dumps(value).encode(), deserializer=json.loads
).configure("dogpile.cache.redis", arguments={"url": sys.argv[1]})
assert isinstance(region.get("user:1"), str)
times = []
for _ in range(7):
    began = time.perf_counter()
    for number in range(1000):
        region.get(f"user:{number % 100}")
    times.append((time.perf_counter() - began) / 1000 * 1e6)
print(sorted(times)[3])
"#;

/// Microseconds that Python takes for a get.
fn python(url: &str) -> Option<f64> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let mut python = Command::new(target.join("python/bin/python"));
    let output = python.args(["-c", SCRIPT, url]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
