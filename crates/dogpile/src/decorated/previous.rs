//! The value of before, in the form in which a function takes it: whole, or without its age.

use super::several::Several;
use crate::region::CachedValue;

/// An argument that is given the value of before, which is a `T`.
#[diagnostic::on_unimplemented(
    message = "`previous` is for an argument of the type `Option<{T}>` or `Option<CachedValue<{T}>>`, not `{Self}`",
    label = "not the value of before"
)]
pub trait Previous<T> {
    fn from_previous(previous: Option<CachedValue<T>>) -> Self;
}

impl<T> Previous<T> for Option<CachedValue<T>> {
    fn from_previous(previous: Self) -> Self {
        previous
    }
}

impl<T> Previous<T> for Option<T> {
    fn from_previous(previous: Option<CachedValue<T>>) -> Self {
        previous.map(|previous| previous.value)
    }
}

/// An argument that is given the values of before, in the order of the keys.
#[diagnostic::on_unimplemented(
    message = "`previous` is for an argument of the type `Vec<Option<{T}>>` or `Vec<Option<CachedValue<{T}>>>`, not `{Self}`",
    label = "not the values of before"
)]
pub trait PreviousOfMany<T> {
    fn from_previous(previous: Vec<Option<CachedValue<T>>>) -> Self;
}

impl<T, P: Previous<T>> PreviousOfMany<T> for Vec<P> {
    fn from_previous(previous: Vec<Option<CachedValue<T>>>) -> Self {
        previous.into_iter().map(P::from_previous).collect()
    }
}

/// Returns the values in what was stored for a function that returns a `C`. That there was none may
/// be stored, too.
pub fn previous<C: Several>(
    stored: Vec<Option<CachedValue<C::Stored>>>,
) -> Vec<Option<CachedValue<C::Value>>> {
    let found = stored.into_iter().map(|stored| {
        let CachedValue { value, ct, age } = stored?;
        Some(CachedValue { value: C::found(Some(value))?, ct, age })
    });
    found.collect()
}
