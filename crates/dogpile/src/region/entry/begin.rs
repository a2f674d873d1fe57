//! A creation in two halves: its beginning, and its end, which its caller says. Between them the key
//! is the caller's.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use super::super::core::Timestamped;
use super::super::create::Creation as Call;
use super::super::flight::{Guard, RegionFlight};
use super::super::kind::{Cacheable, Kind, Takes};
use super::super::lookup::{Answer, Lookup, Plain, Shape};
use super::super::options::ShouldCache;
use super::Entry;
use super::create::Unconfigured;
use crate::error::{CreateError, Result};
use crate::lock::Status;
use crate::lock::drive::{Begun as Driven, Won, begin};
use crate::lock::flight::{Flight as _, Stop};
use crate::log;
use crate::stats::Count;
use crate::value::Object;

impl<K: Kind, S: Shape, C: 'static, V> Entry<'_, K, S, C, V> {
    /// Begins a call in two halves: returns the value, or a [`Creation`] that is this caller's to
    /// carry out and to end. Who asks for the key meanwhile gets the stale value, or waits.
    ///
    /// It is for code whose creators are no futures of this crate's callers: an event loop of
    /// another language, a framework with hooks before and after a request. All else has it
    /// simpler with [`get_or_create`](Self::get_or_create), which also refuses creators that ask for
    /// their own key, and watches the creation timeout; here nobody does.
    ///
    /// If the cache fails, a plain call returns a creation that is not stored, and a
    /// [strict](Self::strict) one the error.
    ///
    /// ```
    /// use dogpile::{Begun, Config, Region, backend::Memory};
    ///
    /// # pollster::block_on(async {
    /// let pages = Region::new("pages");
    /// pages.configure(Config::new(Memory::new(100)))?;
    /// let page: String = match pages.entry("/").begin().await {
    ///     Begun::Value(found) => found.value,
    ///     // This may be in another function, and on another thread.
    ///     Begun::Create(creation) => creation.finish("<h1>Welcome</h1>".to_owned()).await,
    /// };
    /// assert_eq!(pages.peek::<String>("/"), Some(page));
    /// # Ok::<(), dogpile::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// Cancel safe: dropped while it waits, it has begun nothing.
    pub async fn begin<T>(self) -> S::One<Begun<T, S>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
    {
        if let Some(hit) = self.hit_now() {
            return S::one(Ok(Begun::Value(hit.into_lookup())));
        }
        let begun = match self.creation::<T, std::convert::Infallible>() {
            Ok(call) => Box::pin(call.begin()).await,
            Err(unconfigured) => unconfigured.begin(S::STRICT),
        };
        S::one(begun.map(Begun::typed).map_err(CreateError::Cache))
    }
}

/// The beginning of a call, as [`Entry::begin`](crate::Entry::begin) returns it.
#[derive(Debug)]
pub enum Begun<T, S = Plain> {
    /// There is a value.
    Value(Lookup<T>),
    /// The value is this caller's to create.
    Create(Creation<T, S>),
}

/// A creation that is its holder's to carry out. It ends with [`finish`](Self::finish),
/// [`fail`](Self::fail) or [`abandon`](Self::abandon), on any task or thread.
///
/// Until then the key is locked, on a server too, where the lock is renewed for as long as the
/// backend's longest creation. Dropped, it gives the key to the next caller.
#[must_use = "the key is locked until the creation ends"]
pub struct Creation<T, S = Plain> {
    open: Box<Open>,
    types: PhantomData<fn() -> (T, S)>,
}

/// A creation that has not ended, of a value of any type.
pub(in crate::region) struct Open {
    /// `None` in a region that is not configured.
    flight: Option<Arc<RegionFlight<'static>>>,
    /// `None` if the cache failed: nothing is stored.
    guard: Option<Guard>,
    meanwhile: Option<Answer<Object>>,
    stand_in: Option<Answer<Object>>,
    began: Instant,
}

/// The beginning of a call about a value of any type.
pub(in crate::region) enum Beginning {
    Value(Answer<Object>),
    Create(Box<Open>),
}

impl<T: Clone + Send + Sync + 'static, S: Shape> Creation<T, S> {
    /// Returns the value that others are served while this one is created, if there is one: a
    /// caller that creates in the background answers with it.
    pub fn meanwhile(&self) -> Option<Lookup<T>> {
        self.open.meanwhile.clone().map(|answer| answer.typed().into_lookup())
    }

    /// Stores `value`, unless the key was changed since the creation began, and hands it to those
    /// who wait. Returns it.
    ///
    /// Not cancel safe: dropped before it returns, the value may be stored or not, and the key is free.
    ///
    /// # Errors
    ///
    /// In a strict call, if it cannot be stored.
    pub async fn finish(self, value: T) -> S::One<T> {
        let finished = self.open.finish(Object::new(value)).await;
        S::one(finished.map(|answer| answer.typed().into_value()).map_err(CreateError::Cache))
    }

    /// Says that the creation has failed, for the reason `why`, which is logged. Returns the value
    /// that stands in for it, where [`stale_if_error`](crate::Entry::stale_if_error) allows that. One of those who
    /// wait creates next.
    pub async fn fail(self, why: impl fmt::Display) -> Option<Lookup<T>> {
        let stand_in = self.open.fail(&why.to_string()).await;
        stand_in.map(|answer| answer.typed().into_lookup())
    }

    /// Gives the key to the next caller, as if this one had never come. Returns when it is free; who cannot
    /// wait for that drops the creation.
    pub async fn abandon(self) {
        self.open.abandon().await;
    }
}

