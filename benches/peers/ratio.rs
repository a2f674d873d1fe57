//! The part of reads that find their value, on traces that are made here: what does it cost that
//! `Memory` is in many parts, each with a bound of its own?

use dogpile::backend::{Backend, Memory};
use dogpile::value::Entry;

use crate::table::{Row, Section};

/// The room in each cache.
const ROOM: usize = 10_000;
const READS: usize = 2_000_000;

/// Points of a hundred that ours may be below the map under it.
const LEAST: f64 = -0.5;

pub(crate) fn section() -> Section {
    let rows = traces().into_iter().flat_map(|(name, trace)| {
        let ours = of_memory(&trace);
        let quick = of_quick(&trace);
        let beside_quick = Row::new((name, ours), ("quick_cache", quick), "%");
        [
            beside_quick.at_least(quick + LEAST),
            Row::new((name, ours), ("moka", of_moka(&trace)), "%"),
        ]
    });
    Section { title: "hit ratio, room for 10,000", rows: rows.collect() }
}

/// `SplitMix64`: the same numbers in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to 1.
    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Keys whose frequency falls with a power of their rank.
fn zipfian(exponent: f64) -> Vec<u64> {
    let mut sum = 0.0;
    let ranks = 1..=ROOM * 20;
    let sums: Vec<f64> = ranks
        .map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        })
        .collect();
    let mut random = Random(7);
    let mut draw = || {
        let at = random.part() * sum;
        sums.partition_point(|sum| *sum < at) as u64
    };
    (0..READS).map(|_| draw()).collect()
}

/// `trace`, and beside it a walk through what nobody asks for again, a tenth of the time.
fn with_scans(trace: Vec<u64>) -> Vec<u64> {
    let walked = 1 << 40..;
    let pairs = trace.into_iter().zip(walked).enumerate();
    let reads = |(at, (key, walked))| {
        let is_walk = usize::is_multiple_of(at / ROOM, 10);
        std::iter::once(key).chain(is_walk.then_some(walked))
    };
    pairs.flat_map(reads).collect()
}

/// The same keys again and again, so many as fill this part of the room.
fn circle(part: f64) -> Vec<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let keys = (ROOM as f64 * part) as u64;
    (0..READS as u64).map(|at| at % keys).collect()
}

fn traces() -> Vec<(&'static str, Vec<u64>)> {
    vec![
        ("zipfian, 0.7", zipfian(0.7)),
        ("zipfian, 0.9", zipfian(0.9)),
        ("zipfian, 1.1", zipfian(1.1)),
        ("zipfian, 0.9, and scans", with_scans(zipfian(0.9))),
        ("a circle of nine tenths of the room", circle(0.9)),
        ("a circle of nineteen twentieths of the room", circle(0.95)),
        ("a circle of 1.2 times the room", circle(1.2)),
    ]
}

/// Returns the hits of `find`, which puts in what it does not find, in parts of a hundred.
fn hits(trace: &[u64], find: impl Fn(&str) -> bool) -> f64 {
    let found = trace.iter().filter(|key| find(&format!("user:{key}"))).count();
    100.0 * found as f64 / trace.len() as f64
}

fn of_memory(trace: &[u64]) -> f64 {
    let memory = Memory::new(ROOM);
    hits(trace, |key| {
        let is_there = matches!(memory.get_now(key), Some(Ok(Some(_))));
        if !is_there {
            let stored = pollster::block_on(memory.set(key, Entry::object((), 1.0)));
            stored.expect("memory does not fail");
        }
        is_there
    })
}

fn of_quick(trace: &[u64]) -> f64 {
    let cache = quick_cache::sync::Cache::<String, ()>::new(ROOM);
    hits(trace, |key| {
        let is_there = cache.get(key).is_some();
        if !is_there {
            cache.insert(key.to_owned(), ());
        }
        is_there
    })
}

fn of_moka(trace: &[u64]) -> f64 {
    let cache = moka::sync::Cache::<String, ()>::new(ROOM as u64);
    hits(trace, |key| {
        let is_there = cache.get(key).is_some();
        if !is_there {
            cache.insert(key.to_owned(), ());
        }
        is_there
    })
}
