//! The way of values past the engine, which does not know their type.
//!
//! A creating call knows the type of its values and of its creator's errors. The engine below it
//! (the region's side of the lock, and the lock) works on [objects](Object), so that it is
//! compiled once, and not for each type and each error. Here are the doors on both sides: what
//! the engine may ask about values, and how creators and answers pass.

use std::any::Any;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::kind::{Cacheable, Codec, EncodedValue, Encoding};
use super::lookup::{Answer, Fails};
use super::options::{Options, ShouldCache};
use crate::codec::CodecError;
use crate::error::CreateError;
use crate::sync::Mutex;
use crate::value::Object;

/// A future on the heap: what a call, or its creator, comes to.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Any creator: given indexes of keys, it creates their values.
pub(crate) type Creator<'a> =
    Box<dyn FnMut(Vec<usize>) -> BoxFuture<'a, Result<Vec<Object>, Failed>> + Send + 'a>;

/// A creator of one value.
pub(crate) type OneCreator<'a> =
    Box<dyn FnOnce() -> BoxFuture<'a, Result<Object, Failed>> + Send + 'a>;

/// A failure of a creator. Its error is in an [`ErrorSlot`].
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    /// The text of the error for the log.
    pub(crate) why: String,
    /// A copy of the error, for those who wait.
    pub(crate) shared: Option<Arc<dyn Any + Send + Sync>>,
    /// It is of another call's creator, which this call has waited for.
    pub(crate) is_others: bool,
}

/// The values that a call is about.
pub(crate) trait Values: Send + Sync {
    /// Returns the name of their type.
    fn type_name(&self) -> &'static str;
    /// Is `value` of their type?
    fn has(&self, value: &Object) -> bool;
    /// May `value` be stored?
    fn are_cached(&self, value: &Object) -> bool;
    /// Returns the lifetime of `value`'s own, by these options.
    fn lifetime(&self, value: &Object, options: &Options) -> Option<Duration>;
    fn encode(&self, value: &Object, codec: &Codec) -> Result<EncodedValue, CodecError>;
    fn decode(&self, codec: &Codec, encoded: Encoding<'_>) -> Result<Object, CodecError>;
}

/// Values of type `T` in a region of kind `K`, of which `C` chooses what is stored.
struct Typed<K, T, C> {
    should_cache: C,
    types: PhantomData<fn() -> (K, T)>,
}

/// Returns the values of type `T` in a region of kind `K`, of which `C` chooses what is stored.
pub(super) fn typed<'v, K, T, C>(should_cache: C) -> Box<dyn Values + 'v>
where
    K: 'static,
    T: Cacheable<K>,
    C: ShouldCache<T> + 'v,
{
    Box::new(Typed { should_cache, types: PhantomData::<fn() -> (K, T)> })
}

impl<K, T: Cacheable<K>, C: ShouldCache<T>> Values for Typed<K, T, C> {
    fn type_name(&self) -> &'static str {
        std::any::type_name::<T>()
    }

    fn has(&self, value: &Object) -> bool {
        value.downcast_ref::<T>().is_some()
    }

    fn are_cached(&self, value: &Object) -> bool {
        value.downcast_ref().is_some_and(|value| self.should_cache.should_cache(value))
    }

    fn lifetime(&self, value: &Object, options: &Options) -> Option<Duration> {
        options.lifetime_of::<K, T>(value.downcast_ref()?)
    }

    fn encode(&self, value: &Object, codec: &Codec) -> Result<EncodedValue, CodecError> {
        match value.downcast_ref::<T>() {
            Some(value) => value.encode(codec),
            None => Err(CodecError::new("it is of another type")),
        }
    }

    fn decode(&self, codec: &Codec, encoded: Encoding<'_>) -> Result<Object, CodecError> {
        T::decode(codec, encoded).map(Object::new)
    }
}

/// No values: those of a call that looks into none.
pub(super) struct NoValues;

impl Values for NoValues {
    fn type_name(&self) -> &'static str {
        "no type"
    }

    fn has(&self, _value: &Object) -> bool {
        false
    }

    fn are_cached(&self, _value: &Object) -> bool {
        false
    }

    fn lifetime(&self, _value: &Object, _options: &Options) -> Option<Duration> {
        None
    }

    fn encode(&self, _value: &Object, _codec: &Codec) -> Result<EncodedValue, CodecError> {
        Err(CodecError::new("the call is about no values"))
    }

    fn decode(&self, _codec: &Codec, _encoded: Encoding<'_>) -> Result<Object, CodecError> {
        Err(CodecError::new("the call is about no values"))
    }
}

