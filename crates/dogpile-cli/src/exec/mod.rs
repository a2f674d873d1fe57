//! `dogpile exec`: runs a command at most once per expiration, however many
//! processes ask for it.
//!
//! ```text
//!   key      what the output is remembered under
//!   record   what is remembered: stdout, stderr, exit code
//!   run      the command itself
//!   refresh  the process behind that renews an old output
//!   explain  why it was a hit
//! ```

mod explain;
mod key;
mod record;
mod refresh;
mod run;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::builder::StyledStr;
use dogpile::backend::AnyBackend;
use dogpile::codec::MessagePack;
use dogpile::invalidation::{Invalidation, Stored as StoredMoments};
use dogpile::{Config, Region, Status, Stored};

use crate::arguments::{Lifetime, lifetime};
use crate::cache;
use crate::failure::Failure;
use explain::{Explanation, Why};
use record::Record;
use run::{Run, Unfinished};

/// The arguments of `dogpile exec`.
#[derive(clap::Args)]
#[command(after_help = examples())]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Options {
    /// The cache: a path, or a URL such as `file:/var/cache/x.db?max_bytes=1000000`
    /// [default: `dogpile/exec.db` in the user's cache directory]
    #[arg(long, value_name = "FILE|URL", env = "DOGPILE_CACHE")]
    cache: Option<String>,
    /// How long an output is good for: `30s`, `10m`, `1h 30m`, `never`
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = lifetime)]
    expiration: Lifetime,
    /// How long an expired output is still served while it is renewed behind;
    /// `0s` waits for the new one [default: as long as there is no other]
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    stale: Option<Lifetime>,
    /// Remember the output under this name, instead of one made of the command
    #[arg(long, conflicts_with_all = ["cwd", "env", "file"])]
    key: Option<String>,
    /// The current directory matters: another one is another output
    #[arg(long)]
    cwd: bool,
    /// This variable's value matters (may be given several times)
    #[arg(long, value_name = "NAME")]
    env: Vec<OsString>,
    /// This file's content matters (may be given several times)
    #[arg(long, value_name = "PATH")]
    file: Vec<PathBuf>,
    /// Remember the output only if the command succeeds
    #[arg(long)]
    ok_only: bool,
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
    behind: bool,
    /// The command and its arguments. Its standard input is empty
    #[arg(last = true, value_name = "CMD", required_unless_present = "key")]
    command: Vec<OsString>,
}

fn examples() -> StyledStr {
    "Examples:
  dogpile exec --expiration 1h -- curl -s https://example.org/rates.json
  dogpile exec --cwd --file Cargo.lock -- cargo tree
  dogpile exec --key nightly --ok-only --expiration never -- ./report.sh
  dogpile exec --key nightly --invalidate

The exit code is the command's own, also when its output is replayed; 128 and
the signal's number if a signal ended it (nothing is remembered then), 126 or
127 if it could not be started, 125 if the cache cannot be used."
        .into()
}

/// What the other failures of this command end with: a code that a command
/// seldom uses.
const FAILED: u8 = 125;

/// Runs the command, or replays its last run.
pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    execute(options).map_err(|failure| failure.with_code(FAILED))
}

fn execute(options: &Options) -> Result<ExitCode, Failure> {
    if options.command.is_empty() && !options.invalidate {
        return Err(Failure::usage("there is no command: give one after `--`"));
    }
    let key = key::of(options)?;
    refresh::refuse_recursion(&key)?;
    if options.behind {
        refresh::leave_the_session();
    }
    let location = cache::location(options.cache.as_deref(), "exec.db")?;
    let session = Session::open(options, key, location)?;
    if options.invalidate {
        session.region.blocking().delete(&session.key)?;
        return Ok(ExitCode::SUCCESS);
    }
    let served = if options.refresh { session.renew() } else { session.serve() };
    session.finish(served)
}

/// A cache out of order keeps nobody from the command: said, and gone on.
fn or_nothing<T, E: std::fmt::Display>(result: Result<Option<T>, E>) -> Option<T> {
    result.unwrap_or_else(|error| {
        tracing::warn!("{error}");
        None
    })
}

/// One invocation.
struct Session<'a> {
    options: &'a Options,
    key: String,
    location: String,
    backend: AnyBackend,
    region: Region,
    invalidation: Arc<StoredMoments>,
    /// The command ran in this process, its output was passed on already.
    ran: AtomicBool,
    /// A process behind renews the output.
    renewing: AtomicBool,
}

