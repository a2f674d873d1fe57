//! The task that keeps a collection in step with its store, in the background.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::select;

use super::shared::Shared;
use super::source::{is_away, pause_before};
use super::stats::Count;
use super::table::Table;
use crate::backend::BackendError;
use crate::log;
use crate::remote::io;

/// Starts the task, which ends with the collection.
pub(super) fn start<D: Table>(shared: &Arc<Shared<D>>) -> Result<(), BackendError> {
    let (source, told) = (&shared.source, shared.told.clone());
    let watch = source.store.watch(&source.place, Arc::new(move || told.notify_one()));
    *shared.watch.lock() = watch;
    let keeper = io::spawn(keep(Arc::downgrade(shared)))?;
    *shared.keeper.lock() = Some(keeper.abort_handle());
    Ok(())
}

/// Looks at the store when it tells of something new, and whenever the check
/// interval has passed; sooner where the store was away, since what it told of is
/// still to be had.
async fn keep<D: Table>(weak: Weak<Shared<D>>) {
    const SHORTEST: Duration = Duration::from_millis(1);
    let mut failures = 0;
    loop {
        let Some(shared) = weak.upgrade() else { return };
        let mut interval = shared.check_interval.max(SHORTEST);
        if failures > 0 {
            interval = interval.min(pause_before(failures));
        }
        let interval = shared.source.clock.sleep(interval);
        let told = shared.told.clone();
        drop(shared);
        select(std::pin::pin!(told.notified()), interval).await;
        let Some(shared) = weak.upgrade() else { return };
        failures = if check(&shared).await { 0 } else { failures.saturating_add(1) };
    }
}

/// Looks at the store, on the collection's home runtime: it may come to loading.
/// False if the store is away.
async fn check<D: Table>(shared: &Arc<Shared<D>>) -> bool {
    let source = &shared.source;
    let pulling = || {
        let shared = shared.clone();
        async move { shared.pull_now().await }
    };
    let mut pulled = match &source.home {
        Some(home) => home.spawn(pulling()).await,
        None => io::run(pulling()).await,
    };
    // That runtime has ended.
    if pulled.as_ref().is_err_and(tokio::task::JoinError::is_cancelled) {
        pulled = io::run(pulling()).await;
    }
    let in_step = matches!(pulled, Ok(Ok(_)));
    let changed = source.stats.looked(in_step);
    let is_there = !matches!(&pulled, Ok(Err(error)) if is_away(error));
    match pulled {
        Ok(Ok(_)) if changed => log::collection_in_step(&source.name, shared.number()),
        Ok(Ok(_)) => {}
        Ok(Err(error)) => log::collection_out_of_step(&source.name, &error, changed),
        Err(panicked) => {
            source.stats.count(Count::Failures);
            log::collection_out_of_step(&source.name, &panicked, true);
        }
    }
    is_there
}
