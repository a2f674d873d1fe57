//! Encoding and decoding of values.
//!
//! A region that keeps bytes has one codec. JSON is the default, since that
//! is what a Python neighbour can read. Decoding goes straight into the type
//! asked for, never through a tree of generic values.
//!
//! Before a value is stored it is read back: one that the codec would give back as another
//! one, such as `Some(f64::NAN)` in JSON, is an error and is not stored. So storing a value
//! costs an encoding and a decoding, and reading it a decoding.
//!
//! What serde is told to leave out is seen by no check: a field with `#[serde(skip)]` comes back
//! as its default, and what a `serialize_with` rounds comes back rounded. A region that keeps
//! objects gives back both as they were.

pub(crate) mod check;
#[cfg(feature = "pickle")]
mod pickle;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde_core::de::{DeserializeOwned, DeserializeSeed, Error as _};
use serde_core::{Deserializer, Serialize};

#[cfg(feature = "pickle")]
pub use pickle::Pickle;

/// A user's own serialization format.
///
/// ```
/// use dogpile::codec::{Codec, CodecError};
/// use serde::de::DeserializeSeed;
///
/// struct PrettyJson;
///
/// impl Codec for PrettyJson {
///     fn name(&self) -> &str {
///         "pretty-json"
///     }
///
///     fn encode<T: serde::Serialize + ?Sized>(&self, value: &T) -> Result<Vec<u8>, CodecError> {
///         serde_json::to_vec_pretty(value).map_err(CodecError::new)
///     }
///
///     fn decode<'de, S: DeserializeSeed<'de>>(
///         &self,
///         bytes: &'de [u8],
///         target: S,
///     ) -> Result<S::Value, CodecError> {
///         let mut deserializer = serde_json::Deserializer::from_slice(bytes);
///         target.deserialize(&mut deserializer).map_err(CodecError::new)
///     }
/// }
///
/// let config = dogpile::Config::<dogpile::Serialized>::new(dogpile::backend::Null).codec(PrettyJson);
/// # let _ = config;
/// ```
pub trait Codec: Send + Sync + 'static {
    /// Its name, for logs.
    fn name(&self) -> &str;

    /// Turns `value` into bytes.
    fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Vec<u8>, CodecError>;

    /// Reads `bytes` into what `target` asks for. The bytes may come from a
    /// stranger: an error for whatever does not fit, never a panic.
    fn decode<'de, S: DeserializeSeed<'de>>(
        &self,
        bytes: &'de [u8],
        target: S,
    ) -> Result<S::Value, CodecError>;
}

/// Why a codec could not encode or decode.
#[derive(Debug)]
pub struct CodecError(Box<dyn std::error::Error + Send + Sync>);

impl CodecError {
    /// Wraps a format's own error.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for CodecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// JSON, the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json;

impl Codec for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Vec<u8>, CodecError> {
        serde_json::to_vec(value).map_err(CodecError::new)
    }

    #[expect(clippy::inline_always, reason = "measured: each move of a value is a tenth of a hit")]
    #[inline(always)]
    fn decode<'de, S: DeserializeSeed<'de>>(
        &self,
        bytes: &'de [u8],
        target: S,
    ) -> Result<S::Value, CodecError> {
        // Once for all: otherwise each string is looked through on its own.
        let text = str::from_utf8(bytes).map_err(CodecError::new)?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        // Looked at where it is: a value is moved as seldom as can be.
        let value = target.deserialize(&mut deserializer).map_err(CodecError::new);
        if value.is_ok() {
            deserializer.end().map_err(CodecError::new)?;
        }
        value
    }
}

/// `MessagePack`, with structs as maps, so that a field can come or go without
/// a stale value being read as something else.
#[cfg(feature = "msgpack")]
#[derive(Debug, Clone, Copy, Default)]
pub struct MessagePack;

/// As deep as `serde_json` goes: a stranger's nesting must not exhaust the
/// stack.
#[cfg(feature = "msgpack")]
const MAX_DEPTH: usize = 128;

