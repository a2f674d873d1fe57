//! From the values that a pickle has built to the type that is asked for.

use std::cell::Cell;

use serde_core::de::value::{
    BorrowedStrDeserializer, Error, MapAccessDeserializer, MapDeserializer, SeqDeserializer,
};
use serde_core::de::{DeserializeSeed, Deserializer, Error as _, IntoDeserializer, Visitor};
use serde_core::forward_to_deserialize_any;

use super::machine::{Built, Id, Node};

/// As deep as the other codecs go.
const MAX_DEPTH: usize = 128;

/// The cost limit of following the values, beyond so many times the pickle's
/// length. A value that is referred to again and again is followed each time.
const FREE: usize = 1 << 20;
const TIMES: usize = 64;
/// The cost of a value apart from its bytes: about what it takes in memory.
const COST: usize = 64;

/// Reads what a pickle of `length` bytes has built.
pub(super) fn read<'de, S: DeserializeSeed<'de>>(
    built: &Built<'de>,
    length: usize,
    target: S,
) -> Result<S::Value, Error> {
    let budget = Cell::new(FREE.saturating_add(length.saturating_mul(TIMES)));
    target.deserialize(Item { built, id: built.root, depth: 0, budget: &budget })
}

/// A value on its way into a type.
#[derive(Clone, Copy)]
struct Item<'b, 'de> {
    built: &'b Built<'de>,
    id: Id,
    depth: usize,
    budget: &'b Cell<usize>,
}

impl<'b, 'de> Item<'b, 'de> {
    /// One of the values in it.
    fn inner(self, id: Id) -> Self {
        Self { id, depth: self.depth + 1, ..self }
    }

    /// The value, paid for.
    fn node(self) -> Result<&'b Node<'de>, Error> {
        if self.depth > MAX_DEPTH {
            return Err(Error::custom("the pickle is nested too deep"));
        }
        let node = &self.built.nodes[self.id];
        let cost = match node {
            Node::Text(text) => text.len(),
            Node::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        let left = self.budget.get().checked_sub(COST + cost);
        self.budget.set(left.ok_or_else(|| Error::custom("the pickle repeats itself too much"))?);
        Ok(node)
    }

    fn pairs<'i>(
        self,
        pairs: &'i [(Id, Id)],
    ) -> MapDeserializer<'de, impl Iterator<Item = (Self, Self)> + use<'i, 'b, 'de>, Error> {
        let inner = move |&(key, value): &(Id, Id)| (self.inner(key), self.inner(value));
        MapDeserializer::new(pairs.iter().map(inner))
    }
}

impl<'de> IntoDeserializer<'de> for Item<'_, 'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Item<'_, 'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node()? {
            Node::None => visitor.visit_unit(),
            Node::Bool(yes) => visitor.visit_bool(*yes),
            // Few types take a number of 128 bits that would fit into 64.
            Node::Integer(number) => match (i64::try_from(*number), u64::try_from(*number)) {
                (Ok(number), _) => visitor.visit_i64(number),
                (_, Ok(number)) => visitor.visit_u64(number),
                _ => visitor.visit_i128(*number),
            },
            Node::Natural(number) => visitor.visit_u128(*number),
            Node::Float(number) => visitor.visit_f64(*number),
            Node::Text(text) => visitor.visit_borrowed_str(text),
            Node::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            Node::List(items) => {
                let mut items = SeqDeserializer::new(items.iter().map(|&id| self.inner(id)));
                let value = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(value)
            }
            Node::Dict(pairs) => {
                let mut pairs = self.pairs(pairs);
                let value = visitor.visit_map(&mut pairs)?;
                pairs.end()?;
                Ok(value)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.built.nodes[self.id] {
            Node::None => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    /// A variant's name, or a dict of it and its content.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.node()? {
            Node::Text(name) => visitor.visit_enum(BorrowedStrDeserializer::new(name)),
            Node::Dict(pairs) if pairs.len() == 1 => {
                visitor.visit_enum(MapAccessDeserializer::new(self.pairs(pairs)))
            }
            _ => Err(Error::custom("a variant is a name, or a dict of one name")),
        }
    }

    /// `bytes` in Python is a list of numbers to types that know no better.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node()? {
            Node::Bytes(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied())),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct tuple tuple_struct map struct identifier
    }
}
