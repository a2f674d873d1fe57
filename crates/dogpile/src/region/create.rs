//! The creating calls: from a look into the backend, through the dogpile
//! lock, to values; for one key and for many, with the creator on the
//! caller's side or behind it.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::background::Job;
use super::core::{Core, Timestamped};
use super::flight::{FlightKey, Guard, RegionFlight};
use super::kind::Cacheable;
use super::lookup::Answer;
use super::options::{Options, ShouldCache};
use crate::error::{CreateError, Error};
use crate::lock::drive::{Background, Flight, Foreground, Stop, create_won, drive};
use crate::lock::{Status, creating};
use crate::log;
use crate::stats::Count;
use crate::sync::Mutex;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Any creator in one form: given indexes of keys, it makes their values.
pub(crate) type Creator<'a, T, E> =
    Box<dyn FnMut(Vec<usize>) -> BoxFuture<'a, Result<Vec<T>, E>> + Send + 'a>;

/// A creating call on the slow path.
pub(crate) struct Creation<K, T, C> {
    flight: Arc<RegionFlight<K, T, C>>,
}

impl<K, T, C> Creation<K, T, C>
where
    K: 'static,
    T: Cacheable<K>,
    C: ShouldCache<T>,
{
    pub(crate) fn new(
        core: Arc<Core>,
        keys: Vec<String>,
        options: Options,
        should_cache: C,
        strict: bool,
    ) -> Self {
        let stored = |asked: String| {
            let stored = core.stored_key(&asked).into_owned();
            FlightKey { asked, stored }
        };
        let keys = keys.into_iter().map(stored).collect();
        let options = options.or(&core.defaults);
        let (types, has_looked) = (PhantomData, AtomicBool::new(true));
        let flight = RegionFlight { core, keys, options, should_cache, strict, has_looked, types };
        Self { flight: Arc::new(flight) }
    }

    /// The values of all keys, the creator run on the caller's side.
    pub(crate) async fn run_inline<'a, E: Send + 'a>(
        &self,
        creator: Creator<'a, T, E>,
    ) -> Result<Vec<Answer<T>>, CreateError<E>>
    where
        C: 'a,
    {
        self.run(observed(&self.flight, creator, of_type), Foreground).await
    }

    /// The values of all keys; where stale values exist, the creator goes to
    /// the background runner, which logs what `tell` says of an error.
    pub(crate) async fn run_in_background<E: Send + 'static>(
        &self,
        creator: Creator<'static, T, E>,
        tell: fn(&E) -> String,
    ) -> Result<Vec<Answer<T>>, CreateError<E>>
    where
        C: 'static,
    {
        let background = InBackground { flight: self.flight.clone() };
        self.run(observed(&self.flight, creator, tell), background).await
    }

    /// The values of all keys, created whatever is stored.
    pub(crate) async fn refresh<'a, E: Send + 'a>(
        &self,
        creator: Creator<'a, T, E>,
    ) -> Result<Vec<Answer<T>>, CreateError<E>>
    where
        C: 'a,
    {
        let flight = &*self.flight;
        flight.core.refresh_invalidation().await;
        let everything: Vec<usize> = (0..flight.keys.len()).collect();
        let guards = flight.claim_refresh(&everything).await?;
        let mut creator = observed(&self.flight, creator, of_type);
        let won = everything.into_iter().zip(guards).collect();
        let answer =
            |Timestamped { value, ct }| Answer { value, status: Status::Created, ct, now: ct };
        match create_won(flight, &mut creator, won).await {
            Ok(values) => Ok(values.into_iter().map(answer).collect()),
            Err(Stop::Creator(error)) => Err(CreateError::Creator(error)),
            Err(Stop::Error(error)) => Err(CreateError::Cache(error)),
        }
    }

    /// Every call is counted, also one that ends in an error; not where the creator is then
    /// run alone, which counts.
    async fn run<'a, E, B>(
        &self,
        creator: Creator<'a, T, E>,
        background: B,
    ) -> Result<Vec<Answer<T>>, CreateError<E>>
    where
        E: Send,
        B: Background<RegionFlight<K, T, C>, Creator<'a, T, E>> + Send,
    {
        let answers = self.look_or_create(creator, background).await;
        if let Err(failure) = &answers
            && (self.flight.strict || matches!(failure, CreateError::Creator(_)))
        {
            self.flight.core.stats().add(Count::Misses, self.flight.keys.len() as u64);
        }
        answers
    }

    async fn look_or_create<'a, E, B>(
        &self,
        creator: Creator<'a, T, E>,
        background: B,
    ) -> Result<Vec<Answer<T>>, CreateError<E>>
    where
        E: Send,
        B: Background<RegionFlight<K, T, C>, Creator<'a, T, E>> + Send,
    {
        let flight = &*self.flight;
        let everything: Vec<usize> = (0..flight.keys.len()).collect();
        flight.look_at_invalidation().await;
        let readings = flight.look(&everything).await?;
        match drive(flight, readings, creator, background).await {
            Ok(answers) => Ok(answers.into_iter().map(|answer| flight.answer(answer)).collect()),
            Err(Stop::Creator(error)) => Err(CreateError::Creator(error)),
            Err(Stop::Error(error)) => Err(CreateError::Cache(error)),
        }
    }

    /// Runs the creator alone, where the cache cannot help a plain call.
    /// A creator that came here by asking for its own key may do so once;
    /// again would be for ever.
    pub(crate) async fn uncached<E>(
        &self,
        error: &Error,
        creator: impl Future<Output = Result<T, E>>,
    ) -> Result<Answer<T>, E> {
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

impl<K, T, C> RegionFlight<K, T, C>
where
    K: 'static,
    T: Cacheable<K>,
    C: ShouldCache<T>,
{
    /// Counts how a value came about, and tells the caller.
    fn answer(&self, (got, status): (Timestamped<T>, Status)) -> Answer<T> {
        let counted = self.core.stats();
        match status {
            Status::Hit => counted.count(Count::Hits),
            Status::Stale => counted.count(Count::Stale),
            Status::Created | Status::Uncached => counted.count(Count::Misses),
            Status::Waited => {
                counted.count(Count::Misses);
                counted.count(Count::Waits);
            }
        }
        Answer { value: got.value, status, ct: got.ct, now: self.core.clock.now() }
    }

    fn asked(&self, indexes: &[usize]) -> Vec<&str> {
        indexes.iter().map(|&index| self.keys[index].asked.as_str()).collect()
    }
}

/// Returns a description of an error of any type.
fn of_type<E>(_error: &E) -> String {
    format!("an error of the type `{}`", std::any::type_name::<E>())
}

/// `creator`, timed, counted and logged; of an error what `tell` says of it.
fn observed<'a, K, T, C, E>(
    flight: &Arc<RegionFlight<K, T, C>>,
    mut creator: Creator<'a, T, E>,
    tell: fn(&E) -> String,
) -> Creator<'a, T, E>
where
    K: 'static,
    T: Cacheable<K>,
    C: ShouldCache<T> + 'a,
    E: Send + 'a,
{
    let flight = flight.clone();
    Box::new(move |indexes| {
        let flight = flight.clone();
        let began = Instant::now();
        let work = creator(indexes.clone());
        let work = log::in_creation_span(flight.core.name(), &flight.asked(&indexes), work);
        Box::pin(async move {
            let made = work.await;
            let noted = made.as_ref().map(|_| began.elapsed());
            flight.core.note_creation(&flight.asked(&indexes), noted.map_err(tell));
            made
        })
    })
}

