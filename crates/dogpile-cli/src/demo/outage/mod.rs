//! `dogpile demo --outage`: a database that fails and is slow, and a store that goes away, as
//! three kinds of caches bear it.
//!
//! ```text
//!   phases    what is out of order, and when
//!   source    the database as a service sees it
//!   store     the cache's store: a file, or a Redis (server)
//!   ways      three ways to answer from the store
//!   load      the same requests for all ways, at the same time
//!   report    the table, the JSON
//!   chart     latency and errors over time
//! ```

mod chart;
mod load;
mod phases;
mod report;
#[cfg(unix)]
mod server;
mod source;
mod store;
mod ways;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::sync::watch;

use super::database::{Database, REGIONS};
use super::figures::with_unit;
use super::interruption;
use super::progress::Progress;
use super::terminal::{Style, wrapped};
use crate::error::CommandError;
use crate::warnings;
use load::{Load, Run};
use phases::{Phase, Times};
use source::{Source, USUAL_QUERY};
pub(super) use store::Kind;
use store::Store;
use ways::{WAYS, Way};

/// What is asked of a run.
pub(super) struct Plan {
    /// Of the whole run.
    pub(super) seconds: u32,
    pub(super) clients: u32,
    pub(super) rows: u32,
    pub(super) store: Option<Kind>,
    pub(super) json: bool,
}

/// Runs the demonstration.
pub(super) fn run(plan: &Plan) -> Result<ExitCode, CommandError> {
    // An outage is what was asked for.
    warnings::no_more();
    let runs = match interruption::run(|folder| all_ways(plan, folder))? {
        Ok(runs) => runs?,
        Err(code) => return Ok(code),
    };
    let mut out = io::stdout().lock();
    if plan.json {
        report::write_json(&mut out, &runs)?;
    } else {
        let style = Style::of_stdout();
        chart::write(&mut out, Times::of(plan.seconds), &runs, style)?;
        report::write_table(&mut out, &runs, style)?;
        report::write_conclusion(&mut out, style)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

async fn all_ways(plan: &Plan, folder: PathBuf) -> Result<Vec<Run>, CommandError> {
    let times = Times::of(plan.seconds);
    let mut store = Store::open(plan.store, &folder).await?;
    introduce(plan, times, &store)?;
    let path = folder.join("orders.db");
    Source::prepare(&Database::create(&path, plan.rows).await?).await?;
    let (phase, watched) = watch::channel(Phase::Fine);
    let mut ways = Vec::new();
    for name in WAYS {
        let database = Database::open(&path).await?;
        let source = Source::new(database, watched.clone(), times.slow_query());
        ways.push(Arc::new(Way::new(name, source, store.backend(), times)?));
    }
    let load = Load { clients: plan.clients, duration: times.total };
    load.warm_up(&ways).await?;
    let progress = Progress::start(!plan.json, times.total, move || watched.borrow().name());
    let (runs, ()) = tokio::try_join!(load.run(&ways), go_through(times, &phase, &mut store))?;
    progress.end().await;
    Ok(runs)
}

/// Lets one phase follow the other.
async fn go_through(
    times: Times,
    current: &watch::Sender<Phase>,
    store: &mut Store,
) -> Result<(), CommandError> {
    let began = tokio::time::Instant::now();
    for (phase, end) in times.ends() {
        if phase == Phase::StoreAway {
            store.take_away()?;
        }
        current.send_replace(phase);
        tokio::time::sleep_until(began + end).await;
        if phase == Phase::StoreAway {
            store.bring_back().await?;
        }
    }
    Ok(())
}

/// Tells a reader of the table what is going to happen; a reader of JSON wants nothing else.
fn introduce(plan: &Plan, times: Times, store: &Store) -> io::Result<()> {
    if plan.json {
        return Ok(());
    }
    let [query, expiration, slow, total] =
        [USUAL_QUERY, times.expiration(), times.slow_query(), times.total].map(with_unit);
    let (clients, keys, store) = (plan.clients, REGIONS.len(), store.description());
    let text = format!(
        "For {total}, {clients} clients a way ask for {keys} values.\n\
         A query takes {query}, its value expires after {expiration}.\n\
         First the database fails, then a query takes {slow}, then the store is away.\n\
         The store is {store}.\n\
         naive: look, query, store, each caller by itself\n\
         dogpile: a region with the defaults\n\
         resilient: a region with `.resilient()`; it tries again {expiration} after a failure"
    );
    writeln!(io::stdout(), "{}", wrapped(&text, Style::of_stdout().width))
}
