//! The burst: clients that send one request after the other, and how long each
//! request took.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;

use super::database::Database;
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
        let progress = self.progress(name, start);
        let mut samples = Vec::new();
        while let Some(client) = clients.join_next().await {
            samples.extend(client??);
        }
        progress.abort();
        let queries = database.queries() - before;
        Ok(Run { name, queries, took: start.elapsed(), samples })
    }

    /// Moves a progress bar on stderr until it is aborted.
    fn progress(&self, name: &'static str, start: Instant) -> tokio::task::JoinHandle<()> {
        let total = u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX);
        let bar = if self.show_progress { ProgressBar::new(total) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{prefix:>8} [{bar:40}] {percent}%") {
            bar.set_style(style);
        }
        bar.set_prefix(name);
        let bar = ClearedWhenDropped(bar);
        tokio::spawn(async move {
            loop {
                let done = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
                bar.0.set_position(done.min(total));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    }
}

struct ClearedWhenDropped(ProgressBar);

impl Drop for ClearedWhenDropped {
    fn drop(&mut self) {
        self.0.finish_and_clear();
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

    /// Latencies that half, 99 in a hundred and all of the requests did not
    /// exceed.
    pub(super) fn latencies(&self) -> [Duration; 3] {
        let mut latencies: Vec<Duration> = self.samples.iter().map(|s| s.latency).collect();
        latencies.sort_unstable();
        [500, 990, 1000].map(|permille| quantile(&latencies, permille))
    }
}

/// The smallest of `sorted` that `permille` of them do not exceed.
fn quantile(sorted: &[Duration], permille: usize) -> Duration {
    let rank = (sorted.len() * permille).div_ceil(1000);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_latencies_that_occurred() {
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(quantile(&sorted, 500), Duration::from_millis(100));
        assert_eq!(quantile(&sorted, 990), Duration::from_millis(198));
        assert_eq!(quantile(&sorted, 1000), Duration::from_millis(200));
        assert_eq!(quantile(&[], 500), Duration::ZERO);
    }
}
