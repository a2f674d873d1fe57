//! The forms in which results lie in a region, and whether rows survive it.

use std::any::TypeId;
use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::row::Row;
use crate::{schema, shape};

/// The stored form of a query's result.
pub(crate) trait StoredResult: Row {
    /// A row of it.
    type Sample: Row;

    fn sample(&self) -> Option<&Self::Sample>;
}

impl<T: Row> StoredResult for Vec<T> {
    type Sample = T;

    fn sample(&self) -> Option<&T> {
        self.first()
    }
}

/// A count.
impl StoredResult for u64 {
    type Sample = Self;

    fn sample(&self) -> Option<&Self> {
        None
    }
}

/// One row, or that there is none. It is written as a list: a row that is itself nothing
/// (the greatest number of an empty table) is not the same as no row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct One<T>(pub(crate) Option<T>);

impl<T: Serialize> Serialize for One<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_slice().serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for One<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut rows = Vec::deserialize(deserializer)?;
        match rows.len() {
            0 | 1 => Ok(Self(rows.pop())),
            more => Err(D::Error::custom(format_args!("there are {more} rows instead of one"))),
        }
    }
}

impl<T: Row> StoredResult for One<T> {
    type Sample = T;

    fn sample(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

/// A value with what its type looked like when it was stored: in another shape it is
/// unreadable, and so created again. For keys that do not tell of the type.
#[derive(Debug, Clone)]
pub(crate) struct Shaped<T>(pub(crate) T);

impl<T: Row> Serialize for Shaped<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (shape::hash_of::<T>(), &self.0).serialize(serializer)
    }
}

impl<'de, T: Row> Deserialize<'de> for Shaped<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (shape, value) = <(u64, T)>::deserialize(deserializer)?;
        if shape == shape::hash_of::<T>() {
            Ok(Self(value))
        } else {
            Err(D::Error::custom("it was stored in another shape of its type"))
        }
    }
}

impl<T: Row> StoredResult for Shaped<T> {
    type Sample = T;

    fn sample(&self) -> Option<&T> {
        Some(&self.0)
    }
}

/// Types of which a row was seen to survive.
static SOUND: RwLock<Option<HashSet<TypeId>>> = RwLock::new(None);

/// The field that rows of this type lose on their way through a cache, if there is one:
/// written, and not read (`#[serde(skip_deserializing)]`), or the other way round. The first
/// row of a type is tried; later ones cost a look into a set.
pub(crate) fn lost_field<T: Row>(row: &T) -> Option<String> {
    let of = TypeId::of::<T>();
    let is_sound =
        |types: &Option<HashSet<TypeId>>| types.as_ref().is_some_and(|t| t.contains(&of));
    if is_sound(&SOUND.read().unwrap_or_else(PoisonError::into_inner)) {
        return None;
    }
    // What cannot be written or read is for the region to tell of.
    let before = serde_json::to_value(row).ok()?;
    let again = serde_json::from_value::<T>(before.clone()).ok()?;
    let after = serde_json::to_value(&again).ok()?;
    let lost = difference(&before, &after).or_else(|| unwritten(row, &before));
    if lost.is_none() && has_fields(&before) {
        let mut sound = SOUND.write().unwrap_or_else(PoisonError::into_inner);
        sound.get_or_insert_default().insert(of);
    }
    lost
}

/// A field that is read and never written. One that is another name of a written one
/// (`#[serde(alias)]`) is found out by giving both: that is refused.
fn unwritten<T: Row>(row: &T, written: &Value) -> Option<String> {
    let (names, read) = (schema::fields(row)?, shape::fields::<T>()?);
    let is_alias = |alias: &str| {
        let both = |name: &&str| with_both(written, name, alias);
        let refused = |text: String| serde_json::from_str::<T>(&text).err();
        let errors = names.iter().filter_map(both).filter_map(refused);
        errors.into_iter().any(|error| error.to_string().contains("duplicate field"))
    };
    let unknown = read.iter().filter(|name| !names.contains(*name));
    unknown.into_iter().find(|name| !is_alias(name)).map(|name| (*name).to_owned())
}