impl<T, S> Creation<T, S> {
    /// A creation past the cache, which is counted already.
    pub(in crate::region) fn uncounted() -> Self {
        Self { open: Open::uncached(None), types: PhantomData }
    }

    /// Returns the name of its region; nothing where that is not configured.
    pub(in crate::region) fn region(&self) -> &str {
        self.open.flight.as_ref().map_or("", |flight| flight.core.name())
    }
}

impl<T, S> fmt::Debug for Creation<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key =
            self.open.flight.as_ref().map(|flight| crate::error::shown(&flight.keys[0].asked));
        f.debug_struct("Creation").field("key", &key).finish_non_exhaustive()
    }
}

impl<T: Clone + Send + Sync + 'static, S> Begun<T, S> {
    fn typed(begun: Beginning) -> Self {
        match begun {
            Beginning::Value(answer) => Self::Value(answer.typed().into_lookup()),
            Beginning::Create(open) => Self::Create(Creation { open, types: PhantomData }),
        }
    }
}

impl<K: Kind> Unconfigured<'_, K> {
    fn begin(self, strict: bool) -> Result<Beginning> {
        if strict {
            return Err(self.error());
        }
        self.note_use();
        Ok(Beginning::Create(Open::uncached(None)))
    }
}

impl Call<'static> {
    /// The beginning of the call for the only key.
    async fn begin(self) -> Result<Beginning> {
        let flight = self.into_flight();
        match begun(&flight).await {
            Ok(Driven::Value(value, status)) => {
                Ok(Beginning::Value(flight.answer((value, status))))
            }
            Ok(Driven::Won(won)) => Ok(Beginning::Create(Open::won(flight, won))),
            Err(error) if flight.strict => {
                flight.core.stats().count(Count::Misses);
                Err(error)
            }
            Err(error) => {
                log::running_uncached(flight.core.name(), &error);
                Ok(Beginning::Create(Open::uncached(Some(flight))))
            }
        }
    }
}

async fn begun(flight: &RegionFlight<'static>) -> Result<Driven<RegionFlight<'static>>> {
    flight.look_at_invalidation().await;
    let Some(reading) = flight.look_first(&[0]).await?.pop() else {
        unreachable!("one key has one reading")
    };
    begin(flight, reading).await.map_err(|stop| match stop {
        Stop::Error(error) | Stop::TooSlow(error) => error,
        Stop::Creator(failed) => unreachable!("no error is shared with it: {}", failed.why),
    })
}

impl Open {
    fn won(flight: Arc<RegionFlight<'static>>, won: Won<RegionFlight<'static>>) -> Box<Self> {
        let Won { guard, meanwhile, stand_in } = won;
        let uncounted = |(got, status)| flight.uncounted(got, status);
        let (meanwhile, stand_in) = (meanwhile.map(uncounted), stand_in.map(uncounted));
        let (guard, began) = (Some(guard), Instant::now());
        Box::new(Self { flight: Some(flight), guard, meanwhile, stand_in, began })
    }

    fn uncached(flight: Option<Arc<RegionFlight<'static>>>) -> Box<Self> {
        let began = Instant::now();
        Box::new(Self { flight, guard: None, meanwhile: None, stand_in: None, began })
    }

    async fn finish(self: Box<Self>, value: Object) -> Result<Answer<Object>> {
        let Some(flight) = self.flight else { return Ok(Answer::uncached(value)) };
        flight.core.note_creation(&[&flight.keys[0].asked], Ok(self.began.elapsed()));
        let Some(guard) = self.guard else {
            flight.core.stats().count_uncached();
            return Ok(Answer::uncached(value));
        };
        match flight.finish(vec![(0, guard, value)]).await.map(|mut values| values.pop()) {
            Ok(Some(got)) => Ok(flight.answer((got, Status::Created))),
            Ok(None) => unreachable!("one creation has one value"),
            Err(error) => {
                flight.core.stats().count(Count::Misses);
                Err(error)
            }
        }
    }

    async fn fail(self: Box<Self>, why: &str) -> Option<Answer<Object>> {
        let flight = self.flight?;
        flight.core.note_creation(&[&flight.keys[0].asked], Err(why));
        if let Some(guard) = self.guard {
            flight.give_up_failed(vec![(0, guard)], None).await;
        }
        let Some(stand_in) = self.stand_in else {
            flight.core.stats().count(Count::Misses);
            return None;
        };
        let Answer { value, status, ct, .. } = stand_in;
        Some(flight.answer((Timestamped { value, ct }, status)))
    }

    async fn abandon(self: Box<Self>) {
        if let (Some(flight), Some(guard)) = (self.flight, self.guard) {
            flight.abandon(vec![guard]).await;
        }
    }
}
