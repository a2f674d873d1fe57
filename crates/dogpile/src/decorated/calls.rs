//! What is asked of a region, with the requirements of a value's type in one place: a type
//! that a region cannot hold is one error of the compiler, whatever is asked.

use std::future::Future;
use std::marker::PhantomData;

use crate::error::Result;
use crate::region::{
    BackgroundEntry, BlockingBackgroundEntry, BlockingEntry, Cacheable, Entry, Kind, Plain,
    ShouldCache,
};

/// A function that can fail: only what it returns in `Ok` is cached.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `std::result::Result`",
    label = "not a result",
    note = "`#[cached]` takes a return type called `Result`, and one marked `fallible`, for a `std::result::Result` or an alias of it"
)]
pub trait Fallible {
    /// What is cached.
    type Value;
    /// What is not.
    type Error;
}

impl<T, E> Fallible for std::result::Result<T, E> {
    type Value = T;
    type Error = E;
}

/// A return type that is cached as it is. An alias of `Result` would have its errors cached.
#[diagnostic::on_unimplemented(
    message = "this type is a `Result` by another name: add `fallible` to `#[cached(..)]`, so that errors are not cached",
    label = "errors would be cached",
    note = "it is `{Self}`"
)]
pub trait CachedAsItIs {}

/// Is `R` a result by another name? Only known where `R` is.
#[derive(Debug)]
pub struct Returned<R>(PhantomData<R>);

/// A return type that may be cached as it is.
#[derive(Debug)]
pub struct Usual;

/// A return type that is a result by another name.
#[derive(Debug)]
pub struct Alias;

impl<T, E> Returned<std::result::Result<T, E>> {
    pub const KIND: Alias = Alias;
}

pub trait NoResult {
    const KIND: Usual = Usual;
}

impl<R> NoResult for Returned<R> {}

/// The call of a type that is refused.
#[derive(Debug)]
pub struct Refused;

macro_rules! ways {
    ($($way:ident($entry:ident) -> $call:ident;)*) => {
        impl Usual {
            $(
                pub fn $way<T, K, C>(self, entry: $entry<'_, K, Plain, C>) -> impl $call<T>
                where
                    T: Cacheable<K>,
                    K: Kind,
                    C: ShouldCache<T> + 'static,
                {
                    entry
                }
            )*
        }

        impl Alias {
            $(
                pub fn $way<T, K, C>(self, _entry: $entry<'_, K, Plain, C>) -> impl $call<T>
                where
                    T: CachedAsItIs,
                {
                    Refused
                }
            )*
        }
    };
}

ways! {
    call(Entry) -> Call;
    blocking_call(BlockingEntry) -> BlockingCall;
    background_call(BackgroundEntry) -> BackgroundCall;
    blocking_background_call(BlockingBackgroundEntry) -> BlockingBackgroundCall;
}

/// The calls of an entry for values of type `T`.
pub trait Call<T> {
    fn get(self) -> impl Future<Output = Result<Option<T>>> + Send;

    fn set(self, value: &T) -> impl Future<Output = Result<()>> + Send;

    fn get_or_create<F, Fut>(self, creator: F) -> impl Future<Output = T> + Send
    where
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = T> + Send;

    fn try_get_or_create<E, F, Fut>(self, creator: F) -> impl Future<Output = Result<T, E>> + Send
    where
        E: Send,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send;

    fn refresh<F, Fut>(self, creator: F) -> impl Future<Output = T> + Send
    where
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = T> + Send;

    fn try_refresh<E, F, Fut>(self, creator: F) -> impl Future<Output = Result<T, E>> + Send
    where
        E: Send,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send;
}

/// The calls of a blocking entry for values of type `T`.
pub trait BlockingCall<T> {
    fn get(self) -> Result<Option<T>>;

    fn set(self, value: &T) -> Result<()>;

    fn get_or_create(self, creator: impl FnOnce() -> T + Send) -> T;

    fn try_get_or_create<E: Send>(
        self,
        creator: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E>;

    fn refresh(self, creator: impl FnOnce() -> T + Send) -> T;

    fn try_refresh<E: Send>(self, creator: impl FnOnce() -> Result<T, E> + Send) -> Result<T, E>;
}

/// The creating calls of a background entry for values of type `T`.
pub trait BackgroundCall<T> {
    fn get_or_create<F, Fut>(self, creator: F) -> impl Future<Output = T> + Send
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static;

    /// An error of a creation in the background is told by `tell`.
    fn try_get_or_create<E, F, Fut>(
        self,
        creator: F,
        tell: fn(&E) -> String,
    ) -> impl Future<Output = Result<T, E>> + Send
    where
        E: Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static;
}

/// The creating calls of a blocking background entry for values of type `T`.
pub trait BlockingBackgroundCall<T> {
    fn get_or_create(self, creator: impl FnOnce() -> T + Send + 'static) -> T;

    /// An error of a creation in the background is told by `tell`.
    fn try_get_or_create<E: Send + 'static>(
        self,
        creator: impl FnOnce() -> Result<T, E> + Send + 'static,
        tell: fn(&E) -> String,
    ) -> Result<T, E>;
}

impl<T: Cacheable<K>, K: Kind, C: ShouldCache<T>> Call<T> for Entry<'_, K, Plain, C> {
    fn get(self) -> impl Future<Output = Result<Option<T>>> + Send {
        Entry::get(self)
    }

    fn set(self, value: &T) -> impl Future<Output = Result<()>> + Send {
        Entry::set(self, value)
    }

    fn get_or_create<F, Fut>(self, creator: F) -> impl Future<Output = T> + Send
    where
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = T> + Send,
    {
        Entry::get_or_create(self, creator)
    }

    fn refresh<F, Fut>(self, creator: F) -> impl Future<Output = T> + Send
    where
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = T> + Send,
    {
        Entry::refresh(self, creator)
    }

    fn try_get_or_create<E, F, Fut>(self, creator: F) -> impl Future<Output = Result<T, E>> + Send
    where
        E: Send,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        Entry::try_get_or_create(self, creator)
    }

    fn try_refresh<E, F, Fut>(self, creator: F) -> impl Future<Output = Result<T, E>> + Send
    where
        E: Send,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        Entry::try_refresh(self, creator)
    }
}

