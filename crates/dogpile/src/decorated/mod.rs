//! The functions and types that the code of [`cached`](crate::cached) calls. None of it is
//! for use by hand.
//!
//! - `names`: which function it is;
//! - `parts`: how arguments become parts of a key;
//! - `calls`: what is asked of a region, with the requirements of a value's type in one place;
//! - `causes`: what is said of errors in the background;
//! - `several`: what functions of many keys return;
//! - `previous`: the value of before, as functions take it.

mod calls;
mod causes;
mod names;
mod parts;
mod previous;
mod several;

use std::collections::HashMap;

pub use std::time::Duration;

pub use calls::*;
pub use causes::*;
pub use names::*;
pub use parts::*;
pub use previous::*;
pub use several::*;

use crate::error::{CreateError, Error};
use crate::key::{AskedKey, FunctionKey, KeyGenerator, KeyPart, KeyText};
use crate::region::{Kind, Region};

/// The key of a call: by the function's own generator, or the region's.
pub fn key<K: Kind>(
    region: &Region<K>,
    function: &FunctionKey<'_>,
    own: Option<KeyGenerator>,
) -> Key {
    let mut key = Key::empty();
    match generator(region, own) {
        // Needs no key on the heap.
        None => function.write_escaped(&mut key.text),
        Some(generator) => write_generated(&mut key, generator, function),
    }
    key
}

/// Returns the generator of a call's key: the function's own, or the region's, if it is not the usual
/// one. For that, [`begin`] and [`next`] write into an empty key where it lies. To return a key would
/// be to copy it, which takes as long as a fifth of a hit: a processor waits when it reads in other
/// pieces what it has just written.
#[inline]
pub fn generator<K: Kind>(region: &Region<K>, own: Option<KeyGenerator>) -> Option<KeyGenerator> {
    own.or_else(|| region.key_generator())
}

/// Writes the name of a function.
#[inline]
pub fn begin(key: &mut Key, name: &(impl KeyName + ?Sized), namespace: Option<&str>) {
    match namespace {
        None => name.begin(key),
        Some(_) => FunctionKey::new(name.text(), namespace, &[]).write_escaped(&mut key.text),
    }
}

/// Returns the name of a function as text.
pub fn text(name: &(impl KeyName + ?Sized)) -> &str {
    name.text()
}

/// Writes the next argument.
#[inline]
pub fn next(key: &mut Key, part: &(impl KeyPart + ?Sized)) {
    if key.has_arguments {
        key.text.raw_ascii(b' ');
    }
    key.has_arguments = true;
    part.write_key(&mut key.text);
}

/// Writes the key that a generator makes.
#[cold]
pub fn write_generated(key: &mut Key, generator: KeyGenerator, function: &FunctionKey<'_>) {
    key.text.raw(&generator(function));
}

/// A key.
#[derive(Debug)]
pub struct Key {
    text: KeyText,
    has_arguments: bool,
}

impl Key {
    #[inline]
    pub fn empty() -> Self {
        Self { text: KeyText::escaped(), has_arguments: false }
    }

    #[inline]
    pub(crate) fn asked(&self) -> AskedKey<'_> {
        self.text.asked()
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        self.text.as_str()
    }
}

/// The keys whose names in the region are asked for.
pub fn asked<Q: Clone>(keys: &[Q], names: &[String], asked: &[String]) -> Vec<Q> {
    let named: HashMap<&str, &Q> = names.iter().map(String::as_str).zip(keys).collect();
    asked.iter().filter_map(|name| named.get(name.as_str()).map(|&key| key.clone())).collect()
}

/// Returns what a creating call came to; `None` if the cache failed, and the function
/// is to be run without it.
///
/// # Panics
///
/// If the function returned too few or too many values, or asked for what it
/// was creating: it has no place for an error of that kind.
pub fn unless_cache_failed<T, E>(result: Result<T, CreateError<E>>) -> Option<Result<T, E>> {
    match result {
        Ok(made) => Some(Ok(made)),
        Err(CreateError::Creator(error)) => Some(Err(error)),
        Err(CreateError::Cache(
            error @ (Error::WrongCount { .. } | Error::RecursiveCreation { .. }),
        )) => {
            panic!("{error}")
        }
        Err(CreateError::Cache(_)) => None,
    }
}
