//! Collections: reads beside a `HashMap` behind an `ArcSwap`, and a million entries
//! beside Python's way with them on redis-py.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use dogpile::backend::Redis;
use dogpile::collections::CachedMapping;
use dogpile_servers::RedisServer;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::measure::{Contestant, Effort, race};
use crate::python;
use crate::table::{Row, Section};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Article {
    name: String,
    price: f64,
    stock: u32,
}

type Articles = HashMap<u64, Article>;

fn articles(count: u64) -> Articles {
    let article = |n: u64| {
        let stock = u32::try_from(n % 1_000).unwrap_or(0);
        (n, Article { name: format!("article number {n}"), price: n as f64 * 1.25, stock })
    };
    (0..count).map(article).collect()
}

fn by_stock(articles: &Articles) -> HashMap<u32, Vec<u64>> {
    let mut found: HashMap<u32, Vec<u64>> = HashMap::new();
    for (id, article) in articles {
        found.entry(article.stock).or_default().push(*id);
    }
    found
}

fn open(
    runtime: &Runtime,
    server: &RedisServer,
    name: &str,
    count: u64,
) -> CachedMapping<u64, Article> {
    let backend = Redis::open(&server.url()).expect("a good URL");
    let load = move || Ok::<_, std::io::Error>(articles(count));
    let opening = CachedMapping::builder_blocking(name, backend, load).open();
    runtime.block_on(opening).expect("the server is there")
}

pub(crate) fn sections(effort: Effort) -> Vec<Section> {
    let server = RedisServer::start();
    let runtime = Runtime::new().expect("a runtime can be started");
    vec![reads(&runtime, &server, effort), large(&runtime, &server)]
}

const SMALL: u64 = 10_000;
const READ: &str = "snapshot().get()";
const COPY: &str = "get(), a copy of a u64";
const VIEW: &str = "view(..).get()";
const BARE: &str = "ArcSwap<HashMap>";

fn reads(runtime: &Runtime, server: &RedisServer, effort: Effort) -> Section {
    let ours = open(runtime, server, "reads", SMALL);
    let numbers = {
        let backend = Redis::open(&server.url()).expect("a good URL");
        let load = || Ok::<_, std::io::Error>((0..SMALL).map(|n| (n, n)).collect());
        let opening = CachedMapping::builder_blocking("numbers", backend, load).open();
        runtime.block_on(opening).expect("the server is there")
    };
    let bare = ArcSwap::from_pointee(articles(SMALL));
    let key = |number: usize| (number as u64 * 7_919) % SMALL;
    let contestants = [
        Contestant::calling(READ, |n| {
            black_box(ours.snapshot().get(&key(n)).map(|article| article.price));
        }),
        Contestant::calling(COPY, |n| {
            black_box(numbers.get(&key(n)));
        }),
        Contestant::calling(VIEW, |n| {
            black_box(
                ours.view(by_stock).get(&u32::try_from(n % 1_000).unwrap_or(0)).map(Vec::len),
            );
        }),
        Contestant::calling(BARE, |n| {
            black_box(bare.load().get(&key(n)).map(|article| article.price));
        }),
    ];
    let [times] = race(&contestants, [1], effort);
    let [python] = python::numbers(READS, &[&server.url()]).unwrap_or([f64::NAN]);
    let row = |name: &str, limit| {
        let row = Row::new((name, times.of(name)), (BARE, times.of(BARE)), "ns");
        if let Some(limit) = limit { row.ratio_at_most(limit) } else { row }
    };
    let rows = vec![
        row(READ, Some(1.5)),
        row(COPY, Some(1.5)),
        row(VIEW, None),
        Row::new((READ, times.of(READ)), ("cached-collections' way", python), "ns"),
    ];
    Section { title: "reads of a collection of 10,000 entries", rows }
}

const LARGE: u64 = 1_000_000;

