//! The database as a service sees it: some milliseconds away, and failing or slow at times.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::watch;
use tokio::time::sleep;

use super::phases::Phase;
use crate::demo::database::Database;
use crate::error::CommandError;

/// The time to a database on another machine, and back.
pub(super) const USUAL_QUERY: Duration = Duration::from_millis(30);

/// The query of one region needs an index to be as quick as that.
const INDEX: &str = "CREATE INDEX by_region ON orders (region, day, cents)";

const TURNOVER: &str = "SELECT sum(cents) FROM orders WHERE region = ?1 AND day BETWEEN 60 AND 120";

/// A pool of connections of one way, and a count of what it was asked.
pub(super) struct Source {
    database: Database,
    phase: watch::Receiver<Phase>,
    slow_query: Duration,
    asked: AtomicU64,
}

impl Source {
    pub(super) fn new(
        database: Database,
        phase: watch::Receiver<Phase>,
        slow_query: Duration,
    ) -> Self {
        Self { database, phase, slow_query, asked: AtomicU64::new(0) }
    }

    /// Prepares the database for the query.
    pub(super) async fn prepare(database: &Database) -> Result<(), CommandError> {
        let turn = database.turn().await?;
        database.ask(turn, |connection| connection.execute_batch(INDEX)).await
    }

    /// Asks for the turnover of a region.
    pub(super) async fn turnover(&self, region: &'static str) -> Result<i64, CommandError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        // Where there is no connection, there is nothing to wait for.
        self.connect().await?;
        let turn = self.database.turn().await?;
        self.connect().await?;
        sleep(self.query_time()).await;
        self.database.ask(turn, move |connection| query(connection, region)).await
    }

    /// Returns the number of queries, failed ones included.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    async fn connect(&self) -> Result<(), CommandError> {
        if self.phase() != Phase::DatabaseFails {
            return Ok(());
        }
        sleep(USUAL_QUERY).await;
        Err(io::Error::new(io::ErrorKind::ConnectionRefused, "the database is down").into())
    }

    fn query_time(&self) -> Duration {
        if self.phase() == Phase::DatabaseSlow { self.slow_query } else { USUAL_QUERY }
    }

    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }
}

fn query(connection: &Connection, region: &str) -> rusqlite::Result<i64> {
    let mut statement = connection.prepare_cached(TURNOVER)?;
    let turnover: Option<i64> = statement.query_row([region], |row| row.get(0))?;
    Ok(turnover.unwrap_or_default())
}