/// Takes a creation to the region's background runner.
struct InBackground<K, T, C> {
    flight: Arc<RegionFlight<K, T, C>>,
}

impl<K, T, C, E> Background<RegionFlight<K, T, C>, Creator<'static, T, E>> for InBackground<K, T, C>
where
    K: 'static,
    T: Cacheable<K>,
    C: ShouldCache<T> + 'static,
    E: Send + 'static,
{
    fn is_available(&self) -> bool {
        true
    }

    fn start(
        self,
        _site: &RegionFlight<K, T, C>,
        won: Vec<(usize, Guard)>,
        mut creator: Creator<'static, T, E>,
    ) {
        let Self { flight } = self;
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
            // The error of a creator is logged where it ran.
            if let Err(Stop::Error(error)) = create_won(&*flight, &mut creator, won).await {
                log::failed_in_background(flight.core.name(), &flight.asked(&indexes), &error);
            }
        });
        let work = crate::__scope::carried(work);
        core.stats().count(Count::Background);
        let counted = crate::shutdown::Counted::new();
        core.runner.run(Job { region: core.name().to_owned(), keys, work, _counted: counted });
    }
}

/// A creator of one value, which can be taken once: by the lock, or by the
/// call itself when the cache fails.
pub(crate) struct OneCreator<F>(Arc<Mutex<Option<F>>>);

impl<F, Fut, T, E> OneCreator<F>
where
    F: FnOnce() -> Fut + Send,
    Fut: Future<Output = Result<T, E>> + Send,
    T: Send,
    E: Send,
{
    pub(crate) fn new(creator: F) -> Self {
        Self(Arc::new(Mutex::new(Some(creator))))
    }

    /// The form that the lock takes it in. One key is won once, so the
    /// creator is there; a second time it would be refused for making
    /// nothing.
    pub(crate) fn for_lock<'a>(&self) -> Creator<'a, T, E>
    where
        F: 'a,
        Fut: 'a,
        T: 'a,
        E: 'a,
    {
        let slot = self.0.clone();
        Box::new(move |_| {
            let creator = slot.lock().take();
            Box::pin(async move {
                match creator {
                    Some(creator) => creator().await.map(|value| vec![value]),
                    None => Ok(Vec::new()),
                }
            })
        })
    }

    /// Turns an error of the cache into a run of the creator, in a plain call.
    pub(crate) async fn or_uncached<K, C>(
        self,
        creation: &Creation<K, T, C>,
        result: Result<Vec<Answer<T>>, CreateError<E>>,
        strict: bool,
    ) -> Result<Answer<T>, CreateError<E>>
    where
        K: 'static,
        T: Cacheable<K>,
        C: ShouldCache<T>,
    {
        let error = match result {
            Ok(mut answers) => match answers.pop() {
                Some(answer) => return Ok(answer),
                None => unreachable!("one key has one answer"),
            },
            Err(CreateError::Cache(error)) if !strict => error,
            Err(failure) => return Err(failure),
        };
        let creator = self.0.lock().take();
        match creator {
            Some(creator) => {
                let work = async move { creator().await };
                creation.uncached(&error, work).await.map_err(CreateError::Creator)
            }
            None => Err(CreateError::Cache(error)),
        }
    }
}
