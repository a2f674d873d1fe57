//! The calls to the region, as a task makes them or as a blocking thread does.

use std::thread;
use std::time::Duration;

use dogpile::invalidation::Mode;
use dogpile::{Lookup, Region, Result};

use super::calls::Wants;
use super::journal::Creating;
use crate::record::Row;

/// The kind of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// A task, which awaits its calls.
    Task,
    /// A thread that its calls block. What it awaits here is over at once.
    Thread,
}

/// Options that an entry of either kind of caller takes.
macro_rules! wanting {
    ($entry:expr, $wants:expr) => {
        match $wants {
            Wants::Any => $entry,
            Wants::Young(age) => $entry.expiration(age),
            Wants::OnlyYoung(age) => $entry.expiration(age).stale_while_revalidate(Duration::ZERO),
        }
    };
}

impl Way {
    pub(super) async fn sleep(self, pause: Duration) {
        match self {
            Self::Task => tokio::time::sleep(pause).await,
            Self::Thread => thread::sleep(pause),
        }
    }

    /// Lets others go on.
    pub(super) async fn give_way(self) {
        match self {
            Self::Task => tokio::task::yield_now().await,
            Self::Thread => thread::yield_now(),
        }
    }

    pub(super) async fn get(self, region: &Region, name: &str) -> Result<Option<Row>> {
        match self {
            Self::Task => region.get(name).await,
            Self::Thread => region.blocking().get(name),
        }
    }

    pub(super) async fn get_multi(
        self,
        region: &Region,
        names: Vec<String>,
    ) -> Result<Vec<Option<Row>>> {
        match self {
            Self::Task => region.get_multi(names).await,
            Self::Thread => region.blocking().get_multi(names),
        }
    }

    /// Returns the value as it is wanted, or creates it.
    pub(super) async fn lookup<'w>(
        self,
        region: &Region,
        name: &str,
        wants: Wants,
        takes: Duration,
        begin: impl Fn() -> Creating<'w> + Send + Sync,
    ) -> Lookup<Row> {
        match self {
            Self::Task => {
                let entry = wanting!(region.entry(name), wants);
                entry.lookup(|| created(begin(), takes)).await
            }
            Self::Thread => {
                let entry = wanting!(region.blocking().entry(name), wants);
                entry.lookup(|| created_here(begin(), takes))
            }
        }
    }

    pub(super) async fn create_multi<'w>(
        self,
        region: &Region,
        names: Vec<String>,
        takes: Duration,
        begin: impl Fn(Vec<String>) -> Vec<Creating<'w>> + Send + Sync,
    ) -> Result<Vec<Row>> {
        let rows = |begun: Vec<Creating<'_>>| begun.into_iter().map(Creating::end).collect();
        match self {
            Self::Task => {
                let create = |names| {
                    let begun = begin(names);
                    async move {
                        tokio::time::sleep(takes).await;
                        rows(begun)
                    }
                };
                region.get_or_create_multi(names, create).await
            }
            Self::Thread => {
                let create = |names| {
                    let begun = begin(names);
                    thread::sleep(takes);
                    rows(begun)
                };
                region.blocking().get_or_create_multi(names, create)
            }
        }
    }

    /// Creates the value once more.
    pub(super) async fn refresh<'w>(
        self,
        region: &Region,
        name: &str,
        takes: Duration,
        begin: impl Fn() -> Creating<'w> + Send + Sync,
    ) -> Result<Row> {
        match self {
            Self::Task => region.entry(name).strict().refresh(|| created(begin(), takes)).await,
            Self::Thread => {
                let entry = region.blocking().entry(name).strict();
                entry.refresh(|| created_here(begin(), takes))
            }
        }
    }

    pub(super) async fn delete(self, region: &Region, names: Vec<String>) -> Result<()> {
        match (self, &names[..]) {
            (Self::Task, [name]) => region.delete(name).await,
            (Self::Task, _) => region.delete_multi(names).await,
            (Self::Thread, [name]) => region.blocking().delete(name),
            (Self::Thread, _) => region.blocking().delete_multi(names),
        }
    }

    pub(super) async fn set(self, region: &Region, rows: &[(String, Row)]) -> Result<()> {
        let all = rows.iter().map(|(name, row)| (name, row));
        match (self, rows) {
            (Self::Task, [(name, row)]) => region.set(name, row).await,
            (Self::Task, _) => region.set_multi(all).await,
            (Self::Thread, [(name, row)]) => region.blocking().set(name, row),
            (Self::Thread, _) => region.blocking().set_multi(all),
        }
    }

    pub(super) async fn expire(self, region: &Region, names: Vec<String>) -> Result<()> {
        match (self, &names[..]) {
            (Self::Task, [name]) => region.expire(name).await,
            (Self::Task, _) => region.entries(names).expire().await,
            (Self::Thread, [name]) => region.blocking().expire(name),
            (Self::Thread, _) => region.blocking().entries(names).expire(),
        }
    }

    pub(super) async fn invalidate(self, region: &Region, mode: Mode) -> Result<()> {
        match (self, mode) {
            (Self::Task, Mode::Hard) => region.invalidate_all().await,
            (Self::Task, Mode::Soft) => region.expire_all().await,
            (Self::Thread, Mode::Hard) => region.blocking().invalidate_all(),
            (Self::Thread, Mode::Soft) => region.blocking().expire_all(),
        }
    }
}

async fn created(begun: Creating<'_>, takes: Duration) -> Row {
    tokio::time::sleep(takes).await;
    begun.end()
}

fn created_here(begun: Creating<'_>, takes: Duration) -> Row {
    thread::sleep(takes);
    begun.end()
}
