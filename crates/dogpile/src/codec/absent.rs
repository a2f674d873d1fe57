//! The codec of a region where all backends keep objects: it is never used.

#![expect(clippy::unused_self, reason = "as where codecs are used")]

use serde_core::Serialize;
use serde_core::de::DeserializeOwned;

use super::{Codec, CodecError};
use crate::value::Bytes;

/// The name of a codec, for who looks at a configuration.
#[derive(Debug, Clone)]
pub(crate) struct RegionCodec {
    name: Option<String>,
}

impl RegionCodec {
    pub(crate) const fn usual() -> Self {
        Self { name: None }
    }

    #[expect(clippy::needless_pass_by_value, reason = "as where codecs are used")]
    pub(crate) fn of<C: Codec>(codec: C) -> Self {
        Self { name: Some(codec.name().to_owned()) }
    }

    pub(crate) fn checked<T: Serialize + DeserializeOwned>(
        &self,
        _value: &T,
    ) -> Result<(Bytes, Option<u32>), CodecError> {
        Err(never())
    }

    pub(crate) fn decode_shaped<T: Serialize + DeserializeOwned>(
        &self,
        _bytes: &[u8],
        _stored_shape: Option<u32>,
    ) -> Result<T, CodecError> {
        Err(never())
    }

    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("none")
    }
}

/// The types of backends without the feature keep this from happening.
fn never() -> CodecError {
    CodecError::new("values as bytes need the feature `serialized`")
}
