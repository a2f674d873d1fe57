//! Where the time of a hit goes: each row has one thing more than the row that stands beside it.

use std::hint::black_box;
use std::time::Duration;

use dogpile::backend::{Backend, Memory};
use dogpile::clock::{Clock, SystemClock};
use dogpile::value::Entry;
use dogpile::{Config, InMemory, Region};

use crate::caches::{Caches, PREFIX, REGION, Value, decorated, id, value};
use crate::measure::{Contestant, Effort, race};
use crate::table::{Row, Section};

/// Values here never expire.
static FOR_EVER: Region<InMemory> = Region::in_memory("for ever");
/// Values here expire each a little sooner or later: that follows from their keys.
static JITTERED: Region<InMemory> = Region::in_memory("jittered");

const NOTHING: &str = "a call of nothing";
const ARC: &str = "a clone of an Arc, and its drop";
const CLOCK: &str = "a look at the coarse clock";
const QUICK: &str = "quick_cache get";
const IN_PLACE: &str = "Memory: a look in place";
const TAKEN_OUT: &str = "Memory: an entry taken out";
const NEVER: &str = "get_or_create, for ever";
const EXPIRES: &str = "get_or_create, expiration";
const JITTER: &str = "get_or_create, jitter";
const GET: &str = "get";
const ENTRY: &str = "entry(..).get_or_create";
const BLOCKING: &str = "blocking get_or_create";
const KEYSPACE: &str = "keyspace get_or_create";
const DECORATED: &str = "#[cached] fn(u64)";

/// A row's name, and what it is more than.
const STEPS: [(&str, &str); 13] = [
    (ARC, NOTHING),
    (CLOCK, NOTHING),
    (QUICK, NOTHING),
    (IN_PLACE, QUICK),
    (TAKEN_OUT, IN_PLACE),
    (NEVER, IN_PLACE),
    (EXPIRES, NEVER),
    (JITTER, EXPIRES),
    (GET, EXPIRES),
    (ENTRY, EXPIRES),
    (BLOCKING, EXPIRES),
    (KEYSPACE, EXPIRES),
    (DECORATED, BLOCKING),
];

pub(crate) fn section(caches: &Caches, effort: Effort) -> Section {
    let memory = filled(caches);
    let contestants: Vec<_> = below(caches, &memory).into_iter().chain(regions(caches)).collect();
    let [times] = race(&contestants, [1], effort);
    let row = |(name, less)| Row::new((name, times.of(name)), (less, times.of(less)), "ns");
    Section { title: "where a hit goes: each with one thing more", rows: STEPS.map(row).into() }
}

/// Fills the regions of this part, and a backend without one.
fn filled(caches: &Caches) -> Memory {
    let room = || Memory::new(caches.keys().len() * 10);
    let hour = Duration::from_secs(3_600);
    FOR_EVER.configure(Config::new(room())).expect("it is the only time");
    JITTERED.configure(Config::new(room()).expiration(hour).jitter(0.1)).expect("as above");
    let memory = room();
    for key in caches.keys() {
        let stored = pollster::block_on(memory.set(key, Entry::object(value(), 1.0)));
        stored.expect("memory does not fail");
        for region in [&FOR_EVER, &JITTERED] {
            region.blocking().set(key, &value()).expect("memory does not fail");
        }
    }
    memory
}

fn below<'c>(caches: &'c Caches, memory: &'c Memory) -> [Contestant<'c>; 6] {
    let shared = value();
    [
        Contestant::calling(NOTHING, |n| {
            black_box(caches.key(n));
        }),
        Contestant::calling(ARC, move |n| {
            black_box(caches.key(n));
            drop(black_box(shared.clone()));
        }),
        Contestant::calling(CLOCK, |n| {
            black_box((caches.key(n), SystemClock.coarse_now()));
        }),
        Contestant::calling(QUICK, |n| drop(black_box(caches.quick.get(caches.key(n))))),
        Contestant::calling(IN_PLACE, |n| {
            let mut found = None;
            let mut look = |object: &dogpile::value::Object| {
                found = object.downcast_ref::<Value>().cloned();
                found.is_some()
            };
            black_box(memory.look_now(caches.key(n), &mut look));
            drop(black_box(found));
        }),
        Contestant::calling(TAKEN_OUT, |n| drop(black_box(memory.get_now(caches.key(n))))),
    ]
}

fn regions(caches: &Caches) -> [Contestant<'_>; 8] {
    let view = REGION.keyspace::<u64, Value>(PREFIX);
    let creating = |name, region: &'static Region<InMemory>| {
        Contestant::awaiting(name, async move |n| {
            drop(black_box(region.get_or_create(caches.key(n), async || value()).await));
        })
    };
    [
        creating(NEVER, &FOR_EVER),
        creating(EXPIRES, &REGION),
        creating(JITTER, &JITTERED),
        Contestant::awaiting(GET, async |n| {
            let found = REGION.get::<Value>(caches.key(n)).await;
            drop(black_box(found.expect("memory does not fail")));
        }),
        Contestant::awaiting(ENTRY, async |n| {
            drop(black_box(REGION.entry(caches.key(n)).get_or_create(async || value()).await));
        }),
        Contestant::calling(BLOCKING, |n| {
            drop(black_box(REGION.blocking().get_or_create(caches.key(n), value)));
        }),
        Contestant::awaiting(KEYSPACE, async move |n| {
            drop(black_box(view.get_or_create(&id(n), async || value()).await));
        }),
        Contestant::calling(DECORATED, |n| drop(black_box(decorated(id(n))))),
    ]
}