/// `value`, with nothing in its first struct but a field under both names.
fn with_both(value: &Value, name: &str, alias: &str) -> Option<String> {
    match value {
        Value::Object(fields) => {
            let value = fields.get(name).unwrap_or(&Value::Null);
            Some(format!("{{{name:?}: {value}, {alias:?}: {value}}}"))
        }
        Value::Array(items) => {
            let found = |item| with_both(item, name, alias);
            let (place, changed) =
                items.iter().enumerate().find_map(|(n, item)| Some((n, found(item)?)))?;
            let text = |(n, item): (usize, &Value)| {
                if n == place { changed.clone() } else { item.to_string() }
            };
            let items: Vec<String> = items.iter().enumerate().map(text).collect();
            Some(format!("[{}]", items.join(", ")))
        }
        _ => None,
    }
}

fn has_fields(value: &Value) -> bool {
    match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => items.iter().any(has_fields),
        _ => false,
    }
}

/// A plain field that is another one now. Rows may be in lists (of related rows) and
/// tuples (of joined ones); what lies deeper may be in an order of its own.
fn difference(before: &Value, after: &Value) -> Option<String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let is_plain = |value: &Value| !value.is_object() && !value.is_array();
            let differs = |(name, value): &(&String, &Value)| {
                is_plain(value) && after.get(name.as_str()) != Some(value)
            };
            before.iter().find(differs).map(|(name, _)| name.clone())
        }
        (Value::Array(before), Value::Array(after)) => {
            before.iter().zip(after).find_map(|(before, after)| difference(before, after))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again<T: Serialize + for<'de> Deserialize<'de>>(value: &T) -> T {
        serde_json::from_value(serde_json::to_value(value).unwrap()).unwrap()
    }

    #[test]
    fn a_row_that_is_nothing_is_not_no_row() {
        for one in [One(None), One(Some(None)), One(Some(Some(1)))] {
            assert_eq!(again(&one), one);
        }
        assert!(serde_json::from_str::<One<i32>>("[1, 2]").is_err());
    }

    #[test]
    fn another_shape_is_unreadable() {
        #[derive(Debug, Clone, Serialize, Deserialize)]
        struct Before {
            id: u32,
        }
        #[derive(Debug, Clone, Serialize, Deserialize)]
        struct After {
            id: u32,
            name: Option<String>,
        }
        let before = serde_json::to_value(Shaped(vec![Before { id: 1 }])).unwrap();
        assert!(serde_json::from_value::<Shaped<Vec<Before>>>(before.clone()).is_ok());
        assert!(serde_json::from_value::<Shaped<Vec<After>>>(before).is_err());
    }

    #[test]
    fn fields_that_are_not_read_back_are_found() {
        #[derive(Debug, Clone, Serialize, Deserialize)]
        struct Skips {
            #[serde(skip_deserializing)]
            id: u32,
            name: String,
        }
        #[derive(Debug, Clone, Serialize, Deserialize)]
        struct Sound {
            #[serde(rename = "ID", alias = "number", alias = "key")]
            id: u32,
            words: HashSet<String>,
            real: f32,
            #[serde(skip_serializing_if = "Option::is_none", alias = "nickname")]
            nick: Option<String>,
        }
        let skips = || Skips { id: 7, name: "Ada".to_owned() };
        #[derive(Debug, Clone, Serialize, Deserialize)]
        struct Hides {
            #[serde(alias = "number", alias = "key")]
            id: u32,
            #[serde(skip_serializing_if = "Option::is_none")]
            nick: Option<String>,
            #[serde(skip_serializing)]
            #[expect(dead_code, reason = "it is lost")]
            password: Option<String>,
        }
        let hides = || Hides { id: 7, nick: None, password: Some("secret".to_owned()) };
        assert_eq!(lost_field(&hides()).as_deref(), Some("password"));
        assert_eq!(lost_field(&vec![Some(hides())]).as_deref(), Some("password"));
        assert_eq!(lost_field(&skips()).as_deref(), Some("id"));
        assert_eq!(lost_field(&(1, vec![skips()])).as_deref(), Some("id"));
        let words = ["one", "two", "three", "four"].map(str::to_owned).into();
        let sound = Sound { id: 7, words, real: 0.1, nick: None };
        assert_eq!(lost_field(&vec![sound.clone()]), None);
        assert_eq!(lost_field(&sound), None);
        assert_eq!(lost_field(&Some(1)), None);
    }
}
