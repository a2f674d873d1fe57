//! The shape of a row's type: the names of its fields, without a row.

use std::any::TypeId;
use std::collections::HashMap;
use std::fmt::Write;
use std::hash::Hasher;
use std::sync::{Arc, PoisonError, RwLock};

use serde::de::value::{Error as Unused, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

/// The shapes that were looked at.
static KNOWN: RwLock<Option<HashMap<TypeId, Arc<str>>>> = RwLock::new(None);

/// The type's name, and the names of the fields of all structs in it.
///
/// Rows that were stored before a field was added would otherwise be read as rows
/// without it, where it is an `Option`. What is flattened by serde cannot be seen, nor what
/// is in variants of enums.
pub(crate) fn of<T: DeserializeOwned + 'static>() -> Arc<str> {
    let of = TypeId::of::<T>();
    if let Some(shape) =
        KNOWN.read().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(|all| all.get(&of))
    {
        return shape.clone();
    }
    let shape: Arc<str> = look::<T>().into();
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    known.get_or_insert_default().insert(of, shape.clone());
    shape
}

/// The names by which the first struct in `T` reads its fields, if there is one.
pub(crate) fn fields<T: DeserializeOwned>() -> Option<&'static [&'static str]> {
    let mut seen = None;
    let _ = T::deserialize(Probe { path: &[], seen: &mut seen });
    seen.map(|(_, fields)| fields)
}

/// A number for the shape, the same in every process.
pub(crate) fn hash_of<T: DeserializeOwned + 'static>() -> u64 {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    hash.write(of::<T>().as_bytes());
    hash.finish()
}

struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Types may contain themselves: so many structs are looked at.
const MOST: usize = 64;

/// Fields are visited one by one, each from the beginning: a visitor takes fields in any
/// order, and none can be given a value.
fn look<T: DeserializeOwned>() -> String {
    let mut shape = std::any::type_name::<T>().to_owned();
    let mut paths = vec![Vec::new()];
    let mut next = 0;
    while let Some(path) = paths.get(next).filter(|_| next < MOST).cloned() {
        let mut seen = None;
        let _ = T::deserialize(Probe { path: &path, seen: &mut seen });
        if let Some((name, fields)) = seen {
            let _ = write!(shape, " {path:?}{name}{fields:?}");
            paths.extend((0..fields.len()).map(|field| [&path[..], &[field]].concat()));
        }
        next += 1;
    }
    shape
}

type Fields = (&'static str, &'static [&'static str]);

/// Offers nothing but the way to the first struct behind `path`, and notes its fields.
struct Probe<'p> {
    path: &'p [usize],
    seen: &'p mut Option<Fields>,
}

fn nothing<T>() -> Result<T, Unused> {
    Err(serde::de::Error::custom("there is no value"))
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Unused;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unused> {
        let Some((field, rest)) = self.path.split_first() else {
            *self.seen = Some((name, fields));
            return nothing();
        };
        let inner = Probe { path: rest, seen: self.seen };
        visitor.visit_map(Field { name: fields.get(*field).copied(), inner: Some(inner) })
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

/// One field of a struct, to be looked into.
struct Field<'p> {
    name: Option<&'static str>,
    inner: Option<Probe<'p>>,
}

impl<'de> MapAccess<'de> for Field<'_> {
    type Error = Unused;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Unused> {
        let Some(name) = self.name.take() else { return nothing() };
        let name: StrDeserializer<'_, Unused> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Unused> {
        match self.inner.take() {
            Some(inner) => seed.deserialize(inner),
            None => nothing(),
        }
    }
}

/// One element, to be looked into.
struct First<'p>(Option<Probe<'p>>);

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

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    struct Visit {
        at: String,
        by: Option<Vec<User>>,
        place: (Box<User>, u8),
        before: Option<Box<Visit>>,
    }

    #[test]
    fn a_new_field_is_another_shape() {
        let (before, after) = (of::<Vec<before::User>>(), of::<Vec<User>>());
        assert!(before.ends_with("User[\"id\"]"), "{before}");
        assert!(after.ends_with("User[\"id\", \"name\"]"), "{after}");
        assert!(of::<Option<User>>().ends_with("\"name\"]"));
        assert!(of::<Vec<(User, u8)>>().ends_with("\"name\"]"));
        assert_eq!(&*of::<i64>(), "i64");
        assert_ne!(hash_of::<Vec<before::User>>(), hash_of::<Vec<User>>());
    }

    #[test]
    fn structs_within_are_looked_into() {
        let shape = of::<Visit>();
        let user = "User[\"id\", \"name\"]";
        assert!(shape.contains(&format!("[1]{user}")), "{shape}");
        assert!(shape.contains(&format!("[2]{user}")) && shape.contains("[3]Visit["), "{shape}");
        assert!(shape.len() < 10_000, "it contains itself");
    }
}
