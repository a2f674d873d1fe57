//! The `dogpile` command.

mod demo;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A cache that keeps a crowd off your database.
#[derive(Parser)]
#[command(name = "dogpile", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs one burst of requests against a real database three ways: without
    /// a cache, with a plain one, and with dogpile
    Demo(demo::Options),
}

fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    let ran = match command {
        Command::Demo(options) => demo::run(&options),
    };
    match ran {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to be told if even this fails.
            let _ = writeln!(io::stderr(), "dogpile: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whoever read our output has read enough.
fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