/// The error of a call's creator, on its way past the engine.
pub(crate) struct ErrorSlot<E> {
    error: Arc<Mutex<Option<E>>>,
    describe: fn(&E) -> String,
    share: fn(&E) -> Option<Arc<dyn Any + Send + Sync>>,
    shared: fn(&(dyn Any + Send + Sync)) -> Option<E>,
}

impl<E> Clone for ErrorSlot<E> {
    fn clone(&self) -> Self {
        let Self { error, describe, share, shared } = self;
        Self { error: error.clone(), describe: *describe, share: *share, shared: *shared }
    }
}

impl<E: Send> ErrorSlot<E> {
    /// Returns an empty slot of a call of the shape `S`; the log says of an error what `describe`
    /// does.
    pub(crate) fn new<S: Fails<E>>(describe: fn(&E) -> String) -> Self {
        Self { error: Arc::new(Mutex::new(None)), describe, share: S::share, shared: S::shared }
    }

    /// Returns an empty slot for errors that may have no text: the log names their type.
    pub(crate) fn of_any<S: Fails<E>>() -> Self {
        Self::new::<S>(|_| format!("an error of the type `{}`", std::any::type_name::<E>()))
    }

    /// Returns a creator of one value as the engine takes it.
    pub(crate) fn one<'a, T, F, Fut>(&self, creator: F) -> OneCreator<'a>
    where
        T: Clone + Send + Sync + 'static,
        E: 'a,
        F: FnOnce() -> Fut + Send + 'a,
        Fut: Future<Output = Result<T, E>> + Send + 'a,
    {
        let slot = self.clone();
        Box::new(move || {
            Box::pin(async move {
                let created = creator().await;
                created.map(Object::new).map_err(|error| slot.keep(error))
            })
        })
    }

    /// Returns a creator of several values as the engine takes it.
    pub(crate) fn several<'a, T, F, Fut>(&self, mut creator: F) -> Creator<'a>
    where
        T: Clone + Send + Sync + 'static,
        E: 'a,
        F: FnMut(Vec<usize>) -> Fut + Send + 'a,
        Fut: Future<Output = Result<Vec<T>, E>> + Send + 'a,
    {
        let slot = self.clone();
        Box::new(move |indexes| {
            let (slot, work) = (slot.clone(), creator(indexes));
            Box::pin(async move {
                let created = work.await.map_err(|error| slot.keep(error))?;
                Ok(created.into_iter().map(Object::new).collect())
            })
        })
    }

    /// Returns what a call came to, in its own types.
    pub(crate) fn typed<T>(
        &self,
        result: Result<Answer<Object>, CreateError<Failed>>,
    ) -> Result<Answer<T>, CreateError<E>>
    where
        T: Clone + Send + Sync + 'static,
    {
        result.map(Answer::typed).map_err(|failure| self.typed_error(failure))
    }

    /// Returns the creator's own error in place of the engine's.
    pub(crate) fn typed_error(&self, failure: CreateError<Failed>) -> CreateError<E> {
        match failure {
            CreateError::Cache(error) => CreateError::Cache(error),
            CreateError::Creator(Failed { why, shared, is_others }) => {
                let shared = || (self.shared)(shared.as_deref()?);
                match if is_others { shared() } else { self.error.lock().take() } {
                    Some(error) => CreateError::Creator(error),
                    None => unreachable!("an error is of its caller, or shared: {why}"),
                }
            }
        }
    }

    fn keep(&self, error: E) -> Failed {
        let (why, shared) = ((self.describe)(&error), (self.share)(&error));
        let failed = Failed { why, shared, is_others: false };
        *self.error.lock() = Some(error);
        failed
    }
}

impl Answer<Object> {
    /// Returns the answer with its value as a `T`: the type that the engine was told.
    pub(crate) fn typed<T: Clone + Send + Sync + 'static>(self) -> Answer<T> {
        let Self { value, status, ct, now } = self;
        let stored = value.type_name();
        match value.into_value() {
            Some(value) => Answer { value, status, ct, now },
            None => unreachable!("the engine returns what it was asked for, not a `{stored}`"),
        }
    }
}