impl<T> Call<T> for Refused {
    fn get(self) -> impl Future<Output = Result<Option<T>>> + Send {
        async { unreachable!("the compiler refuses it") }
    }

    fn set(self, _value: &T) -> impl Future<Output = Result<()>> + Send {
        async { unreachable!("the compiler refuses it") }
    }

    fn get_or_create<F, Fut>(self, _creator: F) -> impl Future<Output = T> + Send
    where
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = T> + Send,
    {
        async { unreachable!("the compiler refuses it") }
    }

    fn refresh<F, Fut>(self, _creator: F) -> impl Future<Output = T> + Send
    where
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = T> + Send,
    {
        async { unreachable!("the compiler refuses it") }
    }

    fn try_get_or_create<E, F, Fut>(self, _creator: F) -> impl Future<Output = Result<T, E>> + Send
    where
        E: Send,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        async { unreachable!("the compiler refuses it") }
    }

    fn try_refresh<E, F, Fut>(self, _creator: F) -> impl Future<Output = Result<T, E>> + Send
    where
        E: Send,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        async { unreachable!("the compiler refuses it") }
    }
}

impl<T: Cacheable<K>, K: Kind, C: ShouldCache<T>> BlockingCall<T>
    for BlockingEntry<'_, K, Plain, C>
{
    fn get(self) -> Result<Option<T>> {
        BlockingEntry::get(self)
    }

    fn set(self, value: &T) -> Result<()> {
        BlockingEntry::set(self, value)
    }

    fn get_or_create(self, creator: impl FnOnce() -> T + Send) -> T {
        BlockingEntry::get_or_create(self, creator)
    }

    fn refresh(self, creator: impl FnOnce() -> T + Send) -> T {
        BlockingEntry::refresh(self, creator)
    }

    fn try_get_or_create<E: Send>(
        self,
        creator: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E> {
        BlockingEntry::try_get_or_create(self, creator)
    }

    fn try_refresh<E: Send>(self, creator: impl FnOnce() -> Result<T, E> + Send) -> Result<T, E> {
        BlockingEntry::try_refresh(self, creator)
    }
}

impl<T> BlockingCall<T> for Refused {
    fn get(self) -> Result<Option<T>> {
        unreachable!("the compiler refuses it")
    }

    fn set(self, _value: &T) -> Result<()> {
        unreachable!("the compiler refuses it")
    }

    fn get_or_create(self, _creator: impl FnOnce() -> T + Send) -> T {
        unreachable!("the compiler refuses it")
    }

    fn refresh(self, _creator: impl FnOnce() -> T + Send) -> T {
        unreachable!("the compiler refuses it")
    }

    fn try_get_or_create<E: Send>(
        self,
        _creator: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E> {
        unreachable!("the compiler refuses it")
    }

    fn try_refresh<E: Send>(self, _creator: impl FnOnce() -> Result<T, E> + Send) -> Result<T, E> {
        unreachable!("the compiler refuses it")
    }
}

impl<T: Cacheable<K>, K: Kind, C: ShouldCache<T> + 'static> BackgroundCall<T>
    for BackgroundEntry<'_, K, Plain, C>
{
    fn get_or_create<F, Fut>(self, creator: F) -> impl Future<Output = T> + Send
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        BackgroundEntry::get_or_create(self, creator)
    }

    fn try_get_or_create<E, F, Fut>(
        self,
        creator: F,
        tell: fn(&E) -> String,
    ) -> impl Future<Output = Result<T, E>> + Send
    where
        E: Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        BackgroundEntry::try_get_or_create_telling(self, creator, tell)
    }
}

