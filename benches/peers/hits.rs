//! Hits in memory on one thread.

use std::hint::black_box;

use crate::caches::{
    Caches, PREFIX, REGION, Value, by_async_macro, by_macro, decorated, decorated_async, id, value,
};
use crate::measure::{Contestant, Effort, Times, race};
use crate::python;
use crate::table::{Row, Section};

const GET: &str = "get";
const GET_OR_CREATE: &str = "get_or_create";
const TYPED: &str = "Keyspace<u64, _> get_or_create";
const DECORATED: &str = "#[cached] fn(u64)";
const DECORATED_ASYNC: &str = "#[cached] async fn(u64)";
const BLOCKING_GET: &str = "blocking get";
const BLOCKING_GET_OR_CREATE: &str = "blocking get_or_create";
const QUICK: &str = "quick_cache get";
const RWLOCK: &str = "RwLock<HashMap> get";
const MUTEX: &str = "Mutex<HashMap> get";
const MOKA_GET: &str = "moka future get";
const MOKA_GET_WITH: &str = "moka future get_with";
const MOKA_SYNC_GET: &str = "moka sync get";
const MOKA_SYNC_GET_WITH: &str = "moka sync get_with";
const FOYER: &str = "foyer get";
const CACHED: &str = "cached macro, fn(u64)";
const CACHED_ASYNC: &str = "cached macro, async fn(u64)";

pub(crate) fn section(caches: &Caches, effort: Effort) -> Section {
    let contestants: Vec<_> = ours(caches).into_iter().chain(peers(caches)).collect();
    let [times] = race(&contestants, [1], effort);
    let mut rows = rows(&times);
    rows.extend(beside_python(&times));
    Section { title: "hits in memory, one thread", rows }
}

const SCRIPT: &str = r#"
import time
from dogpile.cache import make_region
region = make_region().configure("dogpile.cache.memory")
@region.cache_on_arguments()
def decorated(number):
    return number
def best(call):
    times = []
    for _ in range(7):
        began = time.perf_counter()
        for number in range(10000):
            call(number % 1000)
        times.append((time.perf_counter() - began) / 10000 * 1e9)
    return min(times)
print(best(lambda n: region.get_or_create("k", lambda: n)), best(decorated))
"#;

fn beside_python(times: &Times) -> Vec<Row> {
    let Some([plain, decorated]) = python::numbers(SCRIPT, &[]) else { return Vec::new() };
    let row = |ours, name: &str, theirs| Row::new((ours, times.of(ours)), (name, theirs), "ns");
    vec![
        row(GET_OR_CREATE, "dogpile.cache get_or_create", plain),
        row(DECORATED, "dogpile.cache cache_on_arguments", decorated),
    ]
}

fn ours(caches: &Caches) -> [Contestant<'_>; 7] {
    let view = REGION.keyspace::<u64, Value>(PREFIX);
    [
        Contestant::awaiting(GET, async |n| {
            // As callers take it: a `black_box` of the wide result would be one more copy.
            let found = REGION.get::<Value>(caches.key(n)).await;
            drop(black_box(found.expect("memory does not fail")));
        }),
        Contestant::awaiting(GET_OR_CREATE, async |n| {
            drop(black_box(REGION.get_or_create(caches.key(n), async || value()).await));
        }),
        Contestant::awaiting(TYPED, async move |n| {
            drop(black_box(view.get_or_create(&id(n), async || value()).await));
        }),
        Contestant::calling(DECORATED, |n| drop(black_box(decorated(id(n))))),
        Contestant::awaiting(DECORATED_ASYNC, async |n| {
            drop(black_box(decorated_async(id(n)).await));
        }),
        Contestant::calling(BLOCKING_GET, |n| {
            let found = REGION.blocking().get::<Value>(caches.key(n));
            drop(black_box(found.expect("memory does not fail")));
        }),
        Contestant::calling(BLOCKING_GET_OR_CREATE, |n| {
            drop(black_box(REGION.blocking().get_or_create(caches.key(n), value)));
        }),
    ]
}

fn peers(caches: &Caches) -> [Contestant<'_>; 10] {
    [
        Contestant::calling(QUICK, |n| drop(black_box(caches.quick.get(caches.key(n))))),
        Contestant::calling(RWLOCK, |n| {
            let map = caches.rwlock.read().expect("no panic");
            drop(black_box(map.get(caches.key(n)).cloned()));
        }),
        Contestant::calling(MUTEX, |n| {
            let map = caches.mutex.lock().expect("no panic");
            drop(black_box(map.get(caches.key(n)).cloned()));
        }),
        Contestant::awaiting(MOKA_GET, async |n| {
            drop(black_box(caches.moka.get(caches.key(n)).await));
        }),
        Contestant::awaiting(MOKA_GET_WITH, async |n| {
            let create = async { value() };
            drop(black_box(caches.moka.get_with_by_ref(caches.key(n), create).await));
        }),
        Contestant::calling(MOKA_SYNC_GET, |n| {
            drop(black_box(caches.moka_sync.get(caches.key(n))));
        }),
        Contestant::calling(MOKA_SYNC_GET_WITH, |n| {
            drop(black_box(caches.moka_sync.get_with_by_ref(caches.key(n), value)));
        }),
        Contestant::calling(FOYER, |n| {
            let entry = caches.foyer.get(caches.key(n));
            drop(black_box(entry.map(|entry| entry.value().clone())));
        }),
        Contestant::calling(CACHED, |n| drop(black_box(by_macro(id(n))))),
        Contestant::awaiting(CACHED_ASYNC, async |n| drop(black_box(by_async_macro(id(n)).await))),
    ]
}

fn rows(times: &Times) -> Vec<Row> {
    let row = |ours, peer| Row::new((ours, times.of(ours)), (peer, times.of(peer)), "ns");
    vec![
        row(GET, QUICK),
        row(GET, GET_OR_CREATE).ratio_at_most(1.15),
        row(GET_OR_CREATE, QUICK).ratio_at_most(1.6),
        row(GET_OR_CREATE, MOKA_GET_WITH).ratio_at_most(0.3),
        row(GET, MOKA_GET),
        row(GET, FOYER),
        row(GET, RWLOCK),
        row(GET, MUTEX),
        row(DECORATED, CACHED).ratio_at_most(1.0),
        row(DECORATED_ASYNC, CACHED_ASYNC).ratio_at_most(1.0),
        row(TYPED, CACHED),
        row(TYPED, QUICK).ratio_at_most(2.0),
        row(TYPED, MOKA_GET_WITH),
        row(BLOCKING_GET, GET).ratio_at_most(1.1),
        row(BLOCKING_GET_OR_CREATE, GET_OR_CREATE).ratio_at_most(1.1),
        row(BLOCKING_GET, MOKA_SYNC_GET),
        row(BLOCKING_GET_OR_CREATE, MOKA_SYNC_GET_WITH),
    ]
}
