//! What the bytes of a payload say: JSON, a pickle, `MessagePack`, text, or nothing
//! that is known here.

use std::marker::PhantomData;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dogpile::codec::{Codec, Pickle};
use serde_json::{Map, Value, json};

/// A payload, as far as it was understood.
pub(super) struct Decoded {
    /// In a word.
    pub(super) format: &'static str,
    /// As JSON; bytes that are no text are in base64.
    pub(super) value: Value,
}

/// Tries the formats that this project and its neighbours write.
pub(super) fn decode(bytes: &[u8]) -> Decoded {
    if let Ok(value) = serde_json::from_slice(bytes) {
        return Decoded { format: "json", value };
    }
    // Protocol 2 and later begin so; what holds more than plain data stays
    // closed.
    if matches!(bytes, [0x80, 2..=5, .., b'.']) {
        let plain = Pickle.decode(bytes, PhantomData::<Value>);
        return Decoded { format: "pickle", value: plain.unwrap_or_else(|_| binary(bytes)) };
    }
    if let Some(value) = message_pack(bytes) {
        return Decoded { format: "msgpack", value };
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Decoded { format: "text", value: text.into() },
        Err(_) => Decoded { format: "binary", value: binary(bytes) },
    }
}

/// As deep as serde's JSON goes.
const MAX_DEPTH: usize = 128;

/// Only if all of it is one collection: nearly every byte by itself is some
/// number.
fn message_pack(bytes: &[u8]) -> Option<Value> {
    let mut rest = bytes;
    let read = rmpv::decode::read_value_with_max_depth(&mut rest, MAX_DEPTH);
    let value = read.ok().filter(|_| rest.is_empty())?;
    let plain = value.is_map() || value.is_array() || value.is_str() || bytes.len() == 1;
    plain.then(|| to_json(value))
}

fn to_json(value: rmpv::Value) -> Value {
    match value {
        rmpv::Value::Nil => Value::Null,
        rmpv::Value::Boolean(yes) => yes.into(),
        rmpv::Value::Integer(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => Value::Null,
        },
        rmpv::Value::F32(number) => f64::from(number).into(),
        rmpv::Value::F64(number) => number.into(),
        rmpv::Value::String(text) => text_or_binary(text.as_bytes()),
        rmpv::Value::Binary(bytes) => text_or_binary(&bytes),
        rmpv::Value::Array(items) => items.into_iter().map(to_json).collect(),
        rmpv::Value::Map(pairs) => pairs.into_iter().map(pair).collect::<Map<_, _>>().into(),
        rmpv::Value::Ext(kind, bytes) => json!({ "ext": kind, "data": STANDARD.encode(bytes) }),
    }
}

fn pair((key, value): (rmpv::Value, rmpv::Value)) -> (String, Value) {
    let key = match to_json(key) {
        Value::String(text) => text,
        other => other.to_string(),
    };
    (key, to_json(value))
}

fn text_or_binary(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| binary(bytes), Value::from)
}

fn binary(bytes: &[u8]) -> Value {
    json!({ "base64": STANDARD.encode(bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> (&'static str, Value) {
        let Decoded { format, value } = decode(bytes);
        (format, value)
    }

    #[test]
    fn formats_are_told_apart() {
        assert_eq!(decoded(br#"{"id": 7}"#), ("json", json!({"id": 7})));
        assert_eq!(decoded(b"5"), ("json", json!(5)));
        let packed = b"\x82\xa1a\x01\xa1b\xc4\x02\xff\xfe";
        assert_eq!(decoded(packed), ("msgpack", json!({"a": 1, "b": {"base64": "//4="}})));
        assert_eq!(decoded(b"\xc0"), ("msgpack", Value::Null));
        assert_eq!(decoded(b"plain words"), ("text", json!("plain words")));
        assert_eq!(decoded(b"\x80\x05K\x05."), ("pickle", json!(5)));
        let call = b"\x80\x05cos\ngetpid\n)R.";
        assert_eq!(decoded(call), ("pickle", json!({"base64": "gAVjb3MKZ2V0cGlkCilSLg=="})));
        assert_eq!(decoded(b"\xff\xff\xff").0, "binary");
    }

    #[test]
    fn deep_nesting_is_no_danger() {
        assert_eq!(decode(&vec![0x91; 100_000]).format, "binary");
        assert_ne!(decode(&vec![b'['; 100_000]).format, "json");
    }
}
