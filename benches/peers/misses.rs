//! Misses in memory whose creators take no time: what a cache adds to each.

use std::sync::atomic::{AtomicU64, Ordering};

use dogpile::backend::Memory;
use dogpile::{Config, InMemory, Region};

use crate::caches::{Value, value};
use crate::measure::{Contestant, Effort, race};
use crate::table::{Row, Section};

const ENTRIES: usize = 10_000;

const OURS: &str = "get_or_create, blocking";
const OURS_ASYNC: &str = "get_or_create";
const MOKA: &str = "moka sync get_with";
const MOKA_ASYNC: &str = "moka future get_with";
const QUICK: &str = "quick_cache get_or_insert_with";

static REGION: Region<InMemory> = Region::in_memory("misses");
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A key that nobody has asked for.
fn key() -> String {
    format!("user:{:08}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn section(effort: Effort) -> Section {
    REGION.configure(Config::new(Memory::new(ENTRIES))).expect("it is the only time");
    let moka = moka::sync::Cache::<String, Value>::new(ENTRIES as u64);
    let moka_async = moka::future::Cache::<String, Value>::new(ENTRIES as u64);
    let quick = quick_cache::sync::Cache::<String, Value>::new(ENTRIES);
    let contestants = [
        Contestant::calling(OURS, |_| drop(REGION.blocking().get_or_create(&key(), value))),
        Contestant::awaiting(OURS_ASYNC, async |_| {
            drop(REGION.get_or_create(&key(), async || value()).await);
        }),
        Contestant::calling(MOKA, |_| drop(moka.get_with(key(), value))),
        Contestant::awaiting(MOKA_ASYNC, async |_| {
            drop(moka_async.get_with(key(), async { value() }).await);
        }),
        Contestant::calling(QUICK, |_| {
            drop(quick.get_or_insert_with(&key(), || Ok::<_, ()>(value())));
        }),
    ];
    let [times] = race(&contestants, [1], effort);
    let row = |ours, theirs| Row::new((ours, times.of(ours)), (theirs, times.of(theirs)), "ns");
    let rows = vec![row(OURS, MOKA), row(OURS, QUICK), row(OURS_ASYNC, MOKA_ASYNC)];
    Section { title: "misses in memory, with eviction", rows }
}
