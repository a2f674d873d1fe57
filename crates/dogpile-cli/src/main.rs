//! The `dogpile` command.
//!
//! ```text
//!   exec      a command behind a cache
//!   inspect   looking into a cache and changing it by hand
//!   bench     how quick a cache is
//!   demo      what dogpile does for a database
//! ```

#![forbid(unsafe_code)]

mod arguments;
mod bench;
mod cache;
mod demo;
mod error;
mod exec;
mod inspect;
mod late_log;
mod show;
mod warnings;

use std::future::Future;
use std::io;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use error::CommandError;

/// A cache that keeps a crowd off your database.
#[derive(Parser)]
#[command(name = "dogpile", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a command at most once per expiration, and replay its output
    Exec(exec::Options),
    /// Show a stored value
    Get(inspect::GetOptions),
    /// Store a value
    Set(inspect::SetOptions),
    /// Remove values
    Delete(inspect::DeleteOptions),
    /// List keys
    Keys(inspect::KeysOptions),
    /// Show facts about a cache: limits, sizes, ages
    Info(inspect::InfoOptions),
    /// Count values by age and size; reads all of them
    Stats(inspect::StatsOptions),
    /// List the keys that are being created now, and by whom
    Locks(inspect::LocksOptions),
    /// List the collections in a store, or remove old versions of them
    Collections(inspect::CollectionsOptions),
    /// Make all values created up to now count as missing, or as expired
    Invalidate(inspect::InvalidateOptions),
    /// Remove all values
    Clear(inspect::ClearOptions),
    /// Measure a cache: hits, writes, a stampede
    Bench(bench::Options),
    /// Run one burst of requests against a real database three ways: without
    /// a cache, with a plain one, and with dogpile; or go through an outage
    Demo(demo::Options),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or that of a command
    Man {
        /// The command
        command: Option<String>,
    },
}

fn main() -> ExitCode {
    let command = match exec_alone() {
        Some(options) => Command::Exec(options),
        None => Cli::try_parse().unwrap_or_else(|error| explain(&error)).command,
    };
    let is_quiet = match &command {
        Command::Exec(_) => true,
        Command::Demo(options) => options.is_outage(),
        _ => false,
    };
    warnings::show(is_quiet);
    // It has no forked processes: then nothing has to ask whether this is one.
    dogpile::announce_forks();
    let ended = match &command {
        Command::Exec(options) => exec::run(options),
        other => run(other),
    };
    warnings::end();
    ended.unwrap_or_else(|failure| failure.report())
}

/// Reads the arguments of `exec` without those of all other commands, which takes a tenth of a hit.
/// The whole says what is wrong with them.
fn exec_alone() -> Option<exec::Options> {
    let arguments = || std::env::args_os().skip(1);
    if arguments().next()? != "exec" {
        return None;
    }
    let usual = exec::Options::usual(arguments().skip(1), std::env::var_os(exec::CACHE));
    if usual.is_some() {
        return usual;
    }
    let exec = exec::Options::augment_args(clap::Command::new("exec"));
    let matches = exec.try_get_matches_from(arguments()).ok()?;
    exec::Options::from_arg_matches(&matches).ok()
}

/// Says what is wrong with the arguments, or helps, and ends.
fn explain(error: &clap::Error) -> ! {
    let is_exec = std::env::args_os().nth(1).is_some_and(|command| command == "exec");
    let _ = error.print();
    if is_exec && error.kind() == ErrorKind::UnknownArgument {
        eprint!("{}", exec::HINT);
    }
    std::process::exit(error.exit_code())
}

/// Runs any command. The stack that the largest of them needs is not for `exec`, whose hits take
/// hardly longer than to get it.
#[inline(never)]
fn run(command: &Command) -> Result<ExitCode, CommandError> {
    match command {
        Command::Exec(options) => exec::run(options),
        // 1 is for what is not there.
        Command::Get(options) => block_on(inspect::get(options)).map_err(|f| f.with_code(2)),
        Command::Set(options) => block_on(inspect::set(options)),
        Command::Delete(options) => block_on(inspect::delete(options)),
        Command::Keys(options) => block_on(inspect::keys(options)),
        Command::Info(options) => block_on(inspect::info(options)),
        Command::Stats(options) => block_on(inspect::stats(options)),
        Command::Locks(options) => block_on(inspect::locks(options)),
        Command::Collections(options) => block_on(inspect::collections(options)),
        Command::Invalidate(options) => block_on(inspect::invalidate(options)),
        Command::Clear(options) => block_on(inspect::clear(options)),
        Command::Bench(options) => block_on(bench::run(options)),
        Command::Demo(options) => demo::run(options),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "dogpile", &mut io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Man { command } => manual(command.as_deref()),
    }
}

fn block_on(
    work: impl Future<Output = Result<ExitCode, CommandError>>,
) -> Result<ExitCode, CommandError> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

fn manual(command: Option<&str>) -> Result<ExitCode, CommandError> {
    let mut cli = Cli::command();
    cli.build();
    let page = match command {
        None => cli,
        Some(name) => match cli.find_subcommand(name) {
            Some(found) => found.clone(),
            None => return Err(CommandError::usage(&format!("there is no command `{name}`"))),
        },
    };
    clap_mangen::Man::new(page).render(&mut io::stdout())?;
    Ok(ExitCode::SUCCESS)
}
