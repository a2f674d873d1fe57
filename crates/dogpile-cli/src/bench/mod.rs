//! `dogpile bench`: how quick a cache is, measured on this machine over this
//! connection.

mod measure;
mod report;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use dogpile::{Config, Near, Region};

use crate::cache;
use crate::error::CommandError;
use measure::Load;

/// The arguments of `dogpile bench`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A path, or a URL such as `file:/var/cache/x.db` or `memory:`. Its own
    /// values stay; the benchmark's begin with `dogpile-bench:` and are removed
    #[arg(value_name = "FILE|URL")]
    cache: String,
    /// Seconds for each operation
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Tasks that work at the same time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Size of the values in bytes
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    bytes: u32,
    /// Different keys
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    keys: u32,
    /// Tasks that ask for one cold key at the same moment
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    crowd: u32,
    /// Answer popular keys from a near tier of at most so many copies
    #[arg(long, value_name = "ENTRIES", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    near: Option<u32>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Measures and reports.
pub(crate) async fn run(options: &Options) -> Result<ExitCode, CommandError> {
    let seconds = Duration::try_from_secs_f64(options.seconds)
        .map_err(|error| CommandError::usage(&format!("--seconds: {error}")))?;
    let region = Region::new("bench");
    let mut config = Config::over(cache::open(&options.cache)?);
    if let Some(entries) = options.near {
        config = config.near(Near::entries(entries as usize));
    }
    region.configure(config)?;
    let load = Load {
        region: Arc::new(region),
        seconds,
        clients: options.clients,
        bytes: options.bytes,
        keys: options.keys,
        crowd: options.crowd,
    };
    let show_progress = !options.json && io::stderr().is_terminal();
    let measured = load.measure(show_progress).await;
    load.clean_up().await?;
    let measured = measured?;
    let mut out = io::stdout().lock();
    if options.json {
        writeln!(out, "{}", report::as_json(&measured))?;
    } else {
        report::write(&mut out, &measured)?;
    }
    Ok(ExitCode::SUCCESS)
}
