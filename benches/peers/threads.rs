//! Hits on two threads: how much more do they get done than one?

use std::hint::black_box;

use crate::caches::{Caches, REGION, Value, value};
use crate::measure::{Contestant, Effort, Times, race};
use crate::table::{Row, Section};

const UNIFORM: &str = "get_or_create, uniform";
const HOT: &str = "get_or_create, one hot key";
const QUICK_HOT: &str = "quick_cache get, one hot key";
const MOKA_HOT: &str = "moka get_with, one hot key";

/// The gain of two threads that share nothing: what the machine has to
/// give at this moment, to be compared with the others' gains.
const NOTHING_SHARED: &str = "arithmetic";

const NAMES: [&str; 9] = [
    NOTHING_SHARED,
    UNIFORM,
    "quick_cache get, uniform",
    "moka get, uniform",
    "moka get_with, uniform",
    HOT,
    QUICK_HOT,
    "moka get, one hot key",
    MOKA_HOT,
];

/// The gain of threads that share nothing, below which nothing is asked of others.
const FREE: f64 = 1.9;

/// Of so many runs the best counts: in others, somebody else had a processor.
const RUNS: usize = 5;

pub(crate) fn section(caches: &Caches, effort: Effort) -> Section {
    // Many short turns: beside other work, some find both processors free.
    let effort = Effort { rounds: effort.rounds * 2 / RUNS, calls: effort.calls / 2 };
    let contestants = contestants(caches);
    let runs: Vec<[Times; 2]> = (0..RUNS).map(|_| race(&contestants, [1, 2], effort)).collect();
    let gain = |name: &str, [one, two]: &[Times; 2]| one.of(name) / two.of(name);
    let best = |name: &str| {
        // A run in which the threads never were at work together is worse than any other.
        let counted = |run: &[Times; 2]| gain(name, run).max(0.0);
        let better = |a: &&[Times; 2], b: &&[Times; 2]| counted(a).total_cmp(&counted(b));
        let [one, two] = runs.iter().max_by(better).expect("there are some");
        let per_microsecond = |times: &Times| 1e3 / times.of(name);
        (per_microsecond(one), per_microsecond(two))
    };
    let is_free = best(NOTHING_SHARED).1 / best(NOTHING_SHARED).0 >= FREE;
    let mut rows: Vec<Row> = NAMES
        .map(|name| {
            let (one, two) = best(name);
            let row = Row::new((format!("{name}, 2 threads"), two), ("1 thread", one), "M/s");
            if name == UNIFORM && is_free { row.ratio_at_least(1.5) } else { row }
        })
        .into();
    let gain = |name| best(name).1 / best(name).0;
    let by_gain = Row::new((format!("{HOT}, gain"), gain(HOT)), (QUICK_HOT, gain(QUICK_HOT)), "x");
    let beside_moka =
        Row::new((format!("{HOT}, 2 threads"), best(HOT).1), (MOKA_HOT, best(MOKA_HOT).1), "M/s");
    rows.push(by_gain.ratio_at_least(1.0));
    rows.push(beside_moka.ratio_at_least(2.0));
    Section { title: "hits in memory, two threads, the best of five runs", rows }
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
