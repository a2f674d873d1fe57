//! Reads the bytes of a payload: JSON, a pickle, `MessagePack`, text, or nothing
//! that is known here.

use std::marker::PhantomData;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dogpile::backend::inspect::steers;
use dogpile::codec::{Codec, Pickle};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// A payload, as far as it was understood.
pub(super) struct Decoded {
    /// In a word.
    pub(super) format: &'static str,
    /// As JSON; bytes that are no text are in base64. What is stored as JSON is as it is
    /// stored: numbers may have more digits than ours.
    pub(super) value: Box<RawValue>,
}

impl Decoded {
    fn new(format: &'static str, value: &Value) -> Self {
        let value = serde_json::value::to_raw_value(value).unwrap_or_default();
        Self { format, value }
    }
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
        return Decoded::new("pickle", &plain.unwrap_or_else(|_| binary(bytes)));
    }
    if let Some(value) = message_pack(bytes) {
        return Decoded::new("msgpack", &value);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Decoded::new("text", &text.into()),
        Err(_) => Decoded::new("binary", &binary(bytes)),
    }
}

/// JSON over several lines, with all its digits, for a terminal.
pub(super) fn indented(json: &str) -> String {
    let mut shown = String::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    let mut rest = json.chars().peekable();
    while let Some(c) = rest.next() {
        if in_string {
            in_string = is_escaped || c != '"';
            is_escaped = !is_escaped && c == '\\';
            if steers(c) {
                shown.extend(c.escape_default());
            } else {
                shown.push(c);
            }
            continue;
        }
        match c {
            ' ' | '\n' | '\r' | '\t' => {}
            '[' | '{' => {
                shown.push(c);
                while rest.next_if(char::is_ascii_whitespace).is_some() {}
                if let Some(end) = rest.next_if(|next| matches!(next, ']' | '}')) {
                    shown.push(end);
                } else {
                    depth += 1;
                    new_line(&mut shown, depth);
                }
            }
            ']' | '}' => {
                depth = depth.saturating_sub(1);
                new_line(&mut shown, depth);
                shown.push(c);
            }
            ',' => {
                shown.push(c);
                new_line(&mut shown, depth);
            }
            ':' => shown.push_str(": "),
            c => {
                in_string = c == '"';
                shown.push(c);
            }
        }
    }
    shown
}

fn new_line(shown: &mut String, depth: usize) {
    shown.push('\n');
    shown.extend(std::iter::repeat_n("  ", depth));
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
        (format, serde_json::from_str(value.get()).unwrap())
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
    fn json_keeps_its_digits_and_steers_no_terminal() {
        let json = r#"{"n": 123456789012345678901, "l":[1,[], {}], "s": "a,\"{\u001b"}"#;
        assert_eq!(decode(json.as_bytes()).value.get(), json);
        let shown = "{\n  \"n\": 123456789012345678901,\n  \"l\": [\n    1,\n    [],\n    {}\n  ],\n  \"s\": \"a,\\\"{\\u001b\"\n}";
        assert_eq!(indented(json), shown);
        assert_eq!(indented("\"\u{9b}2J\""), "\"\\u{9b}2J\"");
    }

    #[test]
    fn deep_nesting_is_no_danger() {
        assert_eq!(decode(&vec![0x91; 100_000]).format, "binary");
        assert_ne!(decode(&vec![b'['; 100_000]).format, "json");
    }
}
