//! Checks of values through serde: whether a value is the same after its way through a
//! codec, and which fields its types have.
//!
//! A codec may take a value and give back another: JSON writes `Some(NaN)` and `Some(None)` as
//! `null`, an untagged enum may be read as another variant, a field may be written and not
//! read. No list of such cases is complete, so each value is read back before it is stored,
//! and both tell their whole content to [`Trace`].
//!
//! A type that has gained a field since a value was stored may be read without it, as `None`.
//! So the names of the fields in a value are stored beside it, as one number.

use std::fmt;

use bytes::Bytes;
use serde_core::de::DeserializeOwned;
use serde_core::ser::{self, Serialize, Serializer};

use super::{CodecError, RegionCodec};

impl RegionCodec {
    /// Returns the bytes of a value that comes back from the codec as it is, and the number for the
    /// names of its fields.
    pub(crate) fn checked<T: Serialize + DeserializeOwned>(
        &self,
        value: &T,
    ) -> Result<(Bytes, Option<u32>), CodecError> {
        Ok((encode::<T, T>(self, value)?, shape(value)))
    }

    /// Returns the value in `bytes`, if its type has the fields that it had when it was stored. Nothing is known
    /// of them where others have written it.
    #[expect(clippy::inline_always, reason = "measured: each move of a value is a tenth of a hit")]
    #[inline(always)]
    pub(crate) fn decode_shaped<T: Serialize + DeserializeOwned>(
        &self,
        bytes: &[u8],
        stored_shape: Option<u32>,
    ) -> Result<T, CodecError> {
        let value = self.decode(bytes);
        if stored_shape.is_some()
            && let Ok(value) = &value
            && stored_shape != shape(value)
        {
            return Err(CodecError::new("its type had other fields when it was stored"));
        }
        value
    }
}

/// Encodes `value`, if it comes back from `codec` as it is; `O` is its owned form.
pub(crate) fn encode<T: Serialize, O: Serialize + DeserializeOwned>(
    codec: &RegionCodec,
    value: &T,
) -> Result<Bytes, CodecError> {
    let bytes = codec.encode(value)?;
    let name = codec.name();
    let back: O = codec.decode(&bytes).map_err(|error| {
        CodecError::new(format!("the codec `{name}` cannot read back what it wrote: {error}"))
    })?;
    if content(value)? == content(&back)? {
        Ok(bytes)
    } else {
        Err(CodecError::new(format!(
            "the codec `{name}` would give back another value: it cannot hold this one"
        )))
    }
}

/// A number for the names of all fields in a value; `None` if there are none.
pub(crate) fn shape<T: Serialize + ?Sized>(value: &T) -> Option<u32> {
    // What cannot be told was refused when it was encoded.
    let shape = value.serialize(Trace::<false>).ok().filter(|shape| *shape != 0)?;
    let folded = (shape ^ (shape >> 32)) & u64::from(u32::MAX);
    u32::try_from(folded).ok()
}

/// A number for all that is in a value.
fn content<T: Serialize + ?Sized>(value: &T) -> Result<u64, CodecError> {
    value.serialize(Trace::<true>).map_err(|_| CodecError::new("the value cannot be serialized"))
}

/// Adds up what a value says: all of it, or only the names of its fields (0 without any).
///
/// The elements of sequences and maps count in any order: that of a hash map is another
/// one each time, and no codec changes it.
struct Trace<const CONTENT: bool>;

/// Spreads two numbers over all bits of one.
#[expect(clippy::cast_possible_truncation, reason = "both halves of the product are taken")]
fn mix(one: u64, other: u64) -> u64 {
    let product =
        u128::from(one ^ 0x9e37_79b9_7f4a_7c15) * u128::from(other ^ 0xd6e8_feb8_6659_fd93);
    let [low, high] = [product as u64, (product >> 64) as u64];
    (low ^ high).rotate_left(23) ^ one
}

