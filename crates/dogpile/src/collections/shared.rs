//! A collection in this process: the revision that readers get, and how it
//! gives way to the next.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::snapshot::{Revision, Snapshot};
use super::source::{Arrival, Fetched, Source, Unreadable};
use super::table::Table;
use crate::backend::{BackendError, Watch};
use crate::error::Error;
use crate::remote::io;
use crate::sync::Mutex;

/// Called with what a new revision holds, before readers get it.
pub(super) type Prepare<D> = Arc<dyn Fn(&Snapshot<D>) + Send + Sync>;

pub(super) struct Shared<D> {
    pub(super) source: Arc<Source<D>>,
    pub(super) check_interval: Duration,
    pub(super) prepare: Option<Prepare<D>>,
    current: ArcSwap<Revision<D>>,
    /// Held while the current revision is exchanged.
    exchange: Mutex<()>,
    /// Held by the one pull or check of this process.
    pub(super) turn: tokio::sync::Mutex<()>,
    pub(super) told: Arc<Notify>,
    pub(super) keeper: Mutex<Option<AbortHandle>>,
    pub(super) watch: Mutex<Option<Watch>>,
}

/// The options of a collection, beside its source.
pub(super) struct Terms<D> {
    pub(super) check_interval: Duration,
    pub(super) prepare: Option<Prepare<D>>,
}

impl<D: Table> Shared<D> {
    /// With its first revision.
    pub(super) async fn new(
        source: Arc<Source<D>>,
        terms: Terms<D>,
        first: Arrival<D>,
    ) -> Result<Arc<Self>, Error> {
        let begun = source.clone();
        let begin = move || {
            let Terms { check_interval, prepare } = terms;
            let Arrival { number, data, .. } = first;
            let first = prepared(prepare.as_ref(), number, data);
            source.stats.installed(number, first.data().count());
            Arc::new(Self {
                source,
                check_interval,
                prepare,
                current: ArcSwap::new(first),
                exchange: Mutex::default(),
                turn: tokio::sync::Mutex::default(),
                told: Arc::new(Notify::new()),
                keeper: Mutex::default(),
                watch: Mutex::default(),
            })
        };
        io::run_blocking(begin).await.map_err(|error| begun.error("open", error))
    }

    pub(super) fn current(&self) -> Guard<Arc<Revision<D>>> {
        self.current.load()
    }

    pub(super) fn number(&self) -> u64 {
        self.current().number()
    }

    /// Gives readers this revision, unless they have a newer one; says which number
    /// it has.
    async fn install(self: &Arc<Self>, arrival: Arrival<D>) -> Result<u64, Error> {
        let shared = self.clone();
        let install = move || {
            let (source, Arrival { number, data, turn }) = (&shared.source, arrival);
            let revision = prepared(shared.prepare.as_ref(), number, data);
            let exchange = shared.exchange.lock();
            if number > shared.number() {
                source.stats.installed(number, revision.data().count());
                let replaced = shared.current.swap(revision);
                drop(exchange);
                bury(replaced);
            }
            drop(turn);
            number
        };
        io::run_blocking(install).await.map_err(|error| self.source.error("pull", error))
    }

    /// Catches up with the store; true if there was something to catch up with.
    pub(super) async fn pull(self: &Arc<Self>) -> Result<bool, Error> {
        let pulled = self.pull_now().await;
        if let Err(Error::Collection { .. }) = &pulled {
            self.source.stats.looked(false);
        }
        pulled
    }

    /// The same, for who notes the outcome.
    pub(super) async fn pull_now(self: &Arc<Self>) -> Result<bool, Error> {
        let _turn = self.turn.lock().await;
        let stored = self.source.revision().await?;
        if stored == Some(self.number()) {
            return Ok(false);
        }
        // It may be a push of this process's, which readers are about to get.
        drop(self.source.arriving.lock().await);
        if stored == Some(self.number()) {
            return Ok(false);
        }
        self.source.check_readable(stored)?;
        match self.source.above(|| self.number(), Unreadable::Leave).await? {
            Some(arrival) => self.install(arrival).await.map(|_| true),
            None => Ok(false),
        }
    }

    /// Loads, and gives what was loaded to everybody.
    pub(super) async fn push(self: &Arc<Self>) -> Result<u64, Error> {
        let pushed = self.push_now().await;
        match &pushed {
            Ok(_) => _ = self.source.stats.looked(true),
            Err(Error::Collection { .. }) => _ = self.source.stats.looked(false),
            Err(_) => {}
        }
        pushed
    }

    async fn push_now(self: &Arc<Self>) -> Result<u64, Error> {
        const TRIES: u32 = 3;
        for _ in 0..TRIES {
            let lease = self.source.lock().await?;
            self.catch_up().await;
            if let Some(made) = self.source.make(self.number(), lease).await? {
                return self.install(made).await;
            }
        }
        let message = "the lock was lost again and again before the data were stored";
        Err(self.source.error("push", BackendError::unavailable(message)))
    }

    /// Before a load: takes what others have pushed, since nobody pushes during it, and
    /// what is loaded and what is pulled would be in memory at once.
    async fn catch_up(self: &Arc<Self>) {
        let is_behind =
            |stored| stored > Some(self.number()) && self.source.check_readable(stored).is_ok();
        // What fails here fails the push, or matters no more after it.
        if self.source.revision().await.is_ok_and(is_behind)
            && let Ok(Fetched::Newer(arrival)) = self.source.fetch(&|| self.number()).await
        {
            let _ = self.install(arrival).await;
        }
    }
}

/// A revision that is ready for readers.
fn prepared<D: Table>(prepare: Option<&Prepare<D>>, number: u64, data: D) -> Arc<Revision<D>> {
    let revision = Revision::new(number, data);
    if let Some(prepare) = prepare {
        prepare(&Snapshot::new(Guard::from_inner(revision.clone())));
    }
    revision
}

/// Takes a replaced revision apart here, once nobody has it any more: a reader
/// must not be the one who frees a million entries.
fn bury<D: Table>(replaced: Arc<Revision<D>>) {
    const LONGEST: Duration = Duration::from_secs(1);
    if replaced.is_unused() {
        return;
    }
    let waiting = io::spawn(async move {
        let mut pause = Duration::from_millis(5);
        while !replaced.is_unused() {
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(LONGEST);
        }
        let _ = io::run_blocking(move || drop(replaced)).await;
    });
    drop(waiting);
}

impl<D> Drop for Shared<D> {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.lock().take() {
            keeper.abort();
        }
    }
}
