//! One invocation: a hit, a stale output while it is renewed, or a run.
//!
//! Whatever is wrong with the cache, the command is run: the first thing that is wrong is
//! said, and the cache is left alone from then on.

use std::mem;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dogpile::backend::AnyBackend;
use dogpile::codec::MessagePack;
use dogpile::config::Location;
use dogpile::invalidation::{Invalidation, SharedInvalidation};
use dogpile::{CachedValue, Config, CreateError, Error, Region, Status};

use super::explain::{Explanation, Why};
use super::fallback::{self, Failed, Failure};
use super::nested::{self, Sign};
use super::output::Output;
use super::record::{Ending, Record};
use super::run::{Ended, Run};
#[cfg(unix)]
use super::signals;
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
    place: Place,
    cache: Option<Cache>,
    /// The finding of a look at the cache. Then nothing else of it is needed.
    hit: Option<CachedValue<Record>>,
    output: Output,
    /// The command ran in this process, its output was passed on already.
    ran: AtomicBool,
    /// The code that it ended with.
    code: AtomicI32,
    /// A process in the background renews the output.
    renewing: AtomicBool,
    /// The run of this process, if it failed and an earlier output may stand in for it.
    failed: Mutex<Option<Failed>>,
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

/// A run without an output to remember, as the library is told of it.
enum Unfinished {
    /// The command failed, or did not come to its own end. All that it wrote was passed on.
    Ended(Record),
    /// It failed, and nothing of it was passed on: an earlier output may stand in for it.
    Failed,
    /// It was not started.
    Other(CommandError),
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
        let hit = match &place {
            Place::At(location) => look_up(options, &key, location),
            Place::Nowhere(_) => None,
        };
        // Looking writes nothing, and where it is a hit, no command is run.
        #[cfg(unix)]
        if hit.is_none() || signals::may_end_a_write() {
            signals::withstand()?;
        }
        let access = match &place {
            Place::At(_) if hit.is_some() => None,
            Place::At(location) => Some(cache::access(location)?),
            Place::Nowhere(why) => Some(Access::None(why.clone())),
        };
        let cache = match access {
            None => None,
            Some(Access::Full(backend)) => Some(Cache::open(options, &key, backend, None)?),
            Some(Access::ReadOnly(backend, why)) => {
                Some(Cache::open(options, &key, backend, Some(why))?)
            }
            Some(Access::None(why)) => {
                tracing::warn!("nothing is remembered: {why}");
                None
            }
        };
        Ok(Self {
            options,
            key,
            place,
            cache,
            hit,
            output: Output::default(),
            ran: AtomicBool::new(false),
            code: AtomicI32::new(0),
            renewing: AtomicBool::new(false),
            failed: Mutex::new(None),
        })
    }

    /// Returns the cache's location as messages show it.
    fn location(&self) -> String {
        match &self.place {
            Place::At(location) => location.to_string(),
            Place::Nowhere(_) => String::new(),
        }
    }

    /// Returns the output's name among processes.
    fn identity(&self) -> String {
        let cache = match &self.place {
            Place::At(location) => cache::identity(location),
            Place::Nowhere(_) => String::new(),
        };
        key::identity(&cache, &self.key)
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
        let Served { record, code, why, age } = served?;
        if let (Some(record), false) = (&record, self.options.background) {
            record.replay(&self.output);
        }
        if let (Why::TimedOut, Some(limit)) = (why, self.options.timeout) {
            let limit = humantime::format_duration(limit);
            let line = format!("dogpile: the command was ended: it ran for longer than {limit}\n");
            self.output.err(line.as_bytes());
        }
        if self.options.explain {
            let expires_in = self.options.expiration.0.map(|limit| limit.saturating_sub(age));
            let explanation = Explanation {
                why,
                age,
                expires_in,
                renewing: self.renewing.load(Ordering::Relaxed),
                exit_code: code,
                key: &self.key,
                cache: &self.location(),
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
    fn serve(&self) -> Result<Served, CommandError> {
        if let Some(hit) = &self.hit {
            return Ok(Served::replay(hit.value.clone(), Why::Hit, hit.age));
        }
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
            Some((found, Why::Stale)) => self.serve_stale(cache, found),
            Some((found, why)) => Ok(Served::replay(found.value, why, found.age)),
            None => self.create(cache),
        }
    }

    /// Returns an expired output while it is renewed in the background, unless that has failed a
    /// moment ago.
    fn serve_stale(
        &self,
        cache: &Cache,
        found: CachedValue<Record>,
    ) -> Result<Served, CommandError> {
        let rests = || fallback::rests(&cache.backend, &cache.stored, self.options.retry_after);
        if self.options.stale_if_error.is_none() || !rests() {
            if let Err(error) = refresh::start(&cache.backend, &cache.stored) {
                // It would be served for ever.
                tracing::warn!("the output cannot be renewed in the background: {error}");
                return self.create(cache);
            }
            self.renewing.store(true, Ordering::Relaxed);
        }
        Ok(Served::replay(found.value, Why::Stale, found.age))
    }

    /// Looks for an output that may be served.
    fn look(&self, cache: &Cache) -> Result<Option<(CachedValue<Record>, Why)>, Error> {
        let began = Instant::now();
        let entry = || cache.region.blocking().entry(&*self.key);
        let hit = || entry().get_with_metadata::<Record>();
        if let Some(hit) = hit()? {
            return Ok(Some((hit, Why::Hit)));
        }
        let stale = entry().ignore_expiration().get_with_metadata::<Record>()?;
        // A fresh one may have come between the two reads.
        let has_just_come = stale.as_ref().is_some_and(|stale| stale.age <= began.elapsed());
        if has_just_come && let Some(hit) = hit()? {
            return Ok(Some((hit, Why::Hit)));
        }
        Ok(stale.filter(|stale| self.may_be_served(cache, stale)).map(|stale| (stale, Why::Stale)))
    }

    fn may_be_served(&self, cache: &Cache, stale: &CachedValue<Record>) -> bool {
        let limit = match (self.options.expiration.0, self.options.stale) {
            (Some(expiration), Some(stale)) => expiration.saturating_add(stale),
            _ => Duration::MAX,
        };
        stale.age <= limit && !cache.invalidation.is_hard_invalidated(stale.ct)
    }

    /// Looks for an output that may stand in for a run that fails.
    fn earlier(&self) -> Option<CachedValue<Record>> {
        let (limit, cache) = (self.options.stale_if_error?, self.cache.as_ref()?);
        if self.options.refresh {
            return None;
        }
        let entry = cache.region.blocking().entry(&*self.key).ignore_expiration();
        let earlier = entry.get_with_metadata::<Record>().ok()??;
        let within = |expiration: Duration| earlier.age <= expiration.saturating_add(limit);
        let is_young_enough = self.options.expiration.0.is_none_or(within);
        let may = is_young_enough && !cache.invalidation.is_hard_invalidated(earlier.ct);
        may.then_some(earlier)
    }

    fn keeps_failures(&self) -> bool {
        self.options.remember_failures && !self.options.ok_only
    }

    /// Runs the command, unless another process does: then its output is returned.
    fn create(&self, cache: &Cache) -> Result<Served, CommandError> {
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
            Status::Stale => Why::Stale,
            Status::StaleOnError => {
                let failed = self.take_failed();
                let failure = failed.as_ref().map(|failed| &failed.failure);
                return Ok(stand_in(failure, found.value, found.age));
            }
            Status::Waited => Why::Waited,
            _ => return Ok(self.served_by_run(&found.value)),
        };
        Ok(Served::replay(found.value, why, found.age))
    }

    /// Runs the command whatever is remembered.
    fn renew(&self) -> Result<Served, CommandError> {
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
    fn renew_in_background(&self, cache: &Cache) -> Result<Served, CommandError> {
        let began = Instant::now();
        let served = self.create(cache);
        if let Err(error) = refresh::end(&cache.backend, &cache.stored) {
            tracing::warn!("{error}");
        }
        let served = served?;
        let entry = || cache.region.blocking().entry(&*self.key).ignore_expiration();
        let keeps_stale = !self.keeps_failures() && served.code != 0;
        if served.why == Why::Ran && !keeps_stale {
            let stored = entry().get_with_metadata::<Record>()?;
            if stored.is_some_and(|stored| stored.age > began.elapsed()) {
                entry().delete()?;
            }
        }
        Ok(served)
    }

    /// Goes on after a failure of the cache.
    fn or_degrade(&self, failure: CreateError<Unfinished>) -> Result<Served, CommandError> {
        match failure {
            CreateError::Creator(unfinished) => self.settle(unfinished),
            CreateError::Cache(Error::WaitTimeout(waited)) => {
                let limit = humantime::format_duration(waited.limit);
                let message = format!("another process still runs the command after {limit}");
                Err(CommandError::from(message).with_code(WAITED))
            }
            CreateError::Cache(error) => self.run_in_spite_of(&error),
        }
    }

    /// Says what is wrong with the cache, and runs the command if it has not run yet.
    fn run_in_spite_of(&self, error: &Error) -> Result<Served, CommandError> {
        tracing::warn!("{error}");
        if let Some(failed) = self.take_failed() {
            return Ok(failed.stood_in_for());
        }
        if self.ran.load(Ordering::Relaxed) {
            let code = self.code.load(Ordering::Relaxed);
            let code = u8::try_from(code & 0xff).unwrap_or(u8::MAX);
            return Ok(Served { record: None, code, why: Why::Ran, age: Duration::ZERO });
        }
        self.run_alone()
    }

    /// Runs the command without a cache.
    fn run_alone(&self) -> Result<Served, CommandError> {
        let _asking = self.ask()?;
        match self.run_command() {
            Ok(record) => Ok(self.served_by_run(&record)),
            Err(unfinished) => match self.take_failed() {
                Some(failed) => Ok(failed.stood_in_for()),
                None => self.settle(unfinished),
            },
        }
    }

    /// Passes on a run that nothing stands in for.
    fn settle(&self, unfinished: Unfinished) -> Result<Served, CommandError> {
        match unfinished {
            Unfinished::Other(error) => Err(error),
            Unfinished::Ended(record) => Ok(self.served_by_run(&record)),
            Unfinished::Failed => match self.take_failed().map(|failed| failed.failure) {
                Some(Failure::NotStarted(error)) => Err(error),
                Some(Failure::Ended(record)) => {
                    let why = why(&record);
                    Ok(Served::replay(record, why, Duration::ZERO))
                }
                None => Err("the command failed".into()),
            },
        }
    }

    fn take_failed(&self) -> Option<Failed> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn served_by_run(&self, record: &Record) -> Served {
        if record.is_cut && record.ending == Ending::Exited {
            let limit = self.options.max_output;
            tracing::warn!("the output has more than {limit} bytes and is not remembered");
        }
        Served { record: None, code: record.code(), why: why(record), age: Duration::ZERO }
    }

    /// Refuses to wait for itself. Nobody waits for a process in the background.
    fn ask(&self) -> Result<Option<Sign>, CommandError> {
        if self.options.background {
            return Ok(None);
        }
        nested::ask(&self.identity(), &self.key)
    }

    /// Runs the command. With an earlier output at hand that may stand in for a failure, nothing is
    /// passed on before it is certain that it has not failed.
    fn run_command(&self) -> Result<Record, Unfinished> {
        self.ran.store(true, Ordering::Relaxed);
        let identity = self.identity();
        // Without it, only recursion is not found out.
        let _sign = Sign::creates(&identity, self.options.background);
        let earlier = self.earlier();
        let ended = Run {
            command: &self.options.command,
            env: nested::variable(&identity),
            output: (!self.options.background).then_some(&self.output),
            max_output: self.options.max_output,
            is_held: earlier.is_some(),
            timeout: self.options.timeout.filter(|limit| !limit.is_zero()),
        }
        .to_its_end();
        let (failure, earlier) = match (ended, earlier) {
            (Ok(ended), None) => return self.passed_on(ended.record),
            (Err(error), None) => {
                warnings::no_more();
                return Err(Unfinished::Other(error));
            }
            (Ok(ended), Some(_)) if self.is_final(&ended) => {
                if ended.is_held {
                    ended.record.replay(&self.output);
                }
                self.code.store(ended.record.code, Ordering::Relaxed);
                return Ok(ended.record);
            }
            (Ok(ended), Some(earlier)) => (Failure::Ended(ended.record), earlier),
            (Err(error), Some(earlier)) => (Failure::NotStarted(error), earlier),
        };
        let failed = Some(Failed { failure, earlier });
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
        Err(Unfinished::Failed)
    }

    fn passed_on(&self, record: Record) -> Result<Record, Unfinished> {
        self.code.store(record.code, Ordering::Relaxed);
        // A refresh that is not stored removes what is; one that fails leaves it.
        let leaves_earlier = self.options.refresh && self.options.stale_if_error.is_some();
        let has_failed = leaves_earlier && record.is_failure(self.keeps_failures());
        if record.ending == Ending::Exited && !has_failed {
            return Ok(record);
        }
        warnings::no_more();
        Err(Unfinished::Ended(record))
    }

    /// Is the output of this run passed on, whatever else there is? One that succeeded, one that
    /// has begun to speak, and one that somebody wanted to end.
    fn is_final(&self, ended: &Ended) -> bool {
        let has_spoken = !ended.is_held && !self.options.background;
        let has_failed = ended.record.is_failure(self.keeps_failures());
        !has_failed || has_spoken || ended.is_interrupted
    }
}

/// Looks for an output in a file that nobody writes to, and writes nothing either.
fn look_up(options: &Options, key: &str, location: &Location) -> Option<CachedValue<Record>> {
    if options.background || options.refresh || options.invalidate {
        return None;
    }
    let backend = cache::glance(location)?;
    let cache = Cache::open(options, key, backend, None).ok()?;
    let hit = cache.region.blocking().entry(key).get_with_metadata().ok()?;
    if hit.is_some() {
        // The process ends, which closes a file that was only looked at sooner than this can.
        mem::forget(cache);
    }
    hit
}

fn why(record: &Record) -> Why {
    match record.ending {
        Ending::Exited => Why::Ran,
        Ending::Signalled(_) => Why::Killed,
        Ending::TimedOut => Why::TimedOut,
    }
}

/// An output of before in place of a failure, which is told.
fn stand_in(failure: Option<&Failure>, record: Record, age: Duration) -> Served {
    fallback::warn(failure, age);
    Served::replay(record, Why::StaleOnError, age)
}

impl Failed {
    fn stood_in_for(self) -> Served {
        stand_in(Some(&self.failure), self.earlier.value, self.earlier.age)
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
        if let Some(limit) = options.stale_if_error {
            config = config.stale_if_error(limit);
        }
        if let Some(time) = options.retry_after {
            config = config.retry_after(time);
        }
        region.configure(config)?;
        let stored = match backend.recommended_mangler() {
            Some(mangler) => mangler.mangle(key).into_owned(),
            None => key.to_owned(),
        };
        Ok(Self { backend, region, invalidation, stored, read_only })
    }
}
