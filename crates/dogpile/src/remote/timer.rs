//! Timers of the I/O thread's, which work wherever they are awaited, and what they
//! cost.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Sleep;

use super::io::{handle, spawn};
use crate::backend::BackendError;
use crate::process::PerProcess;

/// A timer of the I/O thread's, which can be awaited anywhere.
pub(crate) fn sleep(duration: Duration) -> Result<Sleep, BackendError> {
    let _inside = handle()?.enter();
    Ok(tokio::time::sleep(duration))
}

/// While requests come, the thread's timers are kept ticking. Otherwise each
/// request's time-out would be the only timer, and setting it would wake the
/// thread: as expensive as half a request.
struct Pulse {
    used: AtomicBool,
    /// Nothing came for a while; the next request starts it again.
    stopped: AtomicBool,
}

static PULSE: PerProcess<Pulse> = PerProcess::new();

impl Pulse {
    const PERIOD: Duration = Duration::from_millis(100);
    const IDLE_PERIODS: u32 = 10;

    const fn new() -> Self {
        Self { used: AtomicBool::new(false), stopped: AtomicBool::new(true) }
    }

    fn keep_up(&'static self) -> Result<(), BackendError> {
        self.used.store(true, Ordering::Relaxed);
        if self.stopped.load(Ordering::Relaxed) && self.stopped.swap(false, Ordering::AcqRel) {
            spawn(self.tick())?;
        }
        Ok(())
    }

    async fn tick(&self) {
        let mut idle = 0;
        while idle < Self::IDLE_PERIODS {
            tokio::time::sleep(Self::PERIOD).await;
            idle = if self.used.swap(false, Ordering::Relaxed) { 0 } else { idle + 1 };
        }
        self.stopped.store(true, Ordering::Release);
    }
}

/// Returns the result of `work` within `limit`; `None` if it takes longer.
pub(crate) async fn within<F: Future>(
    limit: Duration,
    work: F,
) -> Result<Option<F::Output>, BackendError> {
    PULSE.get_or_init(Pulse::new).keep_up()?;
    let timed = {
        let _inside = handle()?.enter();
        tokio::time::timeout(limit, work)
    };
    Ok(timed.await.ok())
}
