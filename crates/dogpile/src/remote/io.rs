//! The I/O thread of this process: a small runtime that looks after the
//! connections of remote backends and their timers, whatever executor their
//! callers are on, or none. So a caller may block its own thread, end its
//! runtime, or have none, and the answer still comes.

use std::future::Future;

use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};
use tokio::task::JoinHandle;

use crate::backend::BackendError;
use crate::process::{PerProcess, is_forked};

static RUNTIME: PerProcess<Option<Runtime>> = PerProcess::new();

pub(super) fn handle() -> Result<&'static Handle, BackendError> {
    let start = || {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("dogpile-io").enable_all().build().ok()
    };
    let runtime = RUNTIME.get_or_init(start).as_ref();
    let cannot = || BackendError::unavailable("the I/O thread cannot be started");
    runtime.map(Runtime::handle).ok_or_else(cannot)
}

/// The runtime that the caller is on, if it goes on while the caller blocks. One that a
/// forked process has may be its parent's, whose threads are not there.
pub(crate) fn home_of_caller() -> Option<Handle> {
    if is_forked() {
        return None;
    }
    let here = Handle::try_current().ok()?;
    matches!(here.runtime_flavor(), RuntimeFlavor::MultiThread).then_some(here)
}

/// Runs `work` on the I/O thread.
pub(crate) fn spawn<F>(work: F) -> Result<JoinHandle<F::Output>, BackendError>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Ok(handle()?.spawn(work))
}

/// A task that ends when this is dropped.
#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) struct AbortOnDrop<T>(pub(crate) JoinHandle<T>);

#[cfg(any(feature = "redis", feature = "memcached"))]
impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(cx)
    }
}

#[cfg(any(feature = "redis", feature = "memcached"))]
impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs `work`, which takes its time, on a thread where it may.
///
/// # Panics
///
/// If `work` does.
#[cfg(feature = "collections")]
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BackendError> {
    match handle()?.spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        Err(ended) => Err(BackendError::unavailable(ended)),
    }
}

/// Runs `work` on the I/O thread, and waits for it.
#[cfg(feature = "collections")]
pub(crate) async fn run<F>(work: F) -> Result<F::Output, tokio::task::JoinError>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match handle() {
        Ok(handle) => handle.spawn(work).await,
        // Nobody runs without the thread.
        Err(_) => std::future::pending().await,
    }
}

/// Waits for `work` on a thread of [`run_blocking`].
#[cfg(feature = "collections")]
pub(crate) fn block_on<T>(
    work: impl Future<Output = Result<T, BackendError>>,
) -> Result<T, BackendError> {
    handle()?.block_on(work)
}

/// `work`, with the I/O thread's runtime around it wherever its caller has none.
#[cfg(any(feature = "collections", feature = "redis"))]
pub(crate) async fn inside<F: Future>(work: F) -> F::Output {
    let mut work = std::pin::pin!(work);
    let poll = |context: &mut std::task::Context<'_>| {
        let outside = Handle::try_current().is_err();
        let _inside = outside.then(|| handle().map(Handle::enter));
        work.as_mut().poll(context)
    };
    std::future::poll_fn(poll).await
}
