//! The history checker's program, and that of its worker processes.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use dogpile_history::plan::{Around, Backend, Callers, Change, Disturb, Plan};
use dogpile_history::report::{HEADING, Line, row, skipped};
use dogpile_history::run::run;
use dogpile_history::sabotage::Sabotage;
use dogpile_history::worker;

/// Check that nobody is given an older value after a change, whatever happens meanwhile.
///
/// Several processes read, create and change a few keys and log every call. The log is
/// checked: reads after a change return nothing older, a key has one creation at a time,
/// and nobody waits for longer than a lease. Exits with 1 if a promise was broken.
#[derive(Parser)]
#[command(name = "cargo xtask history", max_term_width = 100)]
struct Cli {
    /// Backends, or `all`
    #[arg(long, value_delimiter = ',', default_value = "all", value_parser = one_or_all::<Backend>)]
    backend: Vec<Chosen<Backend>>,
    /// Kinds of change, or `all`
    #[arg(long, value_delimiter = ',', default_value = "all", value_parser = one_or_all::<Change>)]
    change: Vec<Chosen<Change>>,
    /// Disturbances, or `all`
    #[arg(long, value_delimiter = ',', default_value = "none", value_parser = one_or_all::<Disturb>)]
    disturb: Vec<Chosen<Disturb>>,
    /// A proxy around the backend
    #[arg(long)]
    proxy: Option<Around>,
    /// The time that the processes of each run work
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// The seed of the random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The number of processes that take part, where several can
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=8))]
    processes: u16,
    /// Kinds of callers, or `all`: tasks, threads that their calls block, or both in each process
    #[arg(long, value_delimiter = ',', default_value = "tasks", value_parser = one_or_all::<Callers>)]
    callers: Vec<Chosen<Callers>>,
    /// The number of callers that each of them has: of one, all reads are alone
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=255))]
    tasks: u16,
    /// The milliseconds for which processes keep what they cannot store
    #[arg(long, default_value_t = 0, value_name = "MILLISECONDS")]
    keep_when_down: u64,
    /// Give processes near tiers whose copies are at most so old [default: 1000]
    #[arg(
        long,
        value_name = "MILLISECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1000",
        value_parser = clap::value_parser!(u64).range(50..)
    )]
    near: Option<u64>,
    /// Break the backend on purpose
    #[arg(long)]
    sabotage: Option<Sabotage>,
    /// Leave the logs of the runs in this directory
    #[arg(long, value_name = "DIRECTORY")]
    keep: Option<PathBuf>,
    /// Print a line of JSON for each run
    #[arg(long)]
    json: bool,
}

/// One of the values, or all of them.
#[derive(Debug, Clone, Copy)]
enum Chosen<T> {
    One(T),
    All,
}

fn one_or_all<T: ValueEnum>(text: &str) -> Result<Chosen<T>, String> {
    if text == "all" {
        return Ok(Chosen::All);
    }
    T::from_str(text, false).map(Chosen::One).map_err(|_| {
        let values = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let names: Vec<_> = values.map(|value| value.get_name().to_owned()).collect();
        format!("expected one of: all, {}", names.join(", "))
    })
}

fn chosen<T: ValueEnum + Copy + PartialEq>(chosen: &[Chosen<T>]) -> Vec<T> {
    let is_chosen = |value: &T| {
        chosen.iter().any(|one| match one {
            Chosen::One(one) => one == value,
            Chosen::All => true,
        })
    };
    T::value_variants().iter().copied().filter(is_chosen).collect()
}

impl Cli {
    /// The runs, in their order.
    fn plans(&self) -> Vec<Plan> {
        let program = std::env::current_exe().expect("the program knows itself");
        let mut plans = Vec::new();
        for backend in chosen(&self.backend) {
            for disturb in chosen(&self.disturb) {
                let changes = chosen(&self.change);
                let callers = chosen(&self.callers);
                let pairs =
                    changes.iter().flat_map(|change| callers.iter().map(|it| (*change, *it)));
                for (change, callers) in pairs {
                    plans.push(Plan {
                        callers,
                        disturb,
                        around: self.proxy,
                        sabotage: self.sabotage,
                        keep_when_down: Duration::from_millis(self.keep_when_down),
                        near: self.near.map(Duration::from_millis),
                        lasts: Duration::from_secs(self.seconds),
                        seed: self.seed,
                        processes: self.processes.into(),
                        tasks: self.tasks.into(),
                        keep: self.keep.as_ref().map(|keep| keep.join(plans.len().to_string())),
                        ..Plan::new(backend, change, &program)
                    });
                }
            }
        }
        plans
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, job] = &arguments[..]
        && role == "worker"
    {
        return worker::main(job);
    }
    let cli = Cli::parse();
    if !cli.json {
        println!("{HEADING}");
    }
    let results: Vec<bool> = cli.plans().iter().map(|plan| one(plan, cli.json)).collect();
    if results.iter().all(|kept| *kept) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one plan and tells of it; were all promises kept?
fn one(plan: &Plan, json: bool) -> bool {
    if let Some(why) = plan.skipped() {
        // Lines of JSON are of runs only.
        if json {
            eprintln!("{}", skipped(plan, why));
        } else {
            println!("{}", skipped(plan, why));
        }
        return true;
    }
    let ended = match run(plan) {
        Ok(ended) => ended,
        Err(error) => {
            eprintln!("{} {}: {error}", plan.backend.name(), plan.disturb.name());
            return false;
        }
    };
    if json {
        let line = serde_json::to_string(&Line::of(plan, &ended));
        println!("{}", line.expect("a line is plain data"));
        ended.findings.examples.iter().for_each(|example| eprintln!("  {example}"));
    } else {
        println!("{}", row(plan, &ended));
    }
    ended.broken.is_empty()
}
