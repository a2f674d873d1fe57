//! One invocation: a hit, a stale output while it is renewed, or a run.
//!
//! Whatever is wrong with the cache, the command is run: the first thing that is wrong is
//! said, and the cache is left alone from then on.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use dogpile::backend::AnyBackend;
use dogpile::codec::MessagePack;
use dogpile::invalidation::{Invalidation, SharedInvalidation};
use dogpile::{CachedValue, Config, CreateError, Error, Region, Status};

use super::explain::{Explanation, Why};
use super::nested::{self, Sign};
use super::output::Output;
use super::record::Record;
use super::run::{Run, Unfinished};
use super::{Options, WAITED, key, refresh};
use crate::cache::{self, Access, Place};
use crate::error::CommandError;
use crate::warnings;

/// The time that locks on servers are tried to be given up before the process ends.
const GIVING_UP: Duration = Duration::from_secs(2);

/// One invocation.
pub(super) struct Session<'a> {
    options: &'a Options,
    key: String,
    location: String,
    /// The output's name among processes.
    identity: String,
    cache: Option<Cache>,
    output: Output,
    /// The command ran in this process, its output was passed on already.
    ran: AtomicBool,
    /// The code that it ended with.
    code: AtomicI32,
    /// A process in the background renews the output.
    renewing: AtomicBool,
}

/// A cache that can be used.
struct Cache {
    backend: AnyBackend,
    region: Region,
    invalidation: Arc<SharedInvalidation>,
    /// The output's key in the backend.
    stored: String,
    /// Why nothing can be written to it, if so.
    read_only: Option<String>,
}

/// An output, and where it came from.
struct Served {
    /// None where it was passed on already.
    record: Option<Record>,
    code: u8,
    why: Why,
    age: Duration,
}

impl Served {
    fn replay(record: Record, why: Why, age: Duration) -> Self {
        Self { code: record.code(), record: Some(record), why, age }
    }
}

impl<'a> Session<'a> {
    pub(super) fn open(options: &'a Options, key: String) -> Result<Self, CommandError> {
        let place = cache::location(options.cache.as_deref(), "exec.db")?;
        let (location, identity, access) = match &place {
            Place::At(location) => {
                (location.to_string(), cache::identity(location), cache::access(location)?)
            }
            Place::Nowhere(why) => (String::new(), String::new(), Access::None(why.clone())),
        };
        let cache = match access {
            Access::Full(backend) => Some(Cache::open(options, &key, backend, None)?),
            Access::ReadOnly(backend, why) => Some(Cache::open(options, &key, backend, Some(why))?),
            Access::None(why) => {
                tracing::warn!("nothing is remembered: {why}");
                None
            }
        };
        Ok(Self {
            options,
            identity: key::identity(&identity, &key),
            key,
            location,
            cache,
            output: Output::default(),
            ran: AtomicBool::new(false),
            code: AtomicI32::new(0),
            renewing: AtomicBool::new(false),
        })
    }

