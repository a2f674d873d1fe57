//! `dogpile exec`: runs a command at most once per expiration, however many
//! processes ask for it.
//!
//! ```text
//!   usual    the arguments of most calls
//!   key      what the output is remembered under
//!   session  a hit, a stale output, or a run
//!   run      the command itself: collect its output, signals that are meant for it
//!   limit    the end of a command that runs for too long
//!   script   what has to be run by a shell
//!   nested   commands that would wait for themselves
//!   output   passing output on
//!   record   what is remembered: stdout, stderr, exit code
//!   refresh  the process in the background that renews a stale output
//!   fallback the output of before, in place of a failure
//!   explain  why it was a hit
//! ```

mod collect;
mod explain;
mod fallback;
mod key;
#[cfg(unix)]
mod limit;
mod nested;
mod output;
mod record;
mod refresh;
mod run;
#[cfg(unix)]
mod script;
mod session;
#[cfg(unix)]
mod signals;
mod usual;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::StyledStr;

use crate::arguments::{Lifetime, bytes, duration, lifetime, stale, variable};
use crate::error::CommandError;
pub(crate) use fallback::WARNING;
use session::Session;

/// The variable that names a cache.
pub(crate) const CACHE: &str = "DOGPILE_CACHE";

/// The time until an output expires, where none is given.
const EXPIRATION: &str = "10m";

/// As much output is remembered, where no other limit is given.
const MAX_OUTPUT: &str = "64M";

/// The arguments of `dogpile exec`.
#[derive(clap::Args)]
#[cfg_attr(test, derive(Debug, PartialEq))]
#[command(after_help = examples())]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Options {
    /// The cache: a path, or a URL such as `file:/var/cache/x.db?max_bytes=1000000`
    /// [default: `dogpile/exec.db` in the user's cache directory]
    #[arg(long, value_name = "FILE|URL", env = CACHE, hide_env_values = true)]
    cache: Option<String>,
    /// Time until an output expires: `30s`, `10m`, `1h 30m`, `never`
    #[arg(long, value_name = "TIME", default_value = EXPIRATION, value_parser = lifetime)]
    expiration: Lifetime,
    /// Time for which an expired output is still served while it is renewed in the background;
    /// `0s` waits for the new one [default: as long as there is no other]
    #[arg(long, value_name = "TIME", value_parser = stale)]
    stale: Option<Duration>,
    /// Time to wait for another process that runs the command; then this one ends with
    /// 124 [default: as long as that runs]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    wait: Option<Duration>,
    /// Time that the command may take; then it is ended, with all that it started, and has failed;
    /// `0s` is no limit, as without it
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// Time after its expiration for which an output stands in for a command that fails: it is
    /// printed instead, with one warning. The command's output is held back until it ends
    #[arg(long, value_name = "TIME", value_parser = duration)]
    stale_if_error: Option<Duration>,
    /// Time after such a failure in which nobody runs the command again [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "stale_if_error")]
    retry_after: Option<Duration>,
    /// Remember the output under this name, instead of one made of the command
    #[arg(long, conflicts_with_all = ["cwd", "env", "file"])]
    key: Option<String>,
    /// The current directory matters: another one is another output
    #[arg(long)]
    cwd: bool,
    /// This variable's value matters (may be given several times)
    #[arg(long, value_name = "NAME", value_parser = variable)]
    env: Vec<OsString>,
    /// This file's content matters (may be given several times)
    #[arg(long, value_name = "PATH")]
    file: Vec<PathBuf>,
    /// Remember the output also if the command fails; without it, a failure is passed on, and
    /// the next one who asks runs the command again
    #[arg(long)]
    remember_failures: bool,
    /// Remember the output only if the command succeeds, as is the default
    #[arg(long, hide = true, conflicts_with = "remember_failures")]
    ok_only: bool,
    /// Remember at most this much output; more is passed on and not remembered
    #[arg(long, value_name = "BYTES", default_value = MAX_OUTPUT, value_parser = bytes)]
    max_output: u64,
    /// Run the command now, whatever is remembered, and remember its output
    #[arg(long, conflicts_with = "invalidate")]
    refresh: bool,
    /// Forget the output; the command is not run
    #[arg(long)]
    invalidate: bool,
    /// Say on stderr where the output came from, how old it is, and its key
    #[arg(long)]
    explain: bool,
    /// With `--explain`: as one JSON object
    #[arg(long, requires = "explain")]
    json: bool,
    /// Renews what another process serves
    #[arg(long, hide = true)]
    background: bool,
    /// The command and its arguments. Its standard input is empty
    #[arg(last = true, value_name = "CMD", required_unless_present = "key")]
    command: Vec<OsString>,
}

fn examples() -> StyledStr {
    "Examples:
  dogpile exec --expiration 1h -- curl -s https://example.org/rates.json
  dogpile exec --cwd --file Cargo.lock -- cargo tree
  dogpile exec --key nightly --expiration never -- ./report.sh
  dogpile exec --key nightly --invalidate

The exit code is the command's own, also when its output is replayed; 128 and
the signal's number if a signal ended it, 126 or 127 if it could not be
started, 124 if `--timeout` has ended it or `--wait` is over, 125 if dogpile
was called wrongly or its output cannot be written. A command that fails is not
remembered, unless `--remember-failures` is given: an expired output of before
is served on, and without one the command is run again by the next who asks,
one at a time. A cache that cannot be reached or written keeps no command from
running: a warning says so.

The command has ended when its process has. What it leaves in the background
is not waited for, and its later output goes nowhere.

A command that runs past `--timeout` gets SIGTERM, with all of its process
group, and SIGKILL five seconds later. It has failed, also if it ends in order
then. It has a process group of its own for that: the terminal's interrupts
reach it all the same, its stops (Ctrl-Z) do not, and it cannot read from it.

With `--stale-if-error` an output that has expired by no more than that time is
printed in place of a failure, with its exit code, and a warning on stderr says
what has failed. The failure is an exit code that is not remembered, a signal,
a command that cannot be started, a `--timeout`; it is not a signal that was
sent to dogpile, such as an interrupt. The command's output is held back until
it ends. Once there is more of it than `--max-output` it is passed on, and
nothing can stand in for it any more. How long an expired output is served
while the command does not fail is `--stale`: without `--stale`, always.

An expired output is renewed by a process that stays in the background. Where
that is killed, as at the end of a container, a job of CI or a service, the
next one to ask runs the command itself."
        .into()
}

/// The exit code of this command's other failures: a code that a command
/// seldom uses.
const FAILED: u8 = 125;

/// The exit code after waiting for too long, as of `timeout`.
const WAITED: u8 = 124;

/// Runs the command, or replays its last run.
pub(crate) fn run(options: &Options) -> Result<ExitCode, CommandError> {
    execute(options).map_err(|failure| failure.with_code(FAILED))
}

fn execute(options: &Options) -> Result<ExitCode, CommandError> {
    if options.background {
        refresh::detach();
    }
    if options.command.is_empty() && !options.invalidate {
        return Err(CommandError::usage("there is no command: give one after `--`"));
    }
    #[cfg(not(unix))]
    if options.timeout.is_some() {
        return Err(CommandError::usage("`--timeout` is there on Unix only"));
    }
    let key = key::of(options)?;
    let session = Session::open(options, key)?;
    let ended = if options.invalidate { session.invalidate() } else { session.run() };
    session.close();
    ended
}

/// The hint for somebody who left out the `--` before the command.
pub(crate) const HINT: &str = "
  tip: the command follows after `--`: dogpile exec [OPTIONS] -- CMD ...
";
