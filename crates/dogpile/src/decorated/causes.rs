//! Messages about errors that nobody is there to take, by the first of the traits that their
//! type has: `Error` with its sources, `Display`, `Debug`, or none of them.

use std::error::Error;
use std::fmt::{Debug, Display, Write};

/// An error of a creation in the background.
#[derive(Debug)]
pub struct Cause<'a, E>(pub &'a E);

pub trait TellsError {
    fn tell(&self) -> String;
}

pub trait TellsDisplay {
    fn tell(&self) -> String;
}

pub trait TellsDebug {
    fn tell(&self) -> String;
}

pub trait TellsNothing {
    fn tell(&self) -> String;
}

impl<E: Error> TellsError for &&&Cause<'_, E> {
    fn tell(&self) -> String {
        let mut text = self.0.to_string();
        let mut source = self.0.source();
        while let Some(cause) = source {
            // Many errors print their source themselves.
            let cause_text = cause.to_string();
            if !text.ends_with(&cause_text) {
                let _ = write!(text, ": {cause_text}");
            }
            source = cause.source();
        }
        text
    }
}

impl<E: Display> TellsDisplay for &&Cause<'_, E> {
    /// The alternate form: with it, errors of the crate anyhow name their causes.
    fn tell(&self) -> String {
        format!("{:#}", self.0)
    }
}

impl<E: Debug> TellsDebug for &Cause<'_, E> {
    fn tell(&self) -> String {
        format!("{:?}", self.0)
    }
}

impl<E> TellsNothing for Cause<'_, E> {
    fn tell(&self) -> String {
        format!("a `{}`", std::any::type_name::<E>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::needless_borrow, reason = "as the attribute writes it")]
    fn an_error_is_told_by_the_most_that_its_type_can_say() {
        #[derive(Debug)]
        struct OnlyDebug;
        struct Silent;

        let inner = std::io::Error::other("refused");
        let outer = std::io::Error::other(inner);
        assert_eq!((&&&&Cause(&outer)).tell(), "refused");
        assert_eq!((&&&&Cause(&"text")).tell(), "text");
        assert_eq!((&&&&Cause(&OnlyDebug)).tell(), "OnlyDebug");
        assert!((&&&&Cause(&Silent)).tell().ends_with("Silent`"));
    }
}
