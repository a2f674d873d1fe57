//! Arguments as parts of a key.
//!
//! The attribute looks at the type as it is written: options, sequences, maps, tuples and
//! pointers are taken apart, whatever is in them. How a type that it does not know becomes
//! text is found out by the compiler: of four traits that [`Argument`] may have, the first
//! one wins, by the order in which methods are looked up.

use std::fmt::{self, Display};

use crate::key::{Displayed, KeyPart, KeyText};

/// An argument whose type is to be asked how it can be part of a key.
#[derive(Debug)]
pub struct Argument<'a, T: ?Sized>(pub &'a T);

/// By [`KeyPart`].
#[derive(Debug)]
pub struct ByKeyPart;
/// By `Display`.
#[derive(Debug)]
pub struct ByDisplay;
/// By the `Display` of what is in it.
#[derive(Debug)]
pub struct ByElements;
/// Not at all: what the compiler complains about.
#[derive(Debug)]
pub struct ByNothing;

pub trait HasKeyPart {
    fn way(&self) -> ByKeyPart;
}

pub trait HasDisplay {
    fn way(&self) -> ByDisplay;
}

pub trait HasElements {
    fn way(&self) -> ByElements;
}

pub trait HasNothing {
    fn way(&self) -> ByNothing;
}

impl<T: KeyPart + ?Sized> HasKeyPart for &&&Argument<'_, T> {
    fn way(&self) -> ByKeyPart {
        ByKeyPart
    }
}

impl<T: Display + ?Sized> HasDisplay for &&Argument<'_, T> {
    fn way(&self) -> ByDisplay {
        ByDisplay
    }
}

impl<T: Elements + ?Sized> HasElements for &Argument<'_, T> {
    fn way(&self) -> ByElements {
        ByElements
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

impl ByElements {
    /// The argument by what is in it.
    pub fn part<T: Elements + ?Sized>(self, argument: &T) -> InElements<'_, T> {
        InElements(argument)
    }
}

impl ByNothing {
    /// Nothing: there is no such argument. Returns a part all the same, so that this is the
    /// only error.
    pub fn part<T: KeyPart + ?Sized>(self, _argument: &T) -> Written<fn(&mut KeyText)> {
        Written(|_| ())
    }
}

/// Options and sequences of what has a `Display`, where the attribute does not see them:
/// behind an alias, or in `key = (..)`.
pub trait Elements {
    fn write(&self, key: &mut KeyText);

    fn is_option(&self) -> bool {
        false
    }
}

impl<T: Display> Elements for Option<T> {
    fn write(&self, key: &mut KeyText) {
        maybe(self.as_ref(), key, |inner, key| Displayed(inner).write_key(key));
    }

    fn is_option(&self) -> bool {
        true
    }
}

impl<T: Display> Elements for [T] {
    fn write(&self, key: &mut KeyText) {
        each(self, key, |item, key| Displayed(item).write_key(key));
    }
}

impl<T: Display> Elements for Vec<T> {
    fn write(&self, key: &mut KeyText) {
        self.as_slice().write(key);
    }
}

impl<T: Display, const N: usize> Elements for [T; N] {
    fn write(&self, key: &mut KeyText) {
        self.as_slice().write(key);
    }
}

impl<T: Elements + ?Sized> Elements for &T {
    fn write(&self, key: &mut KeyText) {
        (**self).write(key);
    }

    fn is_option(&self) -> bool {
        (**self).is_option()
    }
}

/// A value by what is in it.
#[derive(Debug)]
pub struct InElements<'a, T: ?Sized>(&'a T);

impl<T: Elements + ?Sized> KeyPart for InElements<'_, T> {
    fn write_key(&self, key: &mut KeyText) {
        self.0.write(key);
    }

    fn is_option(&self) -> bool {
        self.0.is_option()
    }
}

/// A part that a closure writes.
pub struct Written<F>(pub F);

impl<F: Fn(&mut KeyText)> KeyPart for Written<F> {
    fn write_key(&self, key: &mut KeyText) {
        (self.0)(key);
    }
}

impl<F> fmt::Debug for Written<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Written")
    }
}

/// Tells the compiler what a closure is for that writes a part.
pub fn written<F: Fn(&mut KeyText)>(write: F) -> Written<F> {
    Written(write)
}

/// Writes a part.
pub fn write(part: &(impl KeyPart + ?Sized), key: &mut KeyText) {
    part.write_key(key);
}

/// Writes a part that is in an option.
pub fn in_option(part: &(impl KeyPart + ?Sized), key: &mut KeyText) {
    if part.is_option() {
        key.some();
    }
    part.write_key(key);
}

/// Writes the sign of an option in an option.
pub fn some(key: &mut KeyText) {
    key.some();
}

/// Writes an option.
pub fn maybe<T>(value: Option<T>, key: &mut KeyText, write: impl FnOnce(T, &mut KeyText)) {
    match value {
        None => key.none(),
        Some(inner) => write(inner, key),
    }
}

/// Writes a sequence.
pub fn each<T>(
    items: impl IntoIterator<Item = T>,
    key: &mut KeyText,
    write: impl Fn(T, &mut KeyText),
) {
    key.list(|list| items.into_iter().for_each(|item| list.item(|key| write(item, key))));
}

/// Writes a set or a map whose order says nothing.
pub fn unordered<T>(
    items: impl IntoIterator<Item = T>,
    key: &mut KeyText,
    write: impl Fn(T, &mut KeyText),
) {
    key.unordered(items.into_iter(), write);
}

/// Writes a tuple or a struct.
pub fn fields(fields: &[&dyn Fn(&mut KeyText)], key: &mut KeyText) {
    key.list(|list| fields.iter().for_each(|field| list.item(field)));
}

/// Writes text: the name of a variant.
pub fn name(name: &str, key: &mut KeyText) {
    name.write_key(key);
}

/// The name of a type that a function is generic in.
pub fn type_part<T: ?Sized>() -> Displayed<'static, str> {
    Displayed(std::any::type_name::<T>())
}

/// The text that `to_str` returns for an argument.
pub fn to_str<T: ?Sized, R: KeyPart>(argument: &T, to_str: impl FnOnce(&T) -> R) -> R {
    to_str(argument)
}
