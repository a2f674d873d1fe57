//! Calls to a region, with the requirements of a value's type in one place: a type
//! that a region cannot hold is one error of the compiler, whatever is asked.

use std::marker::PhantomData;

use crate::blocking;
use crate::region::{Cacheable, Entries, Entry, Kind, Region};

/// A function that can fail: only what it returns in `Ok` is cached.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `std::result::Result`",
    label = "not a result",
    note = "`#[cached]` takes a return type called `Result`, and one marked `fallible`, for a `std::result::Result` or an alias of it"
)]
pub trait Fallible {
    /// The cached content.
    type Value;
    /// The error type.
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

/// A type that a region holds.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept in this region",
    label = "not cacheable here",
    note = "derive `Clone`, `Serialize` and `Deserialize` for it, or use a `Region<InMemory>`, which needs no serde; both need `Send + Sync + 'static`"
)]
pub trait CachedHere {
    type Entry;
}

/// An entry `E` that is to be asked whether it holds values of type `T`. The first of three
/// traits that it has wins, by the order in which methods are looked up. Where the type is
/// refused the result has no type, so that the calls on it are no further errors.
#[derive(Debug)]
pub struct Values<T, E>(PhantomData<fn() -> (T, E)>);

impl<T, E> Values<T, E> {
    pub fn of(_entry: &E) -> Self {
        Self(PhantomData)
    }
}

/// The entry holds them.
#[derive(Debug)]
pub struct Held;
/// The entry does not.
#[derive(Debug)]
pub struct NotHeld;
/// They are results by another name.
#[derive(Debug)]
pub struct Alias;

pub trait IsAlias {
    fn way(&self) -> Alias;
}

pub trait IsHeld {
    fn way(&self) -> Held;
}

pub trait IsNotHeld {
    fn way(&self) -> NotHeld;
}

impl<T, F, E> IsAlias for &&Values<std::result::Result<T, F>, E> {
    fn way(&self) -> Alias {
        Alias
    }
}

macro_rules! held {
    ($([$($generics:tt)*] $type:ty;)*) => {
        $(
            impl<T: Cacheable<K>, K: Kind, $($generics)*> IsHeld for &Values<T, $type> {
                fn way(&self) -> Held {
                    Held
                }
            }
        )*
    };
}

held! {
    [S, C] Entry<'_, K, S, C>;
    [S, C] blocking::Entry<'_, K, S, C>;
    [C, V, S] Entries<'_, K, C, V, S>;
    [C, V, S] blocking::Entries<'_, K, C, V, S>;
    [] &Region<K>;
    [] blocking::Region<'_, K>;
}

/// The region behind what stands for one.
pub fn region<K: Kind>(region: &Region<K>) -> &Region<K> {
    region
}

impl<T, E> IsNotHeld for Values<T, E> {
    fn way(&self) -> NotHeld {
        NotHeld
    }
}

impl Held {
    /// The entry itself.
    #[inline]
    pub fn entry<T, E>(self, entry: E) -> E {
        entry
    }
}

impl NotHeld {
    /// Nothing.
    pub fn entry<T: CachedHere, E>(self, _entry: E) -> T::Entry {
        unreachable!("the compiler refuses it")
    }
}

impl Alias {
    /// Nothing.
    pub fn entry<T: CachedAsItIs, E>(self, _entry: E) -> T::Entry {
        unreachable!("the compiler refuses it")
    }
}

/// A function that decides whether values are stored.
#[diagnostic::on_unimplemented(
    message = "`should_cache` takes a `&{T}` and returns a `bool`",
    label = "not a function of a `&{T}`",
    note = "it is `{Self}`; it must be `Send` and `Sync`, too"
)]
pub trait Decides<T> {
    type Function;
}

/// A function `F` that is to be asked whether it decides about values of type `T`.
#[derive(Debug)]
pub struct Decision<T, F>(PhantomData<fn() -> (T, F)>);

impl<T, F> Decision<T, F> {
    pub fn of(_function: &F) -> Self {
        Self(PhantomData)
    }
}

/// It does not.
#[derive(Debug)]
pub struct Undecided;

pub trait IsDecided {
    fn way(&self) -> Held;
}

pub trait IsUndecided {
    fn way(&self) -> Undecided;
}

impl<T, F: Fn(&T) -> bool + Send + Sync> IsDecided for &Decision<T, F> {
    fn way(&self) -> Held {
        Held
    }
}

impl<T, F> IsUndecided for Decision<T, F> {
    fn way(&self) -> Undecided {
        Undecided
    }
}

impl Undecided {
    /// Nothing.
    pub fn entry<T, F: Decides<T>>(self, _function: F) -> F::Function {
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
pub trait Optional {}

/// A value that is asked whether it is there.
#[derive(Debug)]
pub struct Presence<'a, T>(pub &'a T);

impl<T> Presence<'_, Option<T>> {
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }
}

pub trait NotOptional<T> {
    fn is_there(&self) -> bool
    where
        T: Optional;
}

impl<T> NotOptional<T> for Presence<'_, T> {
    fn is_there(&self) -> bool
    where
        T: Optional,
    {
        unreachable!("the compiler refuses it")
    }
}
