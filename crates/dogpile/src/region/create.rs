//! The creating calls: from a look into the backend, through the dogpile
//! lock, to values; for one key and for many, with the creator on the
//! caller's side or behind it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::background::{Job, report};
use super::core::{Core, Timestamped};
use super::flight::{FlightKey, Guard, RegionFlight};
use super::kind::Cacheable;
use super::lookup::Answer;
use super::once::Once;
use super::options::{Options, ShouldCache};
use super::values::{self, BoxFuture, Creator, Failed, NoValues, OneCreator};
use crate::error::{CreateError, Error};
use crate::lock::drive::{create_won, drive};
use crate::lock::flight::{Background, Detached, Flight, Stop, Stopped};
use crate::lock::{Status, creating};
use crate::log;
use crate::stats::Count;
use crate::value::Object;

/// The end of a call for one key.
type Outcome = Result<Answer<Object>, CreateError<Failed>>;
/// The end of a call, with the answers in the order of its keys.
type Outcomes = Result<Vec<Answer<Object>>, CreateError<Failed>>;

/// A creating call on the slow path.
pub(crate) struct Creation<'v> {
    flight: Arc<RegionFlight<'v>>,
}

impl<'v> Creation<'v> {
    pub(crate) fn new<K, T, C>(
        core: Arc<Core>,
        keys: Vec<String>,
        options: Options,
        should_cache: C,
        strict: bool,
    ) -> Self
    where
        K: 'static,
        T: Cacheable<K>,
        C: ShouldCache<T> + 'v,
    {
        let values = values::typed::<K, T, C>(should_cache);
        let flight = RegionFlight::new(core, keys, options, values, strict);
        Self { flight: Arc::new(flight) }
    }

    /// Returns a call that is about keys alone.
    pub(crate) fn of_keys(core: Arc<Core>, keys: Vec<String>, options: Options) -> Self {
        let flight = RegionFlight::new(core, keys, options, Box::new(NoValues), true);
        Self { flight: Arc::new(flight) }
    }

