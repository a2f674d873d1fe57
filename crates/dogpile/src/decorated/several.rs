//! The return types of functions of many keys.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};

/// The result of a function of many keys: a list with a value for each, or a
/// map of those that there are.
pub trait Several {
    /// A value.
    type Value;
    /// The entry under a key.
    type Stored;

    /// The value in what was found.
    fn found(stored: Option<Self::Stored>) -> Option<Self::Value>;

    /// The form in which a value is stored.
    fn kept(value: &Self::Value) -> Self::Stored;
}

/// The same, for keys of type `Q`.
pub trait SeveralBy<Q>: Several + Sized {
    /// Returns the values created for `asked`, in that order.
    fn in_order(self, asked: &[Q]) -> Vec<Self::Stored>;

    /// Returns what the function returns for `keys`, from the values in their order.
    fn collect(keys: &[Q], values: Vec<Self::Stored>) -> Self;
}

impl<V: Clone> Several for Vec<V> {
    type Value = V;
    type Stored = V;

    fn found(stored: Option<V>) -> Option<V> {
        stored
    }

    fn kept(value: &V) -> V {
        value.clone()
    }
}

impl<Q, V: Clone> SeveralBy<Q> for Vec<V> {
    fn in_order(self, _asked: &[Q]) -> Vec<V> {
        self
    }

    fn collect(_keys: &[Q], values: Vec<V>) -> Self {
        values
    }
}

macro_rules! maps {
    ($($map:ident<Q, V $(, $hasher:ident)?> where Q: $($bound:path),*;)*) => {
        $(
            impl<Q, V: Clone $(, $hasher)?> Several for $map<Q, V $(, $hasher)?> {
                type Value = V;
                type Stored = Option<V>;

                fn found(stored: Option<Option<V>>) -> Option<V> {
                    stored.flatten()
                }

                fn kept(value: &V) -> Option<V> {
                    Some(value.clone())
                }
            }

            impl<Q, V: Clone $(, $hasher: BuildHasher + Default)?> SeveralBy<Q> for $map<Q, V $(, $hasher)?>
            where
                Q: Clone $(+ $bound)*,
            {
                fn in_order(self, asked: &[Q]) -> Vec<Option<V>> {
                    asked.iter().map(|key| self.get(key).cloned()).collect()
                }

                fn collect(keys: &[Q], values: Vec<Option<V>>) -> Self {
                    let there = keys.iter().zip(values);
                    there.filter_map(|(key, value)| Some((key.clone(), value?))).collect()
                }
            }
        )*
    };
}

maps! {
    HashMap<Q, V, S> where Q: Eq, Hash;
    BTreeMap<Q, V> where Q: Ord;
}
