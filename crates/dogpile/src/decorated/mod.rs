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
use crate::key::{FunctionKey, KeyGenerator, KeyText};
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