impl<T> BackgroundCall<T> for Refused {
    fn get_or_create<F, Fut>(self, _creator: F) -> impl Future<Output = T> + Send
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        async { unreachable!("the compiler refuses it") }
    }

    fn try_get_or_create<E, F, Fut>(
        self,
        _creator: F,
        _tell: fn(&E) -> String,
    ) -> impl Future<Output = Result<T, E>> + Send
    where
        E: Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        async { unreachable!("the compiler refuses it") }
    }
}

impl<T: Cacheable<K>, K: Kind, C: ShouldCache<T> + 'static> BlockingBackgroundCall<T>
    for BlockingBackgroundEntry<'_, K, Plain, C>
{
    fn get_or_create(self, creator: impl FnOnce() -> T + Send + 'static) -> T {
        BlockingBackgroundEntry::get_or_create(self, creator)
    }

    fn try_get_or_create<E: Send + 'static>(
        self,
        creator: impl FnOnce() -> Result<T, E> + Send + 'static,
        tell: fn(&E) -> String,
    ) -> Result<T, E> {
        BlockingBackgroundEntry::try_get_or_create_telling(self, creator, tell)
    }
}

impl<T> BlockingBackgroundCall<T> for Refused {
    fn get_or_create(self, _creator: impl FnOnce() -> T + Send + 'static) -> T {
        unreachable!("the compiler refuses it")
    }

    fn try_get_or_create<E: Send + 'static>(
        self,
        _creator: impl FnOnce() -> Result<T, E> + Send + 'static,
        _tell: fn(&E) -> String,
    ) -> Result<T, E> {
        unreachable!("the compiler refuses it")
    }
}

/// Tells the compiler what a closure is for.
pub fn check<T, F>(should_cache: F) -> impl Fn(&T) -> bool + Send + Sync + use<T, F>
where
    F: Fn(&T) -> bool + Send + Sync,
{
    should_cache
}

/// For `cache_none = false`: what may be absent.
#[diagnostic::on_unimplemented(
    message = "`cache_none = false` is for functions that return an `Option`, not `{Self}`",
    label = "not an option"
)]
pub trait Optional {
    /// Is it there?
    fn is_there(&self) -> bool;
}

impl<T> Optional for Option<T> {
    fn is_there(&self) -> bool {
        self.is_some()
    }
}

/// Is a value there?
pub fn is_some<T: Optional>() -> impl Fn(&T) -> bool + Send + Sync + use<T> {
    T::is_there
}
