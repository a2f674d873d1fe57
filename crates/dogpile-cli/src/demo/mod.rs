//! `dogpile demo`: what happens to a database when a popular key expires, and
//! what does not when dogpile stands in front of it.
//!
//! ```text
//!   database      a real SQLite file with a slow report
//!   ways          three ways to answer a request for the report
//!   load          the burst of requests, and how long each took
//!   report        the table, the closing words, the JSON
//!   chart         latency over time
//!   outage        the other demonstration: what fails, and who feels it
//!   figures, table, terminal, progress, interruption    what both need
//! ```

mod chart;
mod database;
mod figures;
mod interruption;
mod load;
mod outage;
mod progress;
mod report;
mod table;
mod terminal;
mod ways;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use database::Database;
use load::{Load, Run};
use terminal::Style;
use ways::{Schedule, WAYS, Way};

use crate::error::CommandError;

/// The arguments of `dogpile demo`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Let the database fail, then be slow, then let the store go away, and compare a
    /// hand-written cache, a region and a resilient region
    #[arg(long)]
    outage: bool,
    /// Store of the outage: a file, or a Redis or Valkey that the demo starts [default: redis
    /// if a server is installed, else file]
    #[arg(long, requires = "outage", hide_possible_values = true)]
    store: Option<outage::Kind>,
    /// Seconds that each of the three ways runs, with a key that expires once a second; with
    /// --outage, seconds of the whole run [default: 4, with --outage 24]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: Option<u32>,
    /// Clients of each way, which send one request after the other
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Rows in the database
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..=20_000_000))]
    rows: u32,
    /// Print one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

impl Options {
    /// Is something going to fail, and to be warned of, on purpose?
    pub(crate) fn is_outage(&self) -> bool {
        self.outage
    }
}

/// Runs the demonstration that was asked for.
pub(crate) fn run(options: &Options) -> Result<ExitCode, CommandError> {
    let &Options { outage, store, seconds, clients, rows, json } = options;
    if outage {
        return outage::run(&outage::Plan {
            seconds: seconds.unwrap_or(24),
            clients,
            rows,
            store,
            json,
        });
    }
    stampede(&Plan { seconds: seconds.unwrap_or(4), clients, rows, json })
}

/// What is asked of a run without an outage.
struct Plan {
    seconds: u32,
    clients: u32,
    rows: u32,
    json: bool,
}

fn stampede(plan: &Plan) -> Result<ExitCode, CommandError> {
    let runs = match interruption::run(|folder| all_ways(plan, folder))? {
        Ok(runs) => runs?,
        Err(code) => return Ok(code),
    };
    let mut out = io::stdout().lock();
    if plan.json {
        report::write_json(&mut out, plan.seconds, &runs)?;
    } else {
        let style = Style::of_stdout();
        report::write_table(&mut out, &runs, style)?;
        chart::write(&mut out, plan.seconds, &runs, style)?;
        report::write_conclusion(&mut out, plan.seconds, &runs)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

async fn all_ways(plan: &Plan, folder: PathBuf) -> Result<Vec<Run>, CommandError> {
    say(plan, &format!("creating a database of {} rows ...", plan.rows))?;
    let database = Arc::new(Database::create(&folder.join("orders.db"), plan.rows).await?);
    let alone = database.time_one_query().await?;
    say(
        plan,
        &format!(
            "its report takes {:.0} ms; {} clients ask for it for {} s each way, and the cached copy expires every second",
            alone.as_secs_f64() * 1e3,
            plan.clients,
            plan.seconds
        ),
    )?;
    let load = Load {
        clients: plan.clients,
        duration: Duration::from_secs(plan.seconds.into()),
        think: Duration::from_millis(5),
        show_progress: !plan.json,
    };
    let mut runs = Vec::new();
    for name in WAYS {
        let schedule = Schedule::starting_now();
        let way = Arc::new(Way::new(name, database.clone(), schedule)?);
        runs.push(load.run(name, &way, &database).await?);
    }
    Ok(runs)
}

/// Prints what a reader of the table wants to know beforehand; a reader of JSON does not.
fn say(plan: &Plan, text: &str) -> io::Result<()> {
    if plan.json { Ok(()) } else { writeln!(io::stdout(), "{text}") }
}
