//! Hits among a million entries, where each pointer on the way is a miss of the processor's cache.

use std::hint::black_box;
use std::time::{Duration, Instant};

use dogpile::backend::Memory;
use dogpile::{Config, InMemory, Region};

use crate::caches::{Value, value};
use crate::table::{Row, Section};

const ENTRIES: usize = 1_000_000;
const CALLS: usize = 400_000;
const ROUNDS: usize = 7;

static REGION: Region<InMemory> = Region::in_memory("many");

/// Each call's key is known beforehand: a processor begins several before the first has ended.
const KNOWN: &str = "get_or_create, keys known beforehand";
/// Each call's key follows from the value before: one ends before the next begins, as where a
/// caller does something with what it gets.
const IN_TURN: &str = "get_or_create, one after the other";

pub(crate) fn section() -> Section {
    let room = ENTRIES * 2;
    let config = Config::new(Memory::new(room)).expiration(Duration::from_secs(3_600));
    REGION.configure(config).expect("it is the only time");
    let keys: Vec<String> = (0..ENTRIES).map(|id| format!("user:{id:08}")).collect();
    let quick = quick_cache::sync::Cache::<String, Value>::new(room);
    for key in &keys {
        REGION.blocking().set(key, &value()).expect("memory does not fail");
    }
    keys.iter().for_each(|key| quick.insert(key.clone(), value()));
    let ours = async |key: &str| REGION.get_or_create(key, async || value()).await;
    let theirs = async |key: &str| quick.get(key).expect("there is room");
    let row = |name, is_in_turn| {
        let mut best = [f64::INFINITY; 2];
        for _ in 0..ROUNDS {
            best[0] = best[0].min(pollster::block_on(round(&keys, is_in_turn, &ours)));
            best[1] = best[1].min(pollster::block_on(round(&keys, is_in_turn, &theirs)));
        }
        Row::new((name, best[0]), ("quick_cache get", best[1]), "ns")
    };
    let rows = vec![row(IN_TURN, true).ratio_at_most(1.8), row(KNOWN, false).ratio_at_most(1.8)];
    Section { title: "hits in memory, 1,000,000 entries, random keys", rows }
}

/// Returns the nanoseconds of a call.
async fn round(keys: &[String], is_in_turn: bool, get: impl AsyncFn(&str) -> Value) -> f64 {
    let (mut at, mut value_before) = (0_usize, 0);
    let began = Instant::now();
    for _ in 0..CALLS {
        // All values are the same, which the processor does not know.
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let random = (at >> 33).wrapping_add(value_before);
        let value = black_box(get(&keys[random % ENTRIES]).await);
        if is_in_turn {
            value_before = usize::try_from(value[0]).unwrap_or(0);
        }
    }
    began.elapsed().as_nanos() as f64 / CALLS as f64
}