/// An output, and where it came from.
struct Served {
    record: Record,
    why: Why,
    age: Duration,
}

impl<'a> Session<'a> {
    fn open(options: &'a Options, key: String, location: String) -> Result<Self, Failure> {
        let backend = dogpile::config::backend_at(&location)?;
        let name = cache::REGION;
        let invalidation = Arc::new(StoredMoments::new(backend.clone(), name, Duration::ZERO));
        let region = Region::new(name);
        let mut config = Config::over(backend.clone())
            .codec(MessagePack)
            .shared_keys()
            .expiration(options.expiration.0)
            .invalidation(invalidation.clone());
        if let Some(limit) = options.stale.and_then(|stale| stale.0) {
            config = config.stale_limit(limit);
        }
        region.configure(config)?;
        let (ran, renewing) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Self { options, key, location, backend, region, invalidation, ran, renewing })
    }

    /// The remembered output, an old one while it is renewed behind, or that
    /// of a run.
    fn serve(&self) -> Result<Served, Unfinished> {
        let entry = || self.region.blocking().entry(&*self.key);
        if self.options.behind {
            return self.create();
        }
        if let Some(hit) = or_nothing(entry().get_stored::<Record>()) {
            return Ok(Served { record: hit.value, age: hit.age, why: Why::Hit });
        }
        match or_nothing(entry().ignore_expiration().get_stored::<Record>()) {
            Some(old) if self.may_be_served(&old) => {
                let renewing = or_nothing(refresh::start(&self.backend, &self.key).map(Some));
                self.renewing.store(renewing.is_some(), Ordering::Relaxed);
                Ok(Served { record: old.value, age: old.age, why: Why::Stale })
            }
            _ => self.create(),
        }
    }

    fn may_be_served(&self, old: &Stored<Record>) -> bool {
        let limit = match (self.options.expiration.0, self.options.stale.and_then(|s| s.0)) {
            (Some(expiration), Some(stale)) => expiration.saturating_add(stale),
            _ => Duration::MAX,
        };
        old.age <= limit && !self.invalidation.is_hard_invalidated(old.ct)
    }

    /// Runs the command, unless another process does: then its output.
    fn create(&self) -> Result<Served, Unfinished> {
        let ok_only = self.options.ok_only;
        let found = self
            .region
            .blocking()
            .entry(&*self.key)
            .detailed()
            .should_cache(move |record: &Record| record.is_ok() || !ok_only)
            .try_get_or_create(|| self.run())?;
        let why = match found.status {
            Status::Hit => Why::Hit,
            Status::Stale => Why::Stale,
            Status::Waited => Why::Waited,
            _ => Why::Ran,
        };
        Ok(Served { record: found.value, age: found.age, why })
    }

    /// Runs the command whatever is remembered.
    fn renew(&self) -> Result<Served, Unfinished> {
        let record = self.run()?;
        if record.is_ok() || !self.options.ok_only {
            self.region.blocking().set(&self.key, &record)?;
        }
        Ok(Served { record, age: Duration::ZERO, why: Why::Ran })
    }

    fn run(&self) -> Result<Record, Unfinished> {
        self.ran.store(true, Ordering::Relaxed);
        let creating = refresh::creating_with(&self.key);
        Run { command: &self.options.command, creating, quiet: self.options.behind }.to_its_end()
    }

    fn finish(&self, served: Result<Served, Unfinished>) -> Result<ExitCode, Failure> {
        let (code, why, age) = match served {
            Ok(served) => {
                if !self.ran.load(Ordering::Relaxed) && !self.options.behind {
                    served.record.replay()?;
                }
                (served.record.code(), served.why, served.age)
            }
            Err(Unfinished::Signalled(signal)) => {
                (128_u8.wrapping_add(signal), Why::Killed, Duration::ZERO)
            }
            Err(Unfinished::Other(failure)) => return Err(failure),
        };
        if self.options.explain {
            let expires_in = self.options.expiration.0.map(|limit| limit.saturating_sub(age));
            let explanation = Explanation {
                why,
                age,
                expires_in,
                renewing: self.renewing.load(Ordering::Relaxed),
                exit_code: code,
                key: &self.key,
                cache: &self.location,
            };
            explanation.write(&mut io::stderr().lock(), self.options.json)?;
        }
        Ok(ExitCode::from(code))
    }
}
