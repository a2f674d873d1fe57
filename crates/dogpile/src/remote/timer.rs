//! Timers of the I/O thread's, which work wherever they are awaited, and what they
//! cost.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Sleep;

use super::io::handle;
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

    fn keep_up(&'static self, runtime: &Handle) {
        self.used.store(true, Ordering::Relaxed);
        if self.stopped.load(Ordering::Relaxed) && self.stopped.swap(false, Ordering::AcqRel) {
            runtime.spawn(self.tick());
        }
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

/// The timers of this process, for whoever asks often: which process this is, only the system
/// can tell, and that takes as long as setting a timer.
#[derive(Clone, Copy)]
pub(crate) struct Timers {
    runtime: &'static Handle,
    pulse: &'static Pulse,
}

impl Timers {
    pub(crate) fn of_this_process() -> Result<Self, BackendError> {
        Ok(Self { runtime: handle()?, pulse: PULSE.get_or_init(Pulse::new) })
    }

    /// Returns the result of `work` within `limit`; `None` if it takes longer.
    pub(crate) async fn within<F: Future>(self, limit: Duration, work: F) -> Option<F::Output> {
        self.pulse.keep_up(self.runtime);
        let timed = {
            let _inside = self.runtime.enter();
            tokio::time::timeout(limit, work)
        };
        timed.await.ok()
    }
}
