//! The codec [`MessagePack`].

use serde_core::Serialize;
use serde_core::de::DeserializeSeed;

use super::{Codec, CodecError};

/// `MessagePack`, with structs as maps, so that a field can come or go without
/// a stale value being read as something else.
#[derive(Debug, Clone, Copy, Default)]
pub struct MessagePack;

/// As deep as `serde_json` goes: a stranger's nesting must not exhaust the
/// stack.
const MAX_DEPTH: usize = 128;

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
