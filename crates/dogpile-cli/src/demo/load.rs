//! The burst: clients that send one request after the other, and how long each
//! request took.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::database::Database;
use super::figures::Latencies;
use super::progress::Progress;
use super::ways::Way;
use crate::error::CommandError;

/// A burst of requests, the same for every way.
pub(super) struct Load {
    pub(super) clients: u32,
    pub(super) duration: Duration,
    /// The pause of a client between two requests.
    pub(super) think: Duration,
    pub(super) show_progress: bool,
}

/// One answered request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// Since the start of the run.
    pub(super) sent: Duration,
    pub(super) latency: Duration,
}

/// The results of one way under the load.
pub(super) struct Run {
    pub(super) name: &'static str,
    pub(super) queries: u64,
    pub(super) took: Duration,
    pub(super) samples: Vec<Sample>,
}

impl Load {
    pub(super) async fn run(
        &self,
        name: &'static str,
        way: &Arc<Way>,
        database: &Database,
    ) -> Result<Run, CommandError> {
        // The first request finds the cache cold in any way: what is shown is
        // what happens at expiry.
        way.answer().await?;
        let before = database.queries();
        let start = Instant::now();
        let mut clients = JoinSet::new();
        for _ in 0..self.clients {
            clients.spawn(client(way.clone(), start, self.duration, self.think));
        }
        let progress = Progress::start(self.show_progress, self.duration, move || name);
        let mut samples = Vec::new();
        while let Some(client) = clients.join_next().await {
            samples.extend(client??);
        }
        progress.end().await;
        let queries = database.queries() - before;
        Ok(Run { name, queries, took: start.elapsed(), samples })
    }
}

/// Sends requests until the time is over; the last one is answered.
async fn client(
    way: Arc<Way>,
    start: Instant,
    duration: Duration,
    think: Duration,
) -> Result<Vec<Sample>, CommandError> {
    let mut samples = Vec::new();
    while start.elapsed() < duration {
        let sent = start.elapsed();
        way.answer().await?;
        samples.push(Sample { sent, latency: start.elapsed().saturating_sub(sent) });
        tokio::time::sleep(think).await;
    }
    Ok(samples)
}

impl Run {
    /// Requests answered in a second.
    pub(super) fn per_second(&self) -> f64 {
        self.samples.len() as f64 / self.took.as_secs_f64()
    }

    pub(super) fn latencies(&self) -> Latencies {
        Latencies::of(self.samples.iter().map(|sample| sample.latency))
    }
}
