//! A real database with a report that takes tens of milliseconds, behind a
//! small pool of connections, as services have it.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use crate::error::CommandError;

/// A few connections for many requests: the rest queue.
const CONNECTIONS: usize = 4;

const REPORT: &str = "
    SELECT region, count(*), sum(cents), count(DISTINCT customer)
    FROM orders
    WHERE day BETWEEN 60 AND 120
    GROUP BY region
    ORDER BY sum(cents) DESC";

/// The report that clients ask for: the turnover of each region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turnover {
    pub(super) region: String,
    pub(super) orders: i64,
    pub(super) cents: i64,
    pub(super) customers: i64,
}

/// The report, shared by all who were given it.
pub(super) type Report = Arc<Vec<Turnover>>;

/// All regions, some of which have more orders than others.
pub(super) const REGIONS: [&str; 8] =
    ["Africa", "Americas", "Arctic", "Asia", "Atlantic", "Europe", "Oceania", "Pacific"];

/// The pool, which counts what it runs.
pub(super) struct Database {
    idle: Arc<Mutex<Vec<Connection>>>,
    free: Arc<Semaphore>,
    queries: AtomicU64,
}

/// The right to use one of the connections.
pub(super) struct Turn(
    #[expect(dead_code, reason = "it is given back when dropped")] OwnedSemaphorePermit,
);

impl Database {
    /// Creates and fills the database at `path`.
    pub(super) async fn create(path: &Path, rows: u32) -> Result<Self, CommandError> {
        let new = path.to_owned();
        spawn_blocking(move || fill(&Connection::open(new)?, rows)).await??;
        Self::open(path).await
    }

    /// Opens another pool for the database at `path`.
    pub(super) async fn open(path: &Path) -> Result<Self, CommandError> {
        let path = path.to_owned();
        let connections = spawn_blocking(move || -> rusqlite::Result<Vec<Connection>> {
            (0..CONNECTIONS).map(|_| Connection::open(&path)).collect()
        });
        Ok(Self {
            idle: Arc::new(Mutex::new(connections.await??)),
            free: Arc::new(Semaphore::new(CONNECTIONS)),
            queries: AtomicU64::new(0),
        })
    }

    /// Runs the report, on one of the connections, when one is free.
    pub(super) async fn report(&self) -> Result<Report, CommandError> {
        let turn = self.turn().await?;
        self.queries.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(self.ask(turn, query).await?))
    }

    /// Waits until one of the connections is free.
    pub(super) async fn turn(&self) -> Result<Turn, CommandError> {
        Ok(Turn(self.free.clone().acquire_owned().await?))
    }

    /// Runs `query` on a connection, which is free for others after that.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        turn: Turn,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, CommandError> {
        let idle = self.idle.clone();
        let answer = spawn_blocking(move || {
            let _turn = turn;
            let connection = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(connection) = connection else { return Err("no connection is idle".into()) };
            let answer = query(&connection);
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            Ok::<_, CommandError>(answer?)
        });
        answer.await?
    }

    /// Returns the number of reports that have begun.
    pub(super) fn queries(&self) -> u64 {
        self.queries.load(Ordering::Relaxed)
    }

    /// Returns the duration of the report when nobody else asks.
    pub(super) async fn time_one_query(&self) -> Result<Duration, CommandError> {
        self.report().await?;
        let began = Instant::now();
        self.report().await?;
        Ok(began.elapsed())
    }
}

fn query(connection: &Connection) -> rusqlite::Result<Vec<Turnover>> {
    let mut statement = connection.prepare_cached(REPORT)?;
    let rows = statement.query_map([], |row| {
        Ok(Turnover {
            region: row.get(0)?,
            orders: row.get(1)?,
            cents: row.get(2)?,
            customers: row.get(3)?,
        })
    })?;
    rows.collect()
}

fn fill(connection: &Connection, rows: u32) -> rusqlite::Result<()> {
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; BEGIN;
         CREATE TABLE orders (
             id INTEGER PRIMARY KEY, customer INTEGER NOT NULL, region TEXT NOT NULL,
             day INTEGER NOT NULL, cents INTEGER NOT NULL)",
    )?;
    let mut insert = connection
        .prepare("INSERT INTO orders (customer, region, day, cents) VALUES (?1, ?2, ?3, ?4)")?;
    // A linear congruence: the same rows in every run.
    let mut state = 42_u64;
    let mut draw = |below: u64| -> i64 {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((state >> 33) % below).unwrap_or(0)
    };
    for _ in 0..rows {
        let region = REGIONS[usize::try_from(draw(8)).unwrap_or(0)];
        insert.execute((draw(20_000), region, draw(365), 100 + draw(99_900)))?;
    }
    drop(insert);
    connection.execute_batch("COMMIT")
}
