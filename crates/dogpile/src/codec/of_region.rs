//! The codec of a region, whatever its type: [`RegionCodec`].

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde_core::de::{DeserializeOwned, DeserializeSeed, Error as _};
use serde_core::{Deserializer, Serialize};

#[cfg(feature = "msgpack")]
use super::MessagePack;
use super::{Codec, CodecError, Json};

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
    pub(crate) const fn usual() -> Self {
        Self::Json
    }

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
        if let Self::Json = self {
            return Json.decode(bytes, std::marker::PhantomData);
        }
        self.decode_other(bytes)
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