    /// Forgets the output.
    pub(super) fn invalidate(&self) -> Result<ExitCode, CommandError> {
        let Some(cache) = &self.cache else {
            return Err("the output cannot be forgotten: the cache cannot be used".into());
        };
        cache.region.blocking().delete(&self.key)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Passes the command's output on, wherever it comes from, and says what to end with.
    pub(super) fn run(&self) -> Result<ExitCode, CommandError> {
        let served = if self.options.refresh { self.renew() } else { self.serve() };
        let (code, why, age) = match served {
            Ok(served) => {
                if let (Some(record), false) = (&served.record, self.options.background) {
                    record.replay(&self.output);
                }
                (served.code, served.why, served.age)
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
            // As what the command says: where nobody reads it, the command's code is not lost.
            self.output.err(&explanation.text(self.options.json));
        }
        Ok(self.output.end(code))
    }

    /// Gives up what this process holds on servers, so that nobody has to wait for the rest
    /// of its leases.
    pub(super) fn close(&self) {
        if self.cache.is_some() {
            dogpile::blocking::shutdown(GIVING_UP);
        }
    }

    /// Returns the remembered output, a stale one while it is renewed in the background, or
    /// that of a run.
    fn serve(&self) -> Result<Served, Unfinished> {
        let Some(cache) = &self.cache else { return self.run_alone() };
        if self.options.background {
            return self.renew_in_background(cache);
        }
        let found = match self.look(cache) {
            Ok(found) => found,
            Err(error) => return self.run_in_spite_of(&error),
        };
        let found = match (found, &cache.read_only) {
            (Some((found, Why::Hit)), _) => {
                return Ok(Served::replay(found.value, Why::Hit, found.age));
            }
            // What is served stale would be so for ever.
            (_, Some(why)) => {
                tracing::warn!("the output cannot be remembered: {why}");
                return self.run_alone();
            }
            (found, None) => found,
        };
        match found {
            Some((found, Why::Stale)) => match refresh::start(&cache.backend, &cache.stored) {
                Ok(()) => {
                    self.renewing.store(true, Ordering::Relaxed);
                    Ok(Served::replay(found.value, Why::Stale, found.age))
                }
                // It would be served for ever.
                Err(error) => {
                    tracing::warn!("the output cannot be renewed in the background: {error}");
                    self.create(cache)
                }
            },
            Some((found, why)) => Ok(Served::replay(found.value, why, found.age)),
            None => self.create(cache),
        }
    }

    /// Looks for an output that may be served.
    fn look(&self, cache: &Cache) -> Result<Option<(CachedValue<Record>, Why)>, Error> {
        let entry = || cache.region.blocking().entry(&*self.key);
        if let Some(hit) = entry().get_with_metadata::<Record>()? {
            return Ok(Some((hit, Why::Hit)));
        }
        let stale = entry().ignore_expiration().get_with_metadata::<Record>()?;
        Ok(stale.filter(|stale| self.may_be_served(cache, stale)).map(|stale| (stale, Why::Stale)))
    }

    fn may_be_served(&self, cache: &Cache, stale: &CachedValue<Record>) -> bool {
        let limit = match (self.options.expiration.0, self.options.stale) {
            (Some(expiration), Some(stale)) => expiration.saturating_add(stale),
            _ => Duration::MAX,
        };
        stale.age <= limit && !cache.invalidation.is_hard_invalidated(stale.ct)
    }

    fn keeps_failures(&self) -> bool {
        self.options.remember_failures && !self.options.ok_only
    }

    /// Runs the command, unless another process does: then its output is returned.
    fn create(&self, cache: &Cache) -> Result<Served, Unfinished> {
        let _asking = self.ask()?;
        let keeps_failures = self.keeps_failures();
        let mut entry = cache.region.blocking().entry(&*self.key);
        if let Some(limit) = self.options.wait {
            entry = entry.wait_timeout(limit);
        }
        let found = entry
            .strict()
            .should_cache(move |record: &Record| record.may_be_kept(keeps_failures))
            .try_lookup(|| self.run_command());
        let found = match found {
            Ok(found) => found,
            Err(failure) => return self.or_degrade(failure),
        };
        let why = match found.status {
            Status::Hit => Why::Hit,
            Status::Stale | Status::StaleOnError => Why::Stale,
            Status::Waited => Why::Waited,
            _ => return Ok(self.served_by_run(&found.value)),
        };
        Ok(Served::replay(found.value, why, found.age))
    }

    /// Runs the command whatever is remembered.
    fn renew(&self) -> Result<Served, Unfinished> {
        let _asking = self.ask()?;
        let Some(cache) = &self.cache else { return self.run_alone() };
        if let Some(why) = &cache.read_only {
            tracing::warn!("the output cannot be remembered: {why}");
            return self.run_alone();
        }
        let keeps_failures = self.keeps_failures();
        let renewed = cache
            .region
            .blocking()
            .entry(&*self.key)
            .strict()
            .should_cache(move |record: &Record| record.may_be_kept(keeps_failures))
            .try_refresh(|| self.run_command());
        match renewed {
            Ok(record) => Ok(self.served_by_run(&record)),
            Err(failure) => self.or_degrade(failure),
        }
    }

    /// Renews the output in the background. One that cannot be replaced is removed, or it
    /// would be served for ever.
    fn renew_in_background(&self, cache: &Cache) -> Result<Served, Unfinished> {
        let began = Instant::now();
        let served = self.create(cache);
        if let Err(error) = refresh::end(&cache.backend, &cache.stored) {
            tracing::warn!("{error}");
        }
        let served = served?;
        let entry = || cache.region.blocking().entry(&*self.key).ignore_expiration();
        let keeps_stale = !self.keeps_failures() && served.code != 0;
        if self.ran.load(Ordering::Relaxed) && !keeps_stale {
            let stored = entry().get_with_metadata::<Record>()?;
            if stored.is_some_and(|stored| stored.age > began.elapsed()) {
                entry().delete()?;
            }
        }
        Ok(served)
    }

    /// Goes on after a failure of the cache.
    fn or_degrade(&self, failure: CreateError<Unfinished>) -> Result<Served, Unfinished> {
        match failure {
            CreateError::Creator(unfinished) => Err(unfinished),
            CreateError::Cache(Error::WaitTimeout { limit, .. }) => {
                let limit = humantime::format_duration(limit);
                let message = format!("another process still runs the command after {limit}");
                Err(CommandError::from(message).with_code(WAITED).into())
            }
            CreateError::Cache(error) => self.run_in_spite_of(&error),
        }
    }

    /// Says what is wrong with the cache, and runs the command if it has not run yet.
    fn run_in_spite_of(&self, error: &Error) -> Result<Served, Unfinished> {
        tracing::warn!("{error}");
        if self.ran.load(Ordering::Relaxed) {
            let code = self.code.load(Ordering::Relaxed);
            let code = u8::try_from(code & 0xff).unwrap_or(u8::MAX);
            return Ok(Served { record: None, code, why: Why::Ran, age: Duration::ZERO });
        }
        self.run_alone()
    }

    /// Runs the command without a cache.
    fn run_alone(&self) -> Result<Served, Unfinished> {
        let _asking = self.ask()?;
        let record = self.run_command()?;
        Ok(self.served_by_run(&record))
    }

    fn served_by_run(&self, record: &Record) -> Served {
        if record.is_cut {
            let limit = self.options.max_output;
            tracing::warn!("the output has more than {limit} bytes and is not remembered");
        }
        Served { record: None, code: record.code(), why: Why::Ran, age: Duration::ZERO }
    }

    /// Refuses to wait for itself. Nobody waits for a process in the background.
    fn ask(&self) -> Result<Option<Sign>, CommandError> {
        if self.options.background {
            return Ok(None);
        }
        nested::ask(&self.identity, &self.key)
    }

    fn run_command(&self) -> Result<Record, Unfinished> {
        self.ran.store(true, Ordering::Relaxed);
        // Without it, only recursion is not found out.
        let _sign = Sign::creates(&self.identity, self.options.background);
        let record = Run {
            command: &self.options.command,
            env: nested::variable(&self.identity),
            output: (!self.options.background).then_some(&self.output),
            max_output: self.options.max_output,
        }
        .to_its_end()
        .inspect_err(|_| warnings::no_more())?;
        self.code.store(record.code, Ordering::Relaxed);
        Ok(record)
    }
}

impl Cache {
    fn open(
        options: &Options,
        key: &str,
        backend: AnyBackend,
        read_only: Option<String>,
    ) -> Result<Self, CommandError> {
        let name = cache::REGION;
        let invalidation = Arc::new(SharedInvalidation::new(backend.clone(), name, Duration::ZERO));
        let region = Region::new(name);
        let mut config = Config::over(backend.clone())
            .codec(MessagePack)
            .shared_keys()
            .expiration(options.expiration.0)
            .invalidation(invalidation.clone());
        if let Some(limit) = options.stale {
            config = config.stale_while_revalidate(limit);
        }
        region.configure(config)?;
        let stored = match backend.recommended_mangler() {
            Some(mangler) => mangler.mangle(key).into_owned(),
            None => key.to_owned(),
        };
        Ok(Self { backend, region, invalidation, stored, read_only })
    }
}
