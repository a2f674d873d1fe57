//! The I/O thread of this process: a small runtime that drives the connections
//! of remote backends and their timers, whatever executor their callers are
//! on, or none.
//!
//! So a caller may block its own thread, end its runtime, or have none, and the
//! answer still comes.

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use crate::backend::BackendError;

static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();

fn handle() -> Result<&'static Handle, BackendError> {
    let start = || {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("dogpile-io").enable_all().build().ok()
    };
    let runtime = RUNTIME.get_or_init(start).as_ref();
    let cannot = || BackendError::unavailable("the I/O thread cannot be started");
    runtime.map(Runtime::handle).ok_or_else(cannot)
}

/// Runs `work` on the I/O thread.
pub(crate) fn spawn<F>(work: F) -> Result<JoinHandle<F::Output>, BackendError>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Ok(handle()?.spawn(work))
}

/// A timer of the I/O thread's, which can be awaited anywhere.
pub(crate) fn sleep(duration: Duration) -> Result<Sleep, BackendError> {
    let _inside = handle()?.enter();
    Ok(tokio::time::sleep(duration))
}

/// What `work` comes to within `limit`; `None` if it takes longer.
pub(crate) async fn within<F: Future>(
    limit: Duration,
    work: F,
) -> Result<Option<F::Output>, BackendError> {
    let timed = {
        let _inside = handle()?.enter();
        tokio::time::timeout(limit, work)
    };
    Ok(timed.await.ok())
}
