//! Hits on two threads: how much more do they get done than one?

use std::hint::black_box;

use crate::caches::{Caches, REGION, Value, value};
use crate::measure::{Contestant, Effort, race};
use crate::table::{Row, Section};

const UNIFORM: &str = "get_or_create, uniform";

/// The gain of two threads that share nothing: what the machine has to
/// give at this moment, to be compared with the others' gains.
const NOTHING_SHARED: &str = "arithmetic";

const NAMES: [&str; 9] = [
    NOTHING_SHARED,
    UNIFORM,
    "quick_cache get, uniform",
    "moka get, uniform",
    "moka get_with, uniform",
    "get_or_create, one hot key",
    "quick_cache get, one hot key",
    "moka get, one hot key",
    "moka get_with, one hot key",
];

pub(crate) fn section(caches: &Caches, effort: Effort) -> Section {
    // Many short turns: beside other work, some find both processors free.
    let effort = Effort { rounds: effort.rounds * 2, calls: effort.calls / 2 };
    let [one, two] = race(&contestants(caches), [1, 2], effort);
    let rows = NAMES.map(|name| {
        let per_microsecond = |nanoseconds: f64| 1e3 / nanoseconds;
        let two = (format!("{name}, 2 threads"), per_microsecond(two.of(name)));
        let row = Row::new(two, ("1 thread", per_microsecond(one.of(name))), "M/s");
        if name == UNIFORM { row.ratio_at_least(1.5) } else { row }
    });
    Section { title: "hits in memory, two threads", rows: rows.into() }
}

fn contestants(caches: &Caches) -> Vec<Contestant<'_>> {
    let [arithmetic, names @ ..] = NAMES;
    let (uniform, hot) = names.split_at(names.len() / 2);
    let arithmetic = Contestant::calling(arithmetic, |n| {
        (0..40).fold(n, |sum, factor| black_box(sum.wrapping_mul(factor)));
    });
    let uniform = on_keys(uniform, |n| caches.key(n), caches);
    let hot = on_keys(hot, |_| caches.key(0), caches);
    std::iter::once(arithmetic).chain(uniform).chain(hot).collect()
}

fn on_keys<'c>(
    names: &[&'static str],
    key: impl Fn(usize) -> &'c str + Copy + Sync + 'c,
    caches: &'c Caches,
) -> [Contestant<'c>; 4] {
    [
        Contestant::awaiting(names[0], async move |n| {
            drop(black_box(REGION.get_or_create::<Value, _, _>(key(n), async || value()).await));
        }),
        Contestant::calling(names[1], move |n| drop(black_box(caches.quick.get(key(n))))),
        Contestant::awaiting(names[2], async move |n| {
            drop(black_box(caches.moka.get(key(n)).await));
        }),
        Contestant::awaiting(names[3], async move |n| {
            let create = async { value() };
            drop(black_box(caches.moka.get_with_by_ref(key(n), create).await));
        }),
    ]
}
