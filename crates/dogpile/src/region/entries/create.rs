//! The creating calls on several keys.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;

use super::super::Region;
use super::super::create::Creation;
use super::super::kind::{Cacheable, Kind, Takes};
use super::super::lookup::{Answer, Fails, Lookup, Shape, takes};
use super::super::options::ShouldCache;
use super::super::values::ErrorSlot;
use super::Entries;
use crate::error::{Counts, CreateError, Error, Result};
use crate::value::Object;

/// Gives a creator that cannot fail the form of one that can.
macro_rules! fallible {
    ($creator:ident) => {{
        let mut creator = $creator;
        move |keys| {
            let values = creator(keys);
            async move { Ok::<_, Infallible>(values.await) }
        }
    }};
}

pub(super) use fallible;

impl<K: Kind, C, V, S: Shape> Entries<'_, K, C, V, S> {
    /// Returns the values, those that are missing created by `creator`. See
    /// [`Region::get_or_create_multi`](crate::Region::get_or_create_multi).
    pub async fn get_or_create<T, F, Fut>(self, creator: F) -> Result<Vec<T>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        F: FnMut(Vec<String>) -> Fut + Send,
        Fut: Future<Output = Vec<T>> + Send,
    {
        infallibly(self.try_get_or_create(fallible!(creator)).await)
    }

    /// Returns the values, those that are missing created by `creator`; its error if it
    /// fails, and then nothing is stored. See
    /// [`Region::get_or_create_multi`](crate::Region::get_or_create_multi).
    pub async fn try_get_or_create<T, E, F, Fut>(self, creator: F) -> Result<Vec<T>, CreateError<E>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send,
        S: Fails<E>,
        F: FnMut(Vec<String>) -> Fut + Send,
        Fut: Future<Output = Result<Vec<T>, E>> + Send,
    {
        Ok(values(self.create(creator).await?))
    }

    /// Returns the values as [`get_or_create`](Self::get_or_create) does, with their origins and
    /// ages.
    pub async fn lookup<T, F, Fut>(self, creator: F) -> Result<Vec<Lookup<T>>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        F: FnMut(Vec<String>) -> Fut + Send,
        Fut: Future<Output = Vec<T>> + Send,
    {
        infallibly(self.try_lookup(fallible!(creator)).await)
    }

    /// Returns the values as [`try_get_or_create`](Self::try_get_or_create) does, with their
    /// origins and ages.
    pub async fn try_lookup<T, E, F, Fut>(
        self,
        creator: F,
    ) -> Result<Vec<Lookup<T>>, CreateError<E>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send,
        S: Fails<E>,
        F: FnMut(Vec<String>) -> Fut + Send,
        Fut: Future<Output = Result<Vec<T>, E>> + Send,
    {
        let answers = self.create(creator).await?;
        Ok(answers.into_iter().map(Answer::into_lookup).collect())
    }

    /// Returns the values; where all that are not fresh are stale, at once, and runs the creator on
    /// the region's [`Runner`](crate::region::Runner). See
    /// [`Entry::get_or_create_in_background`](crate::Entry::get_or_create_in_background).
    pub async fn get_or_create_in_background<T, F, Fut>(self, creator: F) -> Result<Vec<T>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T> + 'static,
        F: FnMut(Vec<String>) -> Fut + Send + 'static,
        Fut: Future<Output = Vec<T>> + Send + 'static,
    {
        infallibly(self.try_get_or_create_in_background(fallible!(creator)).await)
    }

    /// Creates in the background as
    /// [`get_or_create_in_background`](Self::get_or_create_in_background) does, by a creator that
    /// can fail. An error of a creator that ran in the background is counted and logged.
    pub async fn try_get_or_create_in_background<T, E, F, Fut>(
        self,
        creator: F,
    ) -> Result<Vec<T>, CreateError<E>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T> + 'static,
        E: Display + Send + 'static,
        S: Fails<E>,
        F: FnMut(Vec<String>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Vec<T>, E>> + Send + 'static,
    {
        let mut call = match self.prepared::<T, E>() {
            Ok(call) => call,
            Err(uncached) => return Ok(values(uncached.run(creator).await?)),
        };
        let slot = ErrorSlot::new::<S>(E::to_string);
        let creator = slot.several(call.by_index(creator));
        let created = call.creation.run_in_background(creator).await;
        let created = created.map_err(|failure| slot.typed_error(failure))?;
        Ok(values(call.in_order(&created)))
    }

    /// Creates all values, whatever is stored, and stores them in one write.
    ///
    /// See [`Entry::refresh`](crate::Entry::refresh).
    ///
    /// # Errors
    ///
    /// [`Error::WrongCount`] if `creator` returns another number of values than it was asked
    /// for; backend errors if the call is [strict](Self::strict).
    pub async fn refresh<T, F, Fut>(self, creator: F) -> Result<Vec<T>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        F: FnMut(Vec<String>) -> Fut + Send,
        Fut: Future<Output = Vec<T>> + Send,
    {
        infallibly(self.try_refresh(fallible!(creator)).await)
    }

    /// Creates all values, whatever is stored, and stores them in one write.
    ///
    /// See [`Entry::try_refresh`](crate::Entry::try_refresh). Where `should_cache` refuses a
    /// value, or it cannot be encoded, the stored one is removed: it is known to be out of date.
    ///
    /// # Errors
    ///
    /// The creator's error, and then everything stays as it was; otherwise as of
    /// [`refresh`](Self::refresh).
    pub async fn try_refresh<T, E, F, Fut>(self, creator: F) -> Result<Vec<T>, CreateError<E>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send,
        S: Fails<E>,
        F: FnMut(Vec<String>) -> Fut + Send,
        Fut: Future<Output = Result<Vec<T>, E>> + Send,
    {
        let mut call = match self.prepared::<T, E>() {
            Ok(call) => call,
            Err(uncached) => return Ok(values(uncached.run(creator).await?)),
        };
        let slot = ErrorSlot::of_any::<S>();
        let creator = slot.several(call.by_index(creator));
        let refreshed = call.creation.refresh(creator).await;
        let refreshed = refreshed.map_err(|failure| slot.typed_error(failure))?;
        Ok(values(call.in_order(&refreshed)))
    }

    async fn create<T, E, F, Fut>(self, creator: F) -> Result<Vec<Answer<T>>, CreateError<E>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send,
        S: Fails<E>,
        F: FnMut(Vec<String>) -> Fut + Send,
        Fut: Future<Output = Result<Vec<T>, E>> + Send,
    {
        let mut call = match self.prepared::<T, E>() {
            Ok(call) => call,
            Err(uncached) => return uncached.run(creator).await,
        };
        let slot = ErrorSlot::of_any::<S>();
        let creator = slot.several(call.by_index(creator));
        let created = call.creation.run_inline(creator).await;
        let created = created.map_err(|failure| slot.typed_error(failure))?;
        Ok(call.in_order(&created))
    }
}

