//! What the code that [`cached`](crate::cached) makes is built on. None of it is
//! for use by hand.

use std::fmt::Display;

pub use std::time::Duration;

use crate::key::{Displayed, FunctionKey, KeyGenerator, KeyPart, KeyText};
use crate::region::{Kind, Region};

/// The key of a call: by the function's own generator, or the region's.
pub fn key<K: Kind>(
    region: &Region<K>,
    function: &FunctionKey<'_>,
    own: Option<KeyGenerator>,
) -> Key {
    let generator = own.unwrap_or_else(|| region.key_generator());
    // The usual one needs no key on the heap.
    Key(if std::ptr::fn_addr_eq(generator, crate::key::escaped as KeyGenerator) {
        function.escaped()
    } else {
        KeyText::whole(&generator(function))
    })
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
    pub fn part<'a, T: KeyPart + ?Sized>(self, argument: &'a T) -> &'a T {
        argument
    }
}

impl ByDisplay {
    /// The argument by its `Display`.
    pub fn part<'a, T: Display + ?Sized>(self, argument: &'a T) -> Displayed<'a, T> {
        Displayed(argument)
    }
}

impl ByNothing {
    /// Nothing: there is no such argument.
    pub fn part<'a, T: KeyPart + ?Sized>(self, argument: &'a T) -> &'a T {
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

/// For `cache_none = false`: a function that returns an option.
pub fn is_some<T>(value: &Option<T>) -> bool {
    value.is_some()
}
