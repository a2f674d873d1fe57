//! A service of four processes over one Redis, with a near tier and without: popular keys are read more
//! often than others, and one request of a hundred changes something. How many requests they can serve
//! is measured in a closed loop; how long each takes, where they come at a fixed rate, as from users.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dogpile::backend::Redis;
use dogpile::{Config, Near, Region};
use dogpile_servers::RedisServer;
use serde_json::{Value, json};

use crate::measure::Effort;
use crate::table::{Row, Section};

const PROCESSES: usize = 4;
const TASKS: usize = 8;
const KEYS: usize = 10_000;

/// The time between two requests of a task, where they come at a fixed rate.
const PAUSE: Duration = Duration::from_millis(4);

/// One request of so many is a change.
const CHANGES: u64 = 100;

/// The first argument of a worker.
pub(crate) const WORKER: &str = "--near-worker";

/// Numbers below a bound, of which the n-th comes 1/n as often as the first.
struct Zipf {
    sums: Vec<f64>,
    state: u64,
}

impl Zipf {
    fn new(bound: usize, seed: u64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=bound).map(|n| {
            sum += 1.0 / n as f64;
            sum
        });
        Self { sums: sums.collect(), state: seed | 1 }
    }

    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    fn next(&mut self) -> usize {
        let all = self.sums.last().copied().unwrap_or_default();
        let share = (self.random() >> 11) as f64 / (1_u64 << 53) as f64;
        self.sums.partition_point(|sum| *sum < share * all).min(self.sums.len() - 1)
    }
}

/// Works as one process of the service, and prints what it has done.
pub(crate) fn work(arguments: &[String]) {
    let [url, mode, pace, seconds, seed] = arguments else { panic!("a worker has five arguments") };
    let is_paced = pace == "paced";
    let seconds = Duration::from_secs_f64(seconds.parse().expect("a number"));
    let seed: u64 = seed.parse().expect("a number");
    let region: &'static Region = Box::leak(Box::new(Region::new("fleet")));
    let config = Config::new(Redis::open(url).expect("a good URL"));
    let config = if mode == "near" { config.near(Near::entries(KEYS)) } else { config };
    region.configure(config).expect("it is new");
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime can be started");
    let times = runtime.block_on(async {
        let tasks = (0..TASKS as u64).map(|task| {
            let keys = Zipf::new(KEYS, (seed << 8) + task + 1);
            tokio::spawn(serve(region, seconds, is_paced, keys))
        });
        let mut times = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            times.extend(task.await.expect("no task panics"));
        }
        times
    });
    let near = region.statistics().near_hits;
    println!("{}", json!({ "near": near, "micros": times }));
}

/// Returns the microseconds of each request, from the moment at which it was due.
async fn serve(
    region: &'static Region,
    seconds: Duration,
    is_paced: bool,
    mut keys: Zipf,
) -> Vec<f32> {
    let mut times = Vec::new();
    let start = Instant::now();
    let mut due = start;
    while due < start + seconds {
        if is_paced {
            tokio::time::sleep_until(due.into()).await;
        }
        request(region, &mut keys).await;
        times.push(due.elapsed().as_secs_f32() * 1e6);
        if is_paced {
            due += PAUSE;
        } else {
            // As a service would, which has other requests to see to.
            tokio::task::yield_now().await;
            due = Instant::now();
        }
    }
    times
}

async fn request(region: &'static Region, keys: &mut Zipf) {
    let key = format!("user:{}", keys.next());
    if keys.random().is_multiple_of(CHANGES) {
        region.set(&key, &"y".repeat(200)).await.expect("the server is there");
    } else {
        region.get_or_create(&key, async || "x".repeat(200)).await;
    }
}

/// The requests a second, the microseconds of the slowest of a hundred, and the share of requests that
/// reached the server.
struct Result {
    per_second: f64,
    p99: f64,
    reached: f64,
}

fn run(mode: &str, pace: &str, seconds: f64) -> Result {
    let server = RedisServer::start();
    let program = std::env::current_exe().expect("this program");
    let workers = (0..PROCESSES).map(|seed| {
        Command::new(&program)
            .args([WORKER, &server.url(), mode, pace, &seconds.to_string(), &seed.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process can be started")
    });
    let (mut times, mut near) = (Vec::new(), 0);
    for worker in workers.collect::<Vec<_>>() {
        let output = worker.wait_with_output().expect("it ends");
        let done: Value = serde_json::from_slice(&output.stdout).expect("what it has done");
        near += done["near"].as_u64().unwrap_or_default();
        times.extend(done["micros"].as_array().into_iter().flatten().filter_map(Value::as_f64));
    }
    times.sort_by(f64::total_cmp);
    let requests = times.len() as f64;
    Result {
        per_second: requests / seconds,
        p99: times.get(times.len() * 99 / 100).copied().unwrap_or_default(),
        reached: 100.0 * (requests - near as f64) / requests,
    }
}

pub(crate) fn section(effort: Effort) -> Section {
    let seconds = if effort.rounds == Effort::FULL.rounds { 10.0 } else { 2.0 };
    let [with, without] = ["near", "plain"].map(|mode| run(mode, "closed", seconds));
    let [near, plain] = ["near", "plain"].map(|mode| run(mode, "paced", seconds));
    let row = |name: &str, ours, theirs, unit| Row::new((name, ours), ("without it", theirs), unit);
    let rows = vec![
        row("requests in a millisecond", with.per_second / 1e3, without.per_second / 1e3, "/ms"),
        row("the same: 99 of 100 within", with.p99, without.p99, "us"),
        row("8 requests in a millisecond: 99 of 100 within", near.p99, plain.p99, "us"),
        row("requests that reached the server", with.reached, without.reached, "%"),
    ];
    Section { title: "four processes, popular keys, 1 % changes: with a near tier", rows }
}
