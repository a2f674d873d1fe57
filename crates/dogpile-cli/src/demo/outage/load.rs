//! The requests: all ways get the same ones, at the same time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::ways::Way;
use crate::demo::database::REGIONS;
use crate::demo::figures::Latencies;
use crate::error::CommandError;

/// The pause of a client between two requests.
const THINK: Duration = Duration::from_millis(50);

/// So many clients for each way, which ask for so long.
pub(super) struct Load {
    pub(super) clients: u32,
    pub(super) duration: Duration,
}

/// One request, answered or failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// Since the start of the run.
    pub(super) sent: Duration,
    pub(super) latency: Duration,
    pub(super) failed: bool,
}

/// The results of one way.
pub(super) struct Run {
    pub(super) name: &'static str,
    pub(super) creations: u64,
    pub(super) samples: Vec<Sample>,
}

impl Load {
    /// Has each way store all values: none begins cold.
    pub(super) async fn warm_up(&self, ways: &[Arc<Way>]) -> Result<(), CommandError> {
        for way in ways {
            for region in REGIONS {
                way.answer(region).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn run(&self, ways: &[Arc<Way>]) -> Result<Vec<Run>, CommandError> {
        let before: Vec<u64> = ways.iter().map(|way| way.source.asked()).collect();
        let start = Instant::now();
        // All clients are dropped with the sets.
        let mut clients: Vec<JoinSet<Vec<Sample>>> = Vec::new();
        for way in ways {
            let numbers = (0..self.clients).map(|number| number as usize);
            let all = numbers.map(|number| client(way.clone(), number, start, self.duration));
            clients.push(all.collect());
        }
        let mut runs = Vec::new();
        for ((way, before), clients) in ways.iter().zip(before).zip(clients) {
            let samples = clients.join_all().await.concat();
            runs.push(Run { name: way.name, creations: way.source.asked() - before, samples });
        }
        Ok(runs)
    }
}

/// Asks for one region after the other until the time is over; the last request is answered.
async fn client(way: Arc<Way>, number: usize, start: Instant, duration: Duration) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut regions = REGIONS.iter().cycle().skip(number % REGIONS.len());
    while start.elapsed() < duration {
        let sent = start.elapsed();
        let answer = way.answer(regions.next().copied().unwrap_or_default()).await;
        let latency = start.elapsed().saturating_sub(sent);
        samples.push(Sample { sent, latency, failed: answer.is_err() });
        sleep(THINK).await;
    }
    samples
}

impl Run {
    pub(super) fn errors(&self) -> usize {
        self.samples.iter().filter(|sample| sample.failed).count()
    }

    pub(super) fn latencies(&self) -> Latencies {
        Latencies::of(self.samples.iter().map(|sample| sample.latency))
    }
}
