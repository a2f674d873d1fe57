//! Measuring contestants against each other.

use std::time::Instant;

/// How much time to take.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) operations: usize,
}

impl Effort {
    pub(crate) const FULL: Self = Self { rounds: 60, operations: 100_000 };
    pub(crate) const QUICK: Self = Self { rounds: 10, operations: 50_000 };
}

/// Somebody who does the given number of operations.
pub(crate) struct Contestant<'c> {
    pub(crate) name: &'static str,
    work: Box<dyn FnMut(usize) + 'c>,
}

impl<'c> Contestant<'c> {
    pub(crate) fn new(name: &'static str, work: impl FnMut(usize) + 'c) -> Self {
        Self { name, work: Box::new(work) }
    }
}

/// Nanoseconds per operation of each contestant: the median over rounds in
/// which all take part.
pub(crate) fn race(contestants: &mut [Contestant<'_>], effort: Effort) -> Vec<f64> {
    let mut times: Vec<Vec<f64>> = contestants.iter().map(|_| Vec::new()).collect();
    for round in 0..=effort.rounds {
        for (contestant, times) in contestants.iter_mut().zip(&mut times) {
            let began = Instant::now();
            (contestant.work)(effort.operations);
            let spent = began.elapsed().as_nanos() as f64 / effort.operations as f64;
            // The first round warms up.
            if round > 0 {
                times.push(spent);
            }
        }
    }
    times.into_iter().map(median).collect()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// A target: a contestant should take at most so many times as long as
/// another.
pub(crate) struct Target {
    pub(crate) ours: &'static str,
    pub(crate) peer: &'static str,
    pub(crate) at_most: f64,
}

/// Prints a row per contestant, and one per target.
pub(crate) fn report(
    title: &str,
    contestants: &[Contestant<'_>],
    times: &[f64],
    targets: &[Target],
) {
    println!("\n{title}");
    for (contestant, time) in contestants.iter().zip(times) {
        println!("  {:44} {time:8.1} ns", contestant.name);
    }
    let time = |name| {
        let row = contestants.iter().position(|contestant| contestant.name == name);
        row.map_or(f64::NAN, |row| times[row])
    };
    for Target { ours, peer, at_most } in targets {
        let ratio = time(*ours) / time(*peer);
        let mark = if ratio <= *at_most { "met" } else { "MISSED" };
        println!("  {ours} / {peer} = {ratio:.2} (target {at_most}: {mark})");
    }
}
