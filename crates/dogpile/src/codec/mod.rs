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
//!
//! Without the feature `serialized`, which every backend that keeps bytes brings, regions keep
//! objects and have no use for a codec.

#[cfg(not(feature = "serialized"))]
mod absent;
#[cfg(feature = "serialized")]
pub(crate) mod check;
#[cfg(feature = "serialized")]
mod json;
#[cfg(feature = "msgpack")]
mod message_pack;
mod nothing;
#[cfg(feature = "serialized")]
mod of_region;
#[cfg(feature = "pickle")]
mod pickle;

use std::fmt;

use serde_core::Serialize;
use serde_core::de::DeserializeSeed;

#[cfg(not(feature = "serialized"))]
pub(crate) use absent::RegionCodec;
#[cfg(feature = "serialized")]
pub use json::Json;
#[cfg(feature = "msgpack")]
pub use message_pack::MessagePack;
pub(crate) use nothing::is_none;
#[cfg(feature = "serialized")]
pub(crate) use of_region::RegionCodec;
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
