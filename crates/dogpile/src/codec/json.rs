//! The codec [`Json`].

use serde_core::Serialize;
use serde_core::de::DeserializeSeed;

use super::{Codec, CodecError};

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
