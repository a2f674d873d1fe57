//! A bar on standard error that shows how far a run is.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

/// A bar that moves until it is dropped. It is not shown where nobody looks on.
pub(super) struct Progress(JoinHandle<()>);

/// The time between two looks at the clock.
const TICK: Duration = Duration::from_millis(50);

impl Progress {
    /// Shows `name`, which may change while it runs, and the share of `total` that has passed.
    pub(super) fn start(
        is_shown: bool,
        total: Duration,
        name: impl Fn() -> &'static str + Send + 'static,
    ) -> Self {
        let start = Instant::now();
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let is_shown = is_shown && io::stderr().is_terminal();
        let bar =
            if is_shown { ProgressBar::new(milliseconds(total)) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{prefix:>14} [{wide_bar}] {percent:>3}%") {
            bar.set_style(style);
        }
        let bar = ClearedWhenDropped(bar);
        Self(tokio::spawn(async move {
            loop {
                bar.0.set_prefix(name());
                bar.0.set_position(milliseconds(start.elapsed().min(total)));
                tokio::time::sleep(TICK).await;
            }
        }))
    }

    /// Removes the bar.
    pub(super) async fn end(mut self) {
        self.0.abort();
        // It is cleared after that: what is printed next does not mix with it.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct ClearedWhenDropped(ProgressBar);

impl Drop for ClearedWhenDropped {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
