//! `dogpile demo`: what happens to a database when a popular key expires, and
//! what does not when dogpile stands in front of it.
//!
//! ```text
//!   database   a real SQLite file with a slow report
//!   ways       three ways to answer a request for the report
//!   load       the burst of requests, and how long each took
//!   report     the table, the closing words, the JSON
//!   chart      latency over time
//! ```

mod chart;
mod database;
mod load;
mod report;
mod ways;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use database::Database;
use load::{Load, Run};
use ways::{Schedule, WAYS, Way};

use crate::error::CommandError;

/// The arguments of `dogpile demo`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seconds that each of the three ways runs; the key expires once a
    /// second
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Clients that send one request after the other
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Rows in the database
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..=20_000_000))]
    rows: u32,
    /// Print one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// The exit code of a process that was interrupted from the keyboard.
const INTERRUPTED: u8 = 130;

/// Runs the demonstration.
pub(crate) fn run(options: &Options) -> Result<ExitCode, CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let finished = runtime.block_on(async {
        tokio::select! {
            runs = all_ways(options) => Some(runs),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    // Queries that are still running are not worth waiting for.
    runtime.shutdown_background();
    let Some(runs) = finished else { return Ok(ExitCode::from(INTERRUPTED)) };
    let runs = runs?;
    let mut out = io::stdout().lock();
    if options.json {
        report::write_json(&mut out, options.seconds, &runs)?;
    } else {
        report::write_table(&mut out, options.seconds, &runs)?;
        chart::write(&mut out, options.seconds, &runs, chart::Style::of_stdout())?;
        report::write_conclusion(&mut out, options.seconds, &runs)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

async fn all_ways(options: &Options) -> Result<Vec<Run>, CommandError> {
    let folder = tempfile::tempdir()?;
    say(options, &format!("creating a database of {} rows ...", options.rows))?;
    let database =
        Arc::new(Database::create(&folder.path().join("orders.db"), options.rows).await?);
    let alone = database.time_one_query().await?;
    say(
        options,
        &format!(
            "its report takes {:.0} ms; {} clients ask for it for {} s each way, and the cached copy expires every second",
            alone.as_secs_f64() * 1e3,
            options.clients,
            options.seconds
        ),
    )?;
    let load = Load {
        clients: options.clients,
        duration: Duration::from_secs(options.seconds.into()),
        think: Duration::from_millis(5),
        show_progress: !options.json && io::stderr().is_terminal(),
    };
    let mut runs = Vec::new();
    for name in WAYS {
        let schedule = Schedule::starting_now();
        let way = Arc::new(Way::new(name, database.clone(), schedule)?);
        runs.push(load.run(name, &way, &database).await?);
    }
    Ok(runs)
}

/// Returns what a reader of the table wants to know beforehand; a reader of JSON does
/// not.
fn say(options: &Options, text: &str) -> io::Result<()> {
    if options.json { Ok(()) } else { writeln!(io::stdout(), "{text}") }
}