#[cfg(feature = "msgpack")]
impl Codec for MessagePack {
    fn name(&self) -> &'static str {
        "msgpack"
    }

    fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Vec<u8>, CodecError> {
        rmp_serde::to_vec_named(value).map_err(CodecError::new)
    }

    fn decode<'de, S: DeserializeSeed<'de>>(
        &self,
        bytes: &'de [u8],
        target: S,
    ) -> Result<S::Value, CodecError> {
        let mut deserializer = rmp_serde::Deserializer::new(bytes);
        deserializer.set_max_depth(MAX_DEPTH);
        let value = target.deserialize(&mut deserializer).map_err(CodecError::new)?;
        if !deserializer.get_ref().is_empty() {
            return Err(CodecError::new("there are bytes after the value"));
        }
        Ok(value)
    }
}

/// The codec of a region: the built-in ones are called directly, a user's own
/// through its erased form.
#[derive(Clone)]
pub(crate) enum RegionCodec {
    Json,
    #[cfg(feature = "msgpack")]
    MessagePack,
    Own(Arc<dyn ErasedCodec>),
}

impl fmt::Debug for RegionCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl RegionCodec {
    pub(crate) fn of<C: Codec>(codec: C) -> Self {
        let any: &dyn std::any::Any = &codec;
        match any {
            _ if any.is::<Json>() => Self::Json,
            #[cfg(feature = "msgpack")]
            _ if any.is::<MessagePack>() => Self::MessagePack,
            _ => Self::Own(Arc::new(codec)),
        }
    }

    pub(crate) fn encode<T: Serialize>(&self, value: &T) -> Result<Bytes, CodecError> {
        let bytes = match self {
            Self::Json => Json.encode(value),
            #[cfg(feature = "msgpack")]
            Self::MessagePack => MessagePack.encode(value),
            Self::Own(codec) => codec.encode_erased(value),
        };
        bytes.map(Bytes::from)
    }

    #[expect(clippy::inline_always, reason = "measured: each move of a value is a tenth of a hit")]
    #[inline(always)]
    pub(crate) fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError> {
        match self {
            Self::Json => Json.decode(bytes, std::marker::PhantomData),
            _ => self.decode_other(bytes),
        }
    }

    #[inline(never)]
    fn decode_other<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError> {
        let target = std::marker::PhantomData;
        match self {
            Self::Json => Json.decode(bytes, target),
            #[cfg(feature = "msgpack")]
            Self::MessagePack => MessagePack.decode(bytes, target),
            Self::Own(codec) => {
                let mut value = None;
                codec.decode_erased(bytes, &mut |deserializer| {
                    value = Some(erased_serde::deserialize(deserializer)?);
                    Ok(())
                })?;
                value.ok_or_else(|| CodecError::new("the codec decoded nothing"))
            }
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Json => Json.name(),
            #[cfg(feature = "msgpack")]
            Self::MessagePack => MessagePack.name(),
            Self::Own(codec) => codec.name_erased(),
        }
    }
}

type Read<'r> =
    dyn FnMut(&mut dyn erased_serde::Deserializer<'_>) -> Result<(), erased_serde::Error> + 'r;

/// The object-safe form of [`Codec`].
pub(crate) trait ErasedCodec: Send + Sync {
    fn name_erased(&self) -> &str;
    fn encode_erased(&self, value: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError>;
    fn decode_erased(&self, bytes: &[u8], read: &mut Read<'_>) -> Result<(), CodecError>;
}

impl<C: Codec> ErasedCodec for C {
    fn name_erased(&self) -> &str {
        self.name()
    }

    fn encode_erased(&self, value: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError> {
        self.encode(value)
    }

    fn decode_erased(&self, bytes: &[u8], read: &mut Read<'_>) -> Result<(), CodecError> {
        self.decode(bytes, Erase(read))
    }
}

/// Lets a generic deserializer be handed to code that takes an erased one.
struct Erase<'a, 'r>(&'a mut Read<'r>);

impl<'de> DeserializeSeed<'de> for Erase<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let mut erased = <dyn erased_serde::Deserializer<'_>>::erase(deserializer);
        (self.0)(&mut erased).map_err(D::Error::custom)
    }
}