    pub(super) fn into_flight(self) -> Arc<RegionFlight<'v>> {
        self.flight
    }

    /// Marks the values of all keys as expired.
    pub(crate) fn expire(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.flight.expire())
    }

    /// The values of all keys, the creator run on the caller's side.
    pub(crate) fn run_inline<'s>(&'s self, creator: Creator<'s>) -> BoxFuture<'s, Outcomes> {
        Box::pin(self.run(observed(&self.flight, creator), None, false))
    }

    /// The values of all keys, created whatever is stored.
    pub(crate) fn refresh<'s>(&'s self, creator: Creator<'s>) -> BoxFuture<'s, Outcomes> {
        Box::pin(self.create_all(observed(&self.flight, creator)))
    }

    /// The value of the only key, as [`run_inline`](Self::run_inline).
    pub(crate) fn run_one_inline<'s>(&'s self, creator: OneCreator<'s>) -> BoxFuture<'s, Outcome> {
        Box::pin(async move {
            let creator = Once::new(creator, self.goes_on());
            let work = observed(&self.flight, creator.for_lock());
            let mut call = pin!(self.run(work, None, self.goes_on()));
            let _cancels = creator.cancels();
            let outcomes = call.as_mut().await;
            self.or_uncached(creator, outcomes).await
        })
    }

    /// The value of the only key, created whatever is stored.
    pub(crate) fn refresh_one<'s>(&'s self, creator: OneCreator<'s>) -> BoxFuture<'s, Outcome> {
        Box::pin(async move {
            let creator = Once::new(creator, self.goes_on());
            let mut call = self.refresh(creator.for_lock());
            let _cancels = creator.cancels();
            let outcomes = call.as_mut().await;
            let is_stored = outcomes.is_ok();
            let outcome = self.or_uncached(creator, outcomes).await;
            if !is_stored && outcome.is_ok() {
                // What is stored is out of date, although its successor could not be.
                let flight = &self.flight;
                flight.core.clone().delete_surely(flight.keys[0].stored.clone()).await;
            }
            outcome
        })
    }

    async fn create_all(&self, mut creator: Creator<'_>) -> Outcomes {
        let flight = &*self.flight;
        flight.core.refresh_invalidation().await;
        let everything: Vec<usize> = (0..flight.keys.len()).collect();
        let guards = flight.claim_refresh(&everything).await?;
        let won = everything.into_iter().zip(guards).collect();
        let answer =
            |Timestamped { value, ct }| Answer { value, status: Status::Created, ct, now: ct };
        match create_won(flight, &mut creator, won).await {
            Ok(values) => Ok(values.into_iter().map(answer).collect()),
            Err(stop) => Err(stop.into()),
        }
    }

    /// Does a call for one key go on without the cache if that fails?
    fn goes_on(&self) -> bool {
        !self.flight.strict
    }

    /// Every call is counted, also one that ends in an error; not where the call `goes_on` and runs
    /// the creator alone, which counts.
    async fn run<'a>(
        &self,
        creator: Creator<'a>,
        background: Option<Background<'_, RegionFlight<'v>, Creator<'a>>>,
        goes_on: bool,
    ) -> Outcomes {
        let answers = self.look_or_create(creator, background).await;
        if let Err(failure) = &answers
            && (!goes_on || matches!(failure, CreateError::Creator(_)))
        {
            self.flight.core.stats().add(Count::Misses, self.flight.keys.len() as u64);
        }
        answers
    }

    async fn look_or_create<'a>(
        &self,
        creator: Creator<'a>,
        background: Option<Background<'_, RegionFlight<'v>, Creator<'a>>>,
    ) -> Outcomes {
        let flight = &*self.flight;
        let everything: Vec<usize> = (0..flight.keys.len()).collect();
        flight.look_at_invalidation().await;
        let readings = flight.look_first(&everything).await?;
        match drive(flight, readings, creator, background).await {
            Ok(answers) => Ok(answers.into_iter().map(|answer| flight.answer(answer)).collect()),
            Err(stop) => Err(stop.into()),
        }
    }

    /// Turns an error of the cache into a run of the creator, in a plain call. One that was
    /// dropped by the lock, since it took too long, goes on.
    async fn or_uncached(&self, creator: Once<'_>, outcomes: Outcomes) -> Outcome {
        let error = match outcomes {
            Ok(mut answers) => match answers.pop() {
                Some(answer) => return Ok(answer),
                None => unreachable!("one key has one answer"),
            },
            Err(CreateError::Cache(error)) if !self.flight.strict => error,
            Err(failure) => return Err(failure),
        };
        match creator.rest() {
            Some(work) => self.uncached(&error, work).await.map_err(CreateError::Creator),
            None => Err(CreateError::Cache(error)),
        }
    }

    /// Runs the creator alone, where the cache cannot help a plain call.
    /// A creator that came here by asking for its own key may do so once;
    /// again would be for ever.
    async fn uncached(
        &self,
        error: &Error,
        creator: impl Future<Output = Result<Object, Failed>>,
    ) -> Result<Answer<Object>, Failed> {
        let creation = self.flight.creation(&[0]);
        let own = creating::depth(creation.owner, &self.flight.keys[0].stored);
        assert!(own < 2, "{error}");
        log::running_uncached(self.flight.core.name(), error);
        let made = creating::inside(creation, creator).await;
        match &made {
            Ok(_) => self.flight.core.stats().count_uncached(),
            Err(_) => self.flight.core.stats().count(Count::Misses),
        }
        made.map(Answer::uncached)
    }
}

impl Creation<'static> {
    /// The values of all keys; where stale values exist, the creator goes to
    /// the background runner.
    pub(crate) fn run_in_background(&self, creator: Creator<'static>) -> BoxFuture<'_, Outcomes> {
        self.start_or_run(creator, false)
    }

    fn start_or_run(&self, creator: Creator<'static>, goes_on: bool) -> BoxFuture<'_, Outcomes> {
        let flight = self.flight.clone();
        let background: Background<'_, RegionFlight<'static>, _> =
            Box::new(|won, creator| start_in_background(flight, won, creator));
        Box::pin(self.run(observed(&self.flight, creator), Some(background), goes_on))
    }

    /// The value of the only key, as [`run_in_background`](Self::run_in_background).
    pub(crate) fn run_one_in_background(
        &self,
        creator: OneCreator<'static>,
    ) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let creator = Once::new(creator, self.goes_on());
            let mut call = self.start_or_run(creator.for_lock(), self.goes_on());
            let _cancels = creator.cancels();
            let outcomes = call.as_mut().await;
            self.or_uncached(creator, outcomes).await
        })
    }
}