fn of_bytes(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let hash =
        words.iter().fold(bytes.len() as u64, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(hash, u64::from_le_bytes(last))
}

/// The kind of a value.
#[derive(Clone, Copy)]
enum Kind {
    Bool,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    F32,
    F64,
    Char,
    Text,
    Bytes,
    None,
    Some,
    Unit,
    Newtype,
    Variant,
    Sequence,
    Tuple,
    Map,
    Struct,
}

impl<const CONTENT: bool> Trace<CONTENT> {
    fn leaf(kind: Kind, bits: u64) -> u64 {
        if CONTENT { mix(kind as u64, bits) } else { 0 }
    }

    fn around(kind: Kind, inner: u64) -> u64 {
        if CONTENT { mix(kind as u64, inner) } else { inner }
    }

    fn variant(variant: u32) -> Parts<CONTENT> {
        Parts { kind: Kind::Variant, seed: u64::from(variant), sum: 0, count: 0, is_struct: false }
    }

    fn parts(kind: Kind) -> Parts<CONTENT> {
        Parts { kind, seed: 0, sum: 0, count: 0, is_struct: false }
    }
}

type Traced = Result<u64, fmt::Error>;

macro_rules! numbers {
    ($($method:ident: $type:ty => $kind:ident;)*) => {
        $(
            #[allow(clippy::cast_lossless, clippy::cast_sign_loss, reason = "bits are bits")]
            fn $method(self, value: $type) -> Traced {
                Ok(Self::leaf(Kind::$kind, value as u64))
            }
        )*
    };
}

impl<const CONTENT: bool> Serializer for Trace<CONTENT> {
    type Ok = u64;
    type Error = fmt::Error;
    type SerializeSeq = Parts<CONTENT>;
    type SerializeTuple = Parts<CONTENT>;
    type SerializeTupleStruct = Parts<CONTENT>;
    type SerializeTupleVariant = Parts<CONTENT>;
    type SerializeMap = Parts<CONTENT>;
    type SerializeStruct = Parts<CONTENT>;
    type SerializeStructVariant = Parts<CONTENT>;

    numbers! {
        serialize_i8: i8 => I8;
        serialize_i16: i16 => I16;
        serialize_i32: i32 => I32;
        serialize_i64: i64 => I64;
        serialize_u8: u8 => U8;
        serialize_u16: u16 => U16;
        serialize_u32: u32 => U32;
        serialize_u64: u64 => U64;
    }

    fn serialize_bool(self, value: bool) -> Traced {
        Ok(Self::leaf(Kind::Bool, value.into()))
    }

    fn serialize_i128(self, value: i128) -> Traced {
        Ok(Self::leaf(Kind::I128, of_bytes(&value.to_le_bytes())))
    }

    fn serialize_u128(self, value: u128) -> Traced {
        Ok(Self::leaf(Kind::U128, of_bytes(&value.to_le_bytes())))
    }

    fn serialize_f32(self, value: f32) -> Traced {
        Ok(Self::leaf(Kind::F32, value.to_bits().into()))
    }

    fn serialize_f64(self, value: f64) -> Traced {
        Ok(Self::leaf(Kind::F64, value.to_bits()))
    }

    fn serialize_char(self, value: char) -> Traced {
        Ok(Self::leaf(Kind::Char, u32::from(value).into()))
    }

    fn serialize_str(self, value: &str) -> Traced {
        Ok(if CONTENT { Self::leaf(Kind::Text, of_bytes(value.as_bytes())) } else { 0 })
    }

    fn serialize_bytes(self, value: &[u8]) -> Traced {
        Ok(if CONTENT { Self::leaf(Kind::Bytes, of_bytes(value)) } else { 0 })
    }

    fn serialize_none(self) -> Traced {
        Ok(Self::leaf(Kind::None, 0))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Traced {
        Ok(Self::around(Kind::Some, value.serialize(self)?))
    }

    fn serialize_unit(self) -> Traced {
        Ok(Self::leaf(Kind::Unit, 0))
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Traced {
        Ok(Self::leaf(Kind::Unit, 0))
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
    ) -> Traced {
        Ok(Self::leaf(Kind::Variant, index.into()))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Traced {
        Ok(Self::around(Kind::Newtype, value.serialize(self)?))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
        value: &T,
    ) -> Traced {
        let inner = value.serialize(self)?;
        Ok(if CONTENT { mix(u64::from(index), Self::around(Kind::Variant, inner)) } else { inner })
    }

    fn serialize_seq(self, _length: Option<usize>) -> Result<Parts<CONTENT>, fmt::Error> {
        Ok(Self::parts(Kind::Sequence))
    }

    fn serialize_tuple(self, _length: usize) -> Result<Parts<CONTENT>, fmt::Error> {
        Ok(Self::parts(Kind::Tuple))
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _length: usize,
    ) -> Result<Parts<CONTENT>, fmt::Error> {
        Ok(Self::parts(Kind::Tuple))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Parts<CONTENT>, fmt::Error> {
        Ok(Self::variant(index))
    }

    /// A map whose length is not known is a struct with `#[serde(flatten)]`.
    fn serialize_map(self, length: Option<usize>) -> Result<Parts<CONTENT>, fmt::Error> {
        Ok(Parts { is_struct: length.is_none(), ..Self::parts(Kind::Map) })
    }

    fn serialize_struct(
        self,
        _name: &'static str,
        _length: usize,
    ) -> Result<Parts<CONTENT>, fmt::Error> {
        Ok(Self::parts(Kind::Struct))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Parts<CONTENT>, fmt::Error> {
        Ok(Self::variant(index))
    }
}

/// Several values within one.
struct Parts<const CONTENT: bool> {
    kind: Kind,
    seed: u64,
    sum: u64,
    count: u64,
    /// The keys are the names of fields.
    is_struct: bool,
}

impl<const CONTENT: bool> Parts<CONTENT> {
    fn add(&mut self, place: u64, inner: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(if CONTENT { mix(place, inner) } else { inner });
    }

    /// A field, whether it is written or left out this time.
    fn name(&mut self, name: &str, inner: u64) {
        let name = of_bytes(name.as_bytes());
        self.sum = self.sum.wrapping_add(mix(name, inner).max(1));
    }

    fn done(self) -> u64 {
        if CONTENT {
            mix(self.kind as u64, mix(self.seed, mix(self.count, self.sum)))
        } else {
            self.sum
        }
    }
}

macro_rules! sequences {
    ($($trait:ident::$method:ident, $place:expr;)*) => {
        $(
            impl<const CONTENT: bool> ser::$trait for Parts<CONTENT> {
                type Ok = u64;
                type Error = fmt::Error;

                fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
                    let inner = value.serialize(Trace::<CONTENT>)?;
                    let place: fn(&Self) -> u64 = $place;
                    self.add(place(self), inner);
                    Ok(())
                }

                fn end(self) -> Traced {
                    Ok(self.done())
                }
            }
        )*
    };
}

sequences! {
    SerializeSeq::serialize_element, |_| 0;
    SerializeTuple::serialize_element, |parts| parts.count;
    SerializeTupleStruct::serialize_field, |parts| parts.count;
    SerializeTupleVariant::serialize_field, |parts| parts.count;
}

impl<const CONTENT: bool> ser::SerializeMap for Parts<CONTENT> {
    type Ok = u64;
    type Error = fmt::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), fmt::Error> {
        self.seed = if CONTENT || self.is_struct { key.serialize(Trace::<true>)? } else { 0 };
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        let inner = value.serialize(Trace::<CONTENT>)?;
        let key = std::mem::take(&mut self.seed);
        if self.is_struct && !CONTENT {
            self.sum = self.sum.wrapping_add(mix(key, inner).max(1));
        } else {
            self.add(key, inner);
        }
        Ok(())
    }

    fn end(self) -> Traced {
        Ok(self.done())
    }
}

macro_rules! structs {
    ($($trait:ident)*) => {
        $(
            impl<const CONTENT: bool> ser::$trait for Parts<CONTENT> {
                type Ok = u64;
                type Error = fmt::Error;

                fn serialize_field<T: Serialize + ?Sized>(
                    &mut self,
                    name: &'static str,
                    value: &T,
                ) -> Result<(), fmt::Error> {
                    let inner = value.serialize(Trace::<CONTENT>)?;
                    self.name(name, inner);
                    Ok(())
                }

                fn skip_field(&mut self, name: &'static str) -> Result<(), fmt::Error> {
                    self.name(name, 0);
                    Ok(())
                }

                fn end(self) -> Traced {
                    Ok(self.done())
                }
            }
        )*
    };
}

structs! { SerializeStruct SerializeStructVariant }
