//! Three ways to answer a request for the report.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use dogpile::backend::Memory;
use dogpile::{Config, Expiration, InMemory, Region};

use super::database::{Database, Report};
use crate::error::CommandError;

/// All ways, in the order in which they run.
pub(super) const WAYS: [&str; 3] = ["none", "naive", "dogpile"];

/// When the cached report expires: every second, first half a second after
/// the start, so that a run of n seconds sees n expiries.
#[derive(Clone, Copy)]
pub(super) struct Schedule {
    start: SystemTime,
}

const PERIOD: Duration = Duration::from_secs(1);

impl Schedule {
    pub(super) fn starting_now() -> Self {
        Self { start: SystemTime::now() }
    }

    /// Returns the greatest age of a copy now: not older than the last expiry.
    fn max_age(self) -> Duration {
        let running = self.start.elapsed().unwrap_or_default() + PERIOD / 2;
        let phase = running.as_nanos() % PERIOD.as_nanos();
        Duration::from_nanos(u64::try_from(phase).expect("it is less than the period"))
    }

    fn is_expired(self, stored: SystemTime) -> bool {
        stored.elapsed().unwrap_or_default() > self.max_age()
    }
}

/// A way to answer a request.
pub(super) struct Way {
    database: Arc<Database>,
    cache: Cache,
}

enum Cache {
    None,
    /// The code that is often written by hand: look, and if there is nothing fresh,
    /// query and store.
    Naive {
        stored: Mutex<Option<(SystemTime, Report)>>,
        schedule: Schedule,
    },
    Dogpile(Region<InMemory>),
}

impl Way {
    pub(super) fn new(
        name: &str,
        database: Arc<Database>,
        schedule: Schedule,
    ) -> Result<Self, CommandError> {
        let cache = match name {
            "naive" => Cache::Naive { stored: Mutex::new(None), schedule },
            "dogpile" => Cache::Dogpile(region(schedule)?),
            _ => Cache::None,
        };
        Ok(Self { database, cache })
    }

    /// Answers one request.
    pub(super) async fn answer(&self) -> Result<Report, CommandError> {
        match &self.cache {
            Cache::None => self.database.report().await,
            Cache::Naive { stored, schedule } => self.answer_naively(stored, *schedule).await,
            Cache::Dogpile(region) => {
                let database = self.database.clone();
                let creator = move || async move { database.report().await };
                region.entry("turnover").try_get_or_create_in_background(creator).await
            }
        }
    }

    async fn answer_naively(
        &self,
        stored: &Mutex<Option<(SystemTime, Report)>>,
        schedule: Schedule,
    ) -> Result<Report, CommandError> {
        let cached = stored.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((when, report)) = cached
            && !schedule.is_expired(when)
        {
            return Ok(report);
        }
        let report = self.database.report().await?;
        let now = (SystemTime::now(), report.clone());
        *stored.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        Ok(report)
    }
}

fn region(schedule: Schedule) -> Result<Region<InMemory>, CommandError> {
    let region = Region::in_memory("reports");
    let expiration = Expiration::computed(move || Some(schedule.max_age()));
    region.configure(Config::new(Memory::new(100)).expiration(expiration))?;
    Ok(region)
}
