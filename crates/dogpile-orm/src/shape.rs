//! What a row's type looks like: the names of its fields, without a row.

use std::fmt;

use serde::de::value::Error as Unused;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

/// The type's name, and the names of the fields of the first struct in it.
///
/// Rows that were stored before a field was added would otherwise be read as rows
/// without it, where it is an `Option`.
pub(crate) fn of<T: DeserializeOwned>() -> String {
    let mut shape = std::any::type_name::<T>().to_owned();
    // It ends in an error at the first thing that needs a value.
    let _ = T::deserialize(Probe(&mut shape));
    shape
}

/// Offers nothing, and notes what is asked for.
struct Probe<'s>(&'s mut String);

fn nothing<T>() -> Result<T, Unused> {
    Err(serde::de::Error::custom("there is no value"))
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Unused;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Unused> {
        let _ = fmt::Write::write_fmt(self.0, format_args!(" {name}{fields:?}"));
        nothing()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unused> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unused> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unused> {
        visitor.visit_seq(First(Some(self)))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Unused> {
        visitor.visit_seq(First(Some(self)))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Unused> {
        nothing()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct tuple_struct map enum identifier ignored_any
    }
}

/// One element, to be looked into.
struct First<'s>(Option<Probe<'s>>);

impl<'de> SeqAccess<'de> for First<'_> {
    type Error = Unused;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Unused> {
        match self.0.take() {
            Some(probe) => seed.deserialize(probe).map(Some),
            None => nothing(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    mod before {
        #[derive(serde::Deserialize)]
        #[expect(dead_code, reason = "only its shape is looked at")]
        pub(super) struct User {
            id: u32,
        }
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    struct User {
        id: u32,
        name: Option<String>,
    }

    #[test]
    fn a_new_field_is_another_shape() {
        let (before, after) = (of::<Vec<before::User>>(), of::<Vec<User>>());
        assert!(before.ends_with("User[\"id\"]"), "{before}");
        assert!(after.ends_with("User[\"id\", \"name\"]"), "{after}");
        assert!(of::<Option<User>>().ends_with("\"name\"]"));
        assert!(of::<Vec<(User, u8)>>().ends_with("\"name\"]"));
        assert_eq!(of::<i64>(), "i64");
    }
}
