//! Measuring contestants against each other.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The time to take.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// The number of times that each contestant's turn comes.
    pub(crate) rounds: usize,
    /// The number of calls that make a turn.
    pub(crate) calls: usize,
}

impl Effort {
    pub(crate) const FULL: Self = Self { rounds: 100, calls: 100_000 };
    pub(crate) const QUICK: Self = Self { rounds: 15, calls: 20_000 };
}

/// A turn begins with this part of its calls, whose time does not count: for most sections, all
/// of the keys.
const WARM_UP: usize = 10;

/// Somebody who makes numbered calls.
pub(crate) struct Contestant<'c> {
    name: &'static str,
    work: Box<dyn Fn(Range<usize>) + Sync + 'c>,
}

impl<'c> Contestant<'c> {
    /// One who makes calls that are not async.
    pub(crate) fn calling(name: &'static str, call: impl Fn(usize) + Sync + 'c) -> Self {
        Self { name, work: Box::new(move |calls| calls.for_each(&call)) }
    }

    /// One who awaits its calls, all of a turn in one future.
    pub(crate) fn awaiting(name: &'static str, call: impl AsyncFn(usize) + Sync + 'c) -> Self {
        let turn = async move |calls: Range<usize>| {
            for number in calls {
                call(number).await;
            }
        };
        Self { name, work: Box::new(move |calls| pollster::block_on(turn(calls))) }
    }

    /// Returns how long a turn takes, on so many threads at once: from the moment at
    /// which the first begins to the end of the last. `None` if they were not at work together for two
    /// thirds of that, since somebody else had a processor: then one has done its calls after the other.
    fn turn(&self, threads: usize, calls: usize) -> Option<Duration> {
        let start = Start { missing: AtomicUsize::new(threads) };
        let work = |thread: usize| {
            // Each thread somewhere else in the keys.
            let from = thread * 307;
            // The contestant before has filled the processor's caches with its own entries. Of two
            // contestants over one region only the first would pay for that: the second seemed a
            // fifth quicker.
            (self.work)(from..from + calls / WARM_UP);
            start.wait();
            let began = Instant::now();
            (self.work)(from..from + calls);
            (began, Instant::now())
        };
        let times: Vec<_> = if threads == 1 {
            vec![work(0)]
        } else {
            std::thread::scope(|scope| {
                let work = &work;
                let spawn = |thread| scope.spawn(move || work(thread));
                let workers: Vec<_> = (0..threads).map(spawn).collect();
                workers.into_iter().map(|worker| worker.join().expect("no panic")).collect()
            })
        };
        let began = || times.iter().map(|(began, _)| *began);
        let ended = || times.iter().map(|(_, ended)| *ended);
        let took = ended().max()?.duration_since(began().min()?);
        let together = ended().min()?.saturating_duration_since(began().max()?);
        (together * 3 >= took * 2).then_some(took)
    }
}

/// Lets threads start together. A sleeping one would come too late, so they
/// spin.
struct Start {
    missing: AtomicUsize,
}

impl Start {
    fn wait(&self) {
        self.missing.fetch_sub(1, Ordering::AcqRel);
        while self.missing.load(Ordering::Acquire) > 0 {
            std::hint::spin_loop();
        }
    }
}

/// Nanoseconds of each contestant.
pub(crate) struct Times(Vec<(&'static str, f64)>);

impl Times {
    pub(crate) fn of(&self, name: &str) -> f64 {
        let named = self.0.iter().find(|(contestant, _)| *contestant == name);
        named.unwrap_or_else(|| panic!("nobody is called {name:?}")).1
    }
}

/// Nanoseconds per call of each contestant, for each number of threads.
pub(crate) fn race<const N: usize>(
    contestants: &[Contestant<'_>],
    threads: [usize; N],
    effort: Effort,
) -> [Times; N] {
    let Effort { rounds, calls } = effort;
    let mut times = vec![[const { Vec::new() }; N]; contestants.len()];
    // The first round warms up.
    for round in 0..=rounds {
        for turn in 0..contestants.len() {
            // Not always the same one after the same other.
            let index = (turn + round) % contestants.len();
            for (threads, times) in threads.into_iter().zip(&mut times[index]) {
                let time = contestants[index].turn(threads, calls);
                if let Some(time) = time.filter(|_| round > 0) {
                    times.push(time.as_nanos() as f64 / (threads * calls) as f64);
                }
            }
        }
    }
    std::array::from_fn(|position| {
        let named = contestants.iter().zip(&times);
        Times(named.map(|(named, times)| (named.name, undisturbed(&times[position]))).collect())
    })
}

/// The time that a tenth of the rounds beat: free of what others did to the
/// machine meanwhile, and no single stroke of luck. Not a number where none counted.
fn undisturbed(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 10).copied().unwrap_or(f64::NAN)
}