impl From<Stopped<RegionFlight<'_>>> for CreateError<Failed> {
    fn from(stop: Stopped<RegionFlight<'_>>) -> Self {
        match stop {
            Stop::Creator(failed) => Self::Creator(failed),
            Stop::TooSlow(error) | Stop::Error(error) => Self::Cache(error),
        }
    }
}

impl<'v> RegionFlight<'v> {
    fn new(
        core: Arc<Core>,
        keys: Vec<String>,
        options: Options,
        values: Box<dyn values::Values + 'v>,
        strict: bool,
    ) -> Self {
        let stored = |asked: String| {
            let stored = core.stored_key(&asked).into_owned();
            FlightKey { asked, stored }
        };
        let keys = keys.into_iter().map(stored).collect();
        let options = options.or(&core.defaults);
        let has_looked = AtomicBool::new(true);
        let is_detached = AtomicBool::new(false);
        Self { core, keys, options, values, strict, has_looked, is_detached }
    }

    /// Counts how a value came about, and tells the caller.
    pub(super) fn answer(&self, (got, status): (Timestamped, Status)) -> Answer<Object> {
        let counted = self.core.stats();
        match status {
            Status::Hit => counted.count(Count::Hits),
            Status::Kept => {
                counted.count(Count::Hits);
                counted.count(Count::Kept);
            }
            Status::Stale => counted.count(Count::Stale),
            Status::StaleOnError => {
                counted.count(Count::Stale);
                counted.count(Count::StaleOnError);
            }
            Status::Created | Status::Uncached => counted.count(Count::Misses),
            Status::Waited => {
                counted.count(Count::Misses);
                counted.count(Count::Waits);
            }
        }
        self.uncounted(got, status)
    }

    pub(super) fn uncounted(&self, got: Timestamped, status: Status) -> Answer<Object> {
        // Its age is nothing: the clock need not be read again.
        let now = if status == Status::Created { got.ct } else { self.core.clock.now() };
        Answer { value: got.value, status, ct: got.ct, now }
    }

    fn asked(&self, indexes: &[usize]) -> Vec<&str> {
        indexes.iter().map(|&index| self.keys[index].asked.as_str()).collect()
    }
}

/// `creator`, timed, counted and logged.
fn observed<'a, 'v: 'a>(flight: &Arc<RegionFlight<'v>>, mut creator: Creator<'a>) -> Creator<'a> {
    let flight = flight.clone();
    Box::new(move |indexes| {
        let flight = flight.clone();
        let began = Instant::now();
        let work = creator(indexes.clone());
        let work = log::in_creation_span(flight.core.name(), &flight.asked(&indexes), work);
        Box::pin(async move {
            let made = work.await;
            let noted =
                made.as_ref().map(|_| began.elapsed()).map_err(|failed| failed.why.as_str());
            flight.core.note_creation(&flight.asked(&indexes), noted);
            made
        })
    })
}

/// Takes a creation to the region's background runner.
fn start_in_background(
    flight: Arc<RegionFlight<'static>>,
    won: Vec<(usize, Guard)>,
    mut creator: Creator<'static>,
) -> Detached<'static, RegionFlight<'static>> {
    flight.is_detached.store(true, Ordering::Relaxed);
    let (report, reported) = report();
    let core = flight.core.clone();
    let indexes: Vec<usize> = won.iter().map(|(index, _)| *index).collect();
    let keys = flight.asked(&indexes).into_iter().map(str::to_owned).collect();
    let parked: Vec<_> = won.into_iter().map(|(index, guard)| (index, guard.park())).collect();
    let work = Box::pin(async move {
        let resumed = |(index, parked)| Some((index, Guard::resume(parked)?));
        let won: Vec<_> = parked.into_iter().filter_map(resumed).collect();
        if won.is_empty() {
            return;
        }
        let begun: Vec<usize> = won.iter().map(|(index, _)| *index).collect();
        let created = create_won(&*flight, &mut creator, won).await;
        // The error of a creator is logged where it ran.
        if let Err(Stop::Error(error)) = &created {
            log::failed_in_background(flight.core.name(), &flight.asked(&indexes), error);
        }
        report.tell(created.map(|values| begun.into_iter().zip(values).collect()));
    });
    let work = crate::__scope::carried(work);
    core.stats().count(Count::Background);
    let counted = crate::shutdown::Counted::new(core.shared.clone());
    core.runner.run(Job { region: core.name().to_owned(), keys, work, counted });
    Box::pin(reported)
}
