//! Hits on two threads: how much more than one thread do they get done?

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use crate::hits::{KEYS, Value, keys, moka, quick, region, value};
use crate::measure::Effort;

/// Operations per second of all threads together, in the best round: the one
/// that nobody else disturbed.
fn throughput(threads: usize, effort: Effort, hit: &(impl Fn(usize) + Sync)) -> f64 {
    let operations = effort.operations * 5;
    let round = || {
        let start = Barrier::new(threads);
        let slowest = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|thread| {
                    let start = &start;
                    scope.spawn(move || {
                        // Each thread in another place of the keys.
                        let offset = thread * KEYS / 2;
                        start.wait();
                        let began = Instant::now();
                        (0..operations).for_each(|n| hit(n + offset));
                        began.elapsed()
                    })
                })
                .collect();
            let times = workers.into_iter().map(|worker| worker.join().expect("no panic"));
            times.max().unwrap_or_default()
        });
        (threads * operations) as f64 / slowest.as_secs_f64()
    };
    (0..effort.rounds / 3).map(|_| round()).fold(0.0, f64::max)
}

fn row(name: &str, keys: &str, effort: Effort, hit: impl Fn(usize) + Sync) -> f64 {
    let [one, two] = [1, 2].map(|threads| throughput(threads, effort, &hit));
    let gain = two / one;
    println!("  {name:24} {keys:10} {:7.1} -> {:7.1} million/s = {gain:.2}", one / 1e6, two / 1e6);
    gain
}

/// Work without memory: what a second thread is worth on this machine at best.
fn arithmetic(n: usize) {
    black_box(
        (0..20).fold(n, |x, step| x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step)),
    );
}

pub(crate) fn run(effort: Effort) {
    println!("\nhits in memory, one thread -> two threads");
    let best = row("arithmetic", "none", effort, arithmetic);
    let all = keys();
    let (region, quick, moka) = (region(), quick(), moka());
    let mut uniform_gain = 0.0;
    for (name, spread) in [("uniform", KEYS), ("one key", 1)] {
        let next = |n: usize| all[n % spread].as_str();
        let gain = row("dogpile get_or_create", name, effort, |n| {
            black_box(region.blocking().get_or_create::<Value>(next(n), value));
        });
        if spread > 1 {
            uniform_gain = gain;
        }
        row("quick_cache get", name, effort, |n| drop(black_box(quick.get(next(n)))));
        row("moka get", name, effort, |n| {
            black_box(pollster::block_on(moka.get(next(n))));
        });
    }
    let mark = if uniform_gain >= 0.85 * best { "met" } else { "MISSED" };
    let share = uniform_gain / best;
    println!("  dogpile, uniform: {uniform_gain:.2}, {share:.2} of what arithmetic gains");
    println!("  (target 1.7 where a second thread is worth 2, that is 0.85 of it: {mark})");
}