/// A call on keys of which none is twice.
struct Call<'v> {
    creation: Creation<'v>,
    keys: Vec<String>,
    /// For each key that was asked for, its index among `keys`.
    order: Vec<usize>,
}

/// A call that needs no cache, or has none.
struct Uncached<'r, K> {
    region: &'r Region<K>,
    strict: bool,
    keys: Vec<String>,
    order: Vec<usize>,
}

impl<'r, K: Kind, C, V, S: Shape> Entries<'r, K, C, V, S> {
    fn prepared<'v, T, E>(mut self) -> Result<Call<'v>, Uncached<'r, K>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T> + 'v,
        S: Fails<E>,
    {
        self.options.takes = takes::<S, E>();
        let Self { region, options, should_cache, strict, .. } = self;
        let (keys, order) = without_duplicates(self.keys);
        match region.core() {
            Some(core) if !keys.is_empty() => {
                let asked = keys.clone();
                let creation = Creation::new::<K, T, C>(core, asked, options, should_cache, strict);
                Ok(Call { creation, keys, order })
            }
            _ => Err(Uncached { region, strict, keys, order }),
        }
    }
}

impl Call<'_> {
    /// Returns the creator in the form that takes indexes of keys; it keeps these.
    fn by_index<F, Fut>(&mut self, mut creator: F) -> impl FnMut(Vec<usize>) -> Fut + use<F, Fut>
    where
        F: FnMut(Vec<String>) -> Fut,
    {
        let keys = std::mem::take(&mut self.keys);
        move |indexes| creator(indexes.iter().map(|&index| keys[index].clone()).collect())
    }

    fn in_order<T>(&self, answers: &[Answer<Object>]) -> Vec<Answer<T>>
    where
        T: Clone + Send + Sync + 'static,
    {
        in_order(&self.order, answers).into_iter().map(Answer::typed).collect()
    }
}

impl<K: Kind> Uncached<'_, K> {
    async fn run<T, E, F, Fut>(self, mut creator: F) -> Result<Vec<Answer<T>>, CreateError<E>>
    where
        T: Clone,
        F: FnMut(Vec<String>) -> Fut,
        Fut: Future<Output = Result<Vec<T>, E>>,
    {
        let Self { region, strict, keys, order } = self;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        if strict {
            return Err(region.not_configured().into());
        }
        region.note_uncached_use();
        let asked = keys.len();
        let values = creator(keys).await.map_err(CreateError::Creator)?;
        if values.len() != asked {
            let region = region.name().to_owned();
            return Err(
                Error::WrongCount(Counts { region, asked, returned: values.len() }.into()).into()
            );
        }
        let answers: Vec<_> = values.into_iter().map(Answer::uncached).collect();
        Ok(in_order(&order, &answers))
    }
}

fn in_order<T: Clone>(order: &[usize], answers: &[Answer<T>]) -> Vec<Answer<T>> {
    order.iter().map(|&index| answers[index].clone()).collect()
}

fn values<T>(answers: Vec<Answer<T>>) -> Vec<T> {
    answers.into_iter().map(Answer::into_value).collect()
}

pub(super) fn infallibly<T>(result: Result<T, CreateError<Infallible>>) -> Result<T> {
    result.map_err(|failure| match failure {
        CreateError::Cache(error) => error,
    })
}

/// Returns each key once, and for each key asked for its index among them.
pub(super) fn without_duplicates(mut keys: Vec<String>) -> (Vec<String>, Vec<usize>) {
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(keys.len());
    let place = |key| {
        let next = places.len();
        *places.entry(key).or_insert(next)
    };
    let order: Vec<usize> = keys.iter().map(String::as_str).map(place).collect();
    let (mut seen, mut places) = (0, order.iter());
    keys.retain(|_| {
        let is_first = places.next() == Some(&seen);
        seen += usize::from(is_first);
        is_first
    });
    (keys, order)
}