fn large(runtime: &Runtime, server: &RedisServer) -> Section {
    let here = open(runtime, server, "large", LARGE);
    let there = open(runtime, server, "large", LARGE);
    let quiet = longest_read(&here, || std::thread::sleep(Duration::from_secs(2)));
    let mut everywhere = Duration::ZERO;
    let totals = || {
        let (pusher, puller) = (here.statistics(), there.statistics());
        [pusher.load_time, pusher.push_time, puller.pull_time].map(|time| time.total())
    };
    let before = totals();
    let busy = longest_read(&there, || {
        let began = Instant::now();
        runtime.block_on(here.push()).expect("the server is there");
        while there.revision() < here.revision() {
            std::thread::sleep(Duration::from_micros(200));
        }
        everywhere = began.elapsed();
        // The old revision is taken apart.
        std::thread::sleep(Duration::from_secs(1));
    });
    let after = totals();
    let [load, push, pull] = std::array::from_fn(|n: usize| after[n].saturating_sub(before[n]));
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    // What is neither encoding nor decoding: being told, and the exchange itself.
    let swap = everywhere.saturating_sub(load + push + pull);
    let [their_push, their_pull] =
        python::numbers(LARGE_SCRIPT, &[&server.url()]).unwrap_or([f64::NAN; 2]);
    let way = |what: &str| format!("cached-collections' way, {what}");
    let quiet = ("a read with nothing going on".to_owned(), milliseconds(quiet));
    let puller = there.statistics();
    let stored = puller.bytes_read as f64 / puller.pulls as f64 / f64::from(1 << 20);
    let rows = vec![
        Row::new(("push", milliseconds(push)), (way("push"), their_push), "ms"),
        Row::new(("pull", milliseconds(pull)), (way("pull"), their_pull), "ms"),
        Row::new(("notice and swap", milliseconds(swap)), (way("pull"), their_pull), "ms"),
        Row::new(("longest read meanwhile", milliseconds(busy)), (way("pull"), their_pull), "ms"),
        Row::new(("longest read meanwhile", milliseconds(busy)), quiet, "ms"),
        Row::new(("stored", stored), ("in memory, nearly", memory()), "MiB"),
    ];
    Section { title: "a collection of 1,000,000 entries", rows }
}

/// The memory of this process, in MiB: three copies of the collection and some.
fn memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib / 1024.0)
}

/// Returns how long the longest of many reads took while `work` went on.
fn longest_read(articles: &CachedMapping<u64, Article>, work: impl FnOnce()) -> Duration {
    let over = Arc::new(AtomicBool::new(false));
    let reader = {
        let (articles, over) = (articles.clone(), over.clone());
        std::thread::spawn(move || {
            let (mut longest, mut key) = (Duration::ZERO, 0);
            while !over.load(Ordering::Relaxed) {
                key = (key + 7_919) % LARGE;
                let began = Instant::now();
                black_box(articles.snapshot().get(&key).map(|article| article.price));
                longest = longest.max(began.elapsed());
                std::thread::sleep(Duration::from_micros(20));
            }
            longest
        })
    };
    work();
    over.store(true, Ordering::Relaxed);
    reader.join().expect("no panic")
}

/// A lookup that checks the time, as the original's do.
const READS: &str = r#"
import pickle, sys, time, redis
store = redis.Redis.from_url(sys.argv[1])

class Mapping:
    def __init__(self, data):
        self.data, self.checked = data, time.time()

    def maybe_pull(self):
        if self.checked is not None and time.time() - self.checked < 1000:
            return
        store.get("revision")

    def __getitem__(self, key):
        self.maybe_pull()
        return self.data[key]

mapping = Mapping({n: (f"article number {n}", n * 1.25, n % 1000) for n in range(10_000)})
times = []
for _ in range(7):
    began = time.perf_counter()
    for number in range(100_000):
        mapping[number * 7919 % 10_000][1]
    times.append((time.perf_counter() - began) / 100_000 * 1e9)
print(sorted(times)[3])
"#;

/// One pickle and one number, in a transaction; and back.
const LARGE_SCRIPT: &str = r#"
import pickle, sys, time, redis
store = redis.Redis.from_url(sys.argv[1])
data = {n: (f"article number {n}", n * 1.25, n % 1000) for n in range(1_000_000)}
began = time.perf_counter()
pipeline = store.pipeline()
pipeline.set("python.data", pickle.dumps(data, pickle.HIGHEST_PROTOCOL))
pipeline.incr("python.revision")
pipeline.execute()
print((time.perf_counter() - began) * 1e3)
began = time.perf_counter()
store.get("python.revision")
pulled = pickle.loads(store.get("python.data"))
print((time.perf_counter() - began) * 1e3)
assert len(pulled) == 1_000_000
"#;
