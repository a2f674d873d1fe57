//! Arguments of functions as parts of a key.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};
use std::rc::Rc;
use std::sync::Arc;

use super::text::{KeyPart, KeyText};

macro_rules! numbers {
    ($($type:ty)*) => {
        $(
            impl KeyPart for $type {
                #[inline]
                fn write_key(&self, key: &mut KeyText) {
                    key.number(u64::from(*self));
                }
            }
        )*
    };
}

numbers! { u8 u16 u32 u64 }

macro_rules! integers {
    ($($type:ty)*) => {
        $(
            impl KeyPart for $type {
                #[inline]
                fn write_key(&self, key: &mut KeyText) {
                    match u64::try_from(*self) {
                        Ok(number) => key.number(number),
                        Err(_) => key.integer(self),
                    }
                }
            }
        )*
    };
}

integers! { i8 i16 i32 i64 i128 isize u128 usize }

impl KeyPart for char {
    fn write_key(&self, key: &mut KeyText) {
        let _ = key.write_char(*self);
    }
}

macro_rules! floats {
    ($($type:ty)*) => {
        $(
            impl KeyPart for $type {
                fn write_key(&self, key: &mut KeyText) {
                    key.float(f64::from(*self), self);
                }
            }
        )*
    };
}

floats! { f32 f64 }

impl KeyPart for bool {
    fn write_key(&self, key: &mut KeyText) {
        key.boolean(*self);
    }
}

impl KeyPart for str {
    fn write_key(&self, key: &mut KeyText) {
        let _ = key.write_str(self);
    }
}

impl KeyPart for String {
    fn write_key(&self, key: &mut KeyText) {
        self.as_str().write_key(key);
    }
}

impl<T: KeyPart> KeyPart for Option<T> {
    fn is_option(&self) -> bool {
        true
    }

    fn write_key(&self, key: &mut KeyText) {
        match self {
            None => key.none(),
            Some(inner) => {
                if inner.is_option() {
                    key.some();
                }
                inner.write_key(key);
            }
        }
    }
}

macro_rules! pointers {
    ($($type:ty)*) => {
        $(
            impl<T: KeyPart + ?Sized> KeyPart for $type {
                #[inline]
                fn write_key(&self, key: &mut KeyText) {
                    (**self).write_key(key);
                }

                fn is_option(&self) -> bool {
                    (**self).is_option()
                }
            }
        )*
    };
}

pointers! { &T Box<T> Arc<T> Rc<T> }

impl<T: KeyPart + ToOwned + ?Sized> KeyPart for Cow<'_, T> {
    fn write_key(&self, key: &mut KeyText) {
        (**self).write_key(key);
    }

    fn is_option(&self) -> bool {
        (**self).is_option()
    }
}

macro_rules! tuples {
    ($(($($name:ident)*))*) => {
        $(
            impl<$($name: KeyPart),*> KeyPart for ($($name,)*) {
                fn write_key(&self, key: &mut KeyText) {
                    #[expect(non_snake_case, reason = "each stands for its type")]
                    let ($($name,)*) = self;
                    key.sequence(&[$($name),*]);
                }
            }
        )*
    };
}

tuples! { (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G) (A B C D E F G H) }

/// A value by its `Display`, as a part of a key.
#[derive(Debug, Clone, Copy)]
pub struct Displayed<'a, T: ?Sized>(pub &'a T);

impl<T: Display + ?Sized> KeyPart for Displayed<'_, T> {
    fn write_key(&self, key: &mut KeyText) {
        let _ = write!(key, "{}", self.0);
    }
}

impl<T: Display + ?Sized> Display for Displayed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
