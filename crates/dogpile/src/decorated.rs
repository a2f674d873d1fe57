//! What the code that [`cached`](crate::cached) makes is built on. None of it is
//! for use by hand.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::hash::{BuildHasher, Hash};

pub use std::time::Duration;

use crate::error::{Error, Failure};
use crate::key::{Displayed, FunctionKey, KeyGenerator, KeyPart, KeyText};
use crate::region::{Kind, Region};

/// The key of a call: by the function's own generator, or the region's.
pub fn key<K: Kind>(
    region: &Region<K>,
    function: &FunctionKey<'_>,
    own: Option<KeyGenerator>,
) -> Key {
    match own.or_else(|| region.key_generator()) {
        // Needs no key on the heap.
        None => Key(function.escaped()),
        Some(generator) => Key(KeyText::whole(&generator(function))),
    }
}

/// A key.
#[derive(Debug)]
pub struct Key(KeyText);

impl Key {
    /// As text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// An argument, of which is to be found out how it can be part of a key: the
/// first of three traits that its type has wins, by the order in which methods
/// are looked up.
#[derive(Debug)]
pub struct Argument<'a, T: ?Sized>(pub &'a T);

/// By [`KeyPart`].
#[derive(Debug)]
pub struct ByKeyPart;
/// By `Display`.
#[derive(Debug)]
pub struct ByDisplay;
/// Not at all: what the compiler complains about.
#[derive(Debug)]
pub struct ByNothing;

pub trait HasKeyPart {
    fn way(&self) -> ByKeyPart;
}

pub trait HasDisplay {
    fn way(&self) -> ByDisplay;
}

pub trait HasNothing {
    fn way(&self) -> ByNothing;
}

impl<T: KeyPart + ?Sized> HasKeyPart for &&Argument<'_, T> {
    fn way(&self) -> ByKeyPart {
        ByKeyPart
    }
}

impl<T: Display + ?Sized> HasDisplay for &Argument<'_, T> {
    fn way(&self) -> ByDisplay {
        ByDisplay
    }
}

impl<T: ?Sized> HasNothing for Argument<'_, T> {
    fn way(&self) -> ByNothing {
        ByNothing
    }
}

impl ByKeyPart {
    /// The argument itself.
    pub fn part<T: KeyPart + ?Sized>(self, argument: &T) -> &T {
        argument
    }
}

impl ByDisplay {
    /// The argument by its `Display`.
    pub fn part<T: Display + ?Sized>(self, argument: &T) -> Displayed<'_, T> {
        Displayed(argument)
    }
}

impl ByNothing {
    /// Nothing: there is no such argument.
    pub fn part<T: KeyPart + ?Sized>(self, argument: &T) -> &T {
        argument
    }
}

/// The name of a type that a function is generic in.
pub fn type_part<T: ?Sized>() -> Displayed<'static, str> {
    Displayed(std::any::type_name::<T>())
}

/// A function that can fail: only what it returns in `Ok` is cached.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no `std::result::Result`",
    label = "not a result",
    note = "`#[cached]` takes a return type called `Result`, and one marked `fallible`, for a `std::result::Result` or an alias of it"
)]
pub trait Fallible {
    /// What is cached.
    type Value;
}

impl<T, E> Fallible for Result<T, E> {
    type Value = T;
}

/// Is `R` a result by another name? Only known where `R` is.
#[derive(Debug)]
pub struct Returned<R>(std::marker::PhantomData<R>);

impl<T, E> Returned<Result<T, E>> {
    pub const IS_RESULT: bool = true;
}

pub trait NoResult {
    const IS_RESULT: bool = false;
}

impl<R> NoResult for Returned<R> {}

/// Tells the compiler what a closure is for.
pub fn check<T, F: Fn(&T) -> bool>(should_cache: F) -> F {
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
pub fn is_some<T: Optional>(value: &T) -> bool {
    value.is_there()
}

/// What a function of many keys returns: a list with a value for each, or a
/// map of those that there are.
pub trait Several {
    /// A value.
    type Value;
    /// What is stored under a key.
    type Stored;

    /// The value in what was found.
    fn found(stored: Option<Self::Stored>) -> Option<Self::Value>;

    /// The form in which a value is stored.
    fn kept(value: &Self::Value) -> Self::Stored;
}

/// The same, for keys of type `Q`.
pub trait SeveralBy<Q>: Several + Sized {
    /// What was made for `asked`, in that order.
    fn in_order(self, asked: &[Q]) -> Vec<Self::Stored>;

    /// What the function returns for `keys`, from the values in their order.
    fn collect(keys: &[Q], values: Vec<Self::Stored>) -> Self;
}

impl<V: Clone> Several for Vec<V> {
    type Value = V;
    type Stored = V;

    fn found(stored: Option<V>) -> Option<V> {
        stored
    }

    fn kept(value: &V) -> V {
        value.clone()
    }
}

impl<Q, V: Clone> SeveralBy<Q> for Vec<V> {
    fn in_order(self, _asked: &[Q]) -> Vec<V> {
        self
    }

    fn collect(_keys: &[Q], values: Vec<V>) -> Self {
        values
    }
}

macro_rules! maps {
    ($($map:ident<Q, V $(, $hasher:ident)?> where Q: $($bound:path),*;)*) => {
        $(
            impl<Q, V: Clone $(, $hasher)?> Several for $map<Q, V $(, $hasher)?> {
                type Value = V;
                type Stored = Option<V>;

                fn found(stored: Option<Option<V>>) -> Option<V> {
                    stored.flatten()
                }

                fn kept(value: &V) -> Option<V> {
                    Some(value.clone())
                }
            }

            impl<Q, V: Clone $(, $hasher: BuildHasher + Default)?> SeveralBy<Q> for $map<Q, V $(, $hasher)?>
            where
                Q: Clone $(+ $bound)*,
            {
                fn in_order(self, asked: &[Q]) -> Vec<Option<V>> {
                    asked.iter().map(|key| self.get(key).cloned()).collect()
                }

                fn collect(keys: &[Q], values: Vec<Option<V>>) -> Self {
                    let there = keys.iter().zip(values);
                    there.filter_map(|(key, value)| Some((key.clone(), value?))).collect()
                }
            }
        )*
    };
}

maps! {
    HashMap<Q, V, S> where Q: Eq, Hash;
    BTreeMap<Q, V> where Q: Ord;
}

/// The keys whose names in the region are asked for.
pub fn asked<Q: Clone>(keys: &[Q], names: &[String], asked: &[String]) -> Vec<Q> {
    let named: HashMap<&str, &Q> = names.iter().map(String::as_str).zip(keys).collect();
    asked.iter().filter_map(|name| named.get(name.as_str()).map(|&key| key.clone())).collect()
}

/// What a creating call came to; `None` if the cache failed, and the function
/// is to be run without it.
///
/// # Panics
///
/// If the function returned too few or too many values, or asked for what it
/// was creating: it has no place for an error of that kind.
pub fn unless_cache_failed<T, E>(result: Result<T, Failure<E>>) -> Option<Result<T, E>> {
    match result {
        Ok(made) => Some(Ok(made)),
        Err(Failure::Creator(error)) => Some(Err(error)),
        Err(Failure::Cache(error @ (Error::WrongCount { .. } | Error::OwnKey { .. }))) => {
            panic!("{error}")
        }
        Err(Failure::Cache(_)) => None,
    }
}
