//! The measurements.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dogpile::Region;
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use tokio::task::JoinSet;

use crate::error::CommandError;

/// The load to measure.
pub(super) struct Load {
    pub(super) region: Arc<Region>,
    pub(super) seconds: Duration,
    pub(super) clients: u32,
    pub(super) bytes: u32,
    pub(super) keys: u32,
    pub(super) crowd: u32,
}

/// All results.
pub(super) struct Measured {
    pub(super) operations: Vec<Timed>,
    pub(super) stampede: Stampede,
}

/// One operation, timed many times.
pub(super) struct Timed {
    pub(super) name: &'static str,
    /// Nanoseconds.
    pub(super) latencies: Histogram<u64>,
    pub(super) elapsed: Duration,
}

/// A crowd at one cold key.
pub(super) struct Stampede {
    pub(super) crowd: u32,
    pub(super) creations: u32,
    /// From the end of the creation to each answer, in nanoseconds.
    pub(super) after: Histogram<u64>,
}

#[derive(Clone, Copy)]
enum Operation {
    Set,
    Get,
    Hit,
}

/// The time that a creation takes in the stampede.
const CREATION: Duration = Duration::from_millis(50);

fn key(number: u32) -> String {
    format!("dogpile-bench:{number}")
}

const COLD: &str = "dogpile-bench:cold";

/// Up to a minute, to three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3)
        .unwrap_or_else(|_| unreachable!("the bounds are good"))
}

impl Load {
    pub(super) async fn measure(&self, show_progress: bool) -> Result<Measured, CommandError> {
        let progress = if show_progress { ProgressBar::new(4) } else { ProgressBar::hidden() };
        let value = self.value();
        for number in 0..self.keys {
            self.region.set(&key(number), &value).await?;
        }
        let mut operations = Vec::new();
        for (name, operation) in [
            ("set", Operation::Set),
            ("get", Operation::Get),
            ("get_or_create hit", Operation::Hit),
        ] {
            operations.push(self.time(name, operation).await?);
            progress.inc(1);
        }
        let stampede = self.stampede().await?;
        progress.finish_and_clear();
        Ok(Measured { operations, stampede })
    }

    /// Removes what was stored.
    pub(super) async fn clean_up(&self) -> Result<(), CommandError> {
        let keys: Vec<String> = (0..self.keys).map(key).chain([COLD.to_owned()]).collect();
        for chunk in keys.chunks(1_000) {
            self.region.delete_multi(chunk.iter().map(String::as_str)).await?;
        }
        Ok(())
    }

    fn value(&self) -> String {
        "x".repeat(self.bytes as usize)
    }

    async fn time(&self, name: &'static str, operation: Operation) -> Result<Timed, CommandError> {
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for client in 0..self.clients {
            let (region, value) = (self.region.clone(), self.value());
            let (keys, until) = (self.keys, began + self.seconds);
            tasks.spawn(async move {
                let mut latencies = histogram();
                let mut number = client.wrapping_mul(7_919) % keys;
                while Instant::now() < until {
                    let (key, start) = (key(number), Instant::now());
                    match operation {
                        Operation::Set => region.set(&key, &value).await?,
                        Operation::Get => drop(region.get::<String>(&key).await?),
                        Operation::Hit => {
                            drop(region.get_or_create(&key, async || value.clone()).await);
                        }
                    }
                    let took = start.elapsed().as_nanos();
                    latencies.saturating_record(u64::try_from(took).unwrap_or(u64::MAX));
                    number = (number + 1) % keys;
                }
                Ok::<_, CommandError>(latencies)
            });
        }
        let mut latencies = histogram();
        while let Some(ended) = tasks.join_next().await {
            latencies += ended??;
        }
        Ok(Timed { name, latencies, elapsed: began.elapsed() })
    }

    async fn stampede(&self) -> Result<Stampede, CommandError> {
        self.region.delete(COLD).await?;
        let created = Arc::new(AtomicU32::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..self.crowd {
            let (region, created, value) = (self.region.clone(), created.clone(), self.value());
            tasks.spawn(async move {
                let mut ended = None;
                let creator = async || {
                    created.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(CREATION).await;
                    ended = Some(Instant::now());
                    value
                };
                let _: String = region.get_or_create(COLD, creator).await;
                (ended, Instant::now())
            });
        }
        let answers: Vec<(Option<Instant>, Instant)> = tasks.join_all().await;
        let ended = answers.iter().filter_map(|(ended, _)| *ended).min();
        let mut after = histogram();
        for (_, answered) in &answers {
            let late = ended.map_or(Duration::ZERO, |ended| answered.duration_since(ended));
            after.saturating_record(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX));
        }
        let creations = created.load(Ordering::Relaxed);
        Ok(Stampede { crowd: self.crowd, creations, after })
    }
}
