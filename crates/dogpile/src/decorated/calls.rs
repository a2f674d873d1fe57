//! What is asked of a region, with the requirements of a value's type in one place: a type
//! that a region cannot hold is one error of the compiler, whatever is asked.

use std::marker::PhantomData;

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

    fn into_result(self) -> std::result::Result<Self::Value, Self::Error>;

    fn from_result(result: std::result::Result<Self::Value, Self::Error>) -> Self;
}

impl<T, E> Fallible for std::result::Result<T, E> {
    type Value = T;
    type Error = E;

    fn into_result(self) -> Self {
        self
    }

    fn from_result(result: Self) -> Self {
        result
    }
}

/// A return type that is cached as it is. An alias of `Result` would have its errors cached.
#[diagnostic::on_unimplemented(
    message = "this type is a `Result` by another name: add `fallible` to `#[cached(..)]`, so that errors are not cached",
    label = "errors would be cached",
    note = "it is `{Self}`"
)]
pub trait CachedAsItIs {
    type Entry;
}

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

/// How values of type `T` go through an entry `E`. All that a region requires of a type is
/// required here: where that is not met the result has no type, and the calls on it are no
/// further errors.
pub trait Way<T, E> {
    /// The entry itself.
    type Entry;

    fn enter(entry: E) -> Self::Entry;
}

macro_rules! ways {
    ($($entry:ident)*) => {
        $(
            impl<'r, T, K, C> Way<T, $entry<'r, K, Plain, C>> for Usual
            where
                T: Cacheable<K>,
                K: Kind,
                C: ShouldCache<T>,
            {
                type Entry = $entry<'r, K, Plain, C>;

                #[inline]
                fn enter(entry: $entry<'r, K, Plain, C>) -> Self::Entry {
                    entry
                }
            }
        )*
    };
}

ways! { Entry BlockingEntry BackgroundEntry BlockingBackgroundEntry }

impl Usual {
    /// The entry, for values of type `T`.
    #[inline]
    pub fn entry<T, E>(self, entry: E) -> <Self as Way<T, E>>::Entry
    where
        Self: Way<T, E>,
    {
        Self::enter(entry)
    }
}

impl Alias {
    /// Nothing.
    pub fn entry<T, E>(self, _entry: E) -> T::Entry
    where
        T: CachedAsItIs,
    {
        unreachable!("no type is cached as it is under another name")
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
    /// A function that says whether it is there.
    type Test;

    fn test() -> Self::Test;
}

impl<T> Optional for Option<T> {
    type Test = fn(&Self) -> bool;

    fn test() -> Self::Test {
        Self::is_some
    }
}

/// Is a value there?
pub fn is_some<T: Optional>() -> T::Test {
    T::test()
}
