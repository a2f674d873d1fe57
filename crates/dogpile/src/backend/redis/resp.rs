//! The bytes of a server's answers: where they end, and what they say.
//!
//! Answers are the bytes of a stranger: what cannot be read is an error, and nothing is
//! allocated before it has come.

use bytes::{Bytes, BytesMut};
use redis::{RedisError, RedisResult, Value};

use crate::remote::pipelined::{Decode, Ended};

/// Finds the end of answers. The callers read them, each its own.
#[derive(Default)]
pub(super) struct Ends {
    /// The state of a search that needs more bytes.
    search: Option<Search>,
}

/// A search for the end of some answers.
#[derive(Clone, Copy)]
struct Search {
    at: usize,
    /// The number of values that begin from there on.
    missing: usize,
}

/// A line that is longer is not one.
const LONGEST_LINE: usize = 64 * 1024;

/// A value of more bytes is not waited for. A server takes half as many, unless it is configured otherwise.
const LARGEST: usize = 1 << 30;

/// The greatest depth of lists within lists.
const DEEPEST: usize = 64;

impl Decode for Ends {
    type Answer = Bytes;

    fn decode(&mut self, input: &mut BytesMut, count: usize) -> Result<Option<Bytes>, Ended> {
        let mut search = self.search.take().unwrap_or(Search { at: 0, missing: count });
        let is_found = search.advance(input).ok_or_else(|| Ended(UNEXPECTED.to_owned()))?;
        if is_found {
            return Ok(Some(input.split_to(search.at).freeze()));
        }
        self.search = Some(search);
        Ok(None)
    }
}

const UNEXPECTED: &str = "protocol error: unexpected response";

impl Search {
    /// Goes on as far as `input` reaches. Has it found the end? `None` if these are no answers.
    fn advance(&mut self, input: &[u8]) -> Option<bool> {
        while self.missing > 0 {
            let Some(line) = input.get(self.at..).filter(|rest| !rest.is_empty()) else {
                return Some(false);
            };
            let Some(length) = line_length(line)? else { return Some(false) };
            let (kind, text) = (line[0], &line[1..length - 2]);
            let next = self.at + length;
            let (next, inner) = match (kind, kind_of_number(kind, text)?) {
                (b'$', Some(length)) if length > LARGEST => return None,
                (b'$', Some(length)) => (next.checked_add(length)?.checked_add(2)?, 0),
                (b'*', Some(length)) => (next, length),
                _ => (next, 0),
            };
            self.at = next;
            self.missing = (self.missing - 1).checked_add(inner)?;
        }
        Some(self.at <= input.len())
    }
}

/// Returns the length that `text` says after a byte of this kind, if there is one to say. Outer
/// `None` if it cannot be read.
#[expect(clippy::option_option, reason = "both are answers")]
fn kind_of_number(kind: u8, text: &[u8]) -> Option<Option<usize>> {
    match kind {
        b'+' | b'-' | b':' => Some(None),
        b'$' | b'*' if text == b"-1" => Some(None),
        b'$' | b'*' => number(text).and_then(|length| usize::try_from(length).ok()).map(Some),
        _ => None,
    }
}

/// Returns the length of the first line with its end, if that has come. Outer `None` if it is too
/// long.
#[expect(clippy::option_option, reason = "both are answers")]
fn line_length(bytes: &[u8]) -> Option<Option<usize>> {
    let end = bytes.iter().take(LONGEST_LINE).position(|&byte| byte == b'\n');
    match end {
        Some(end) => (end >= 2 && bytes[end - 1] == b'\r').then_some(Some(end + 1)),
        None => (bytes.len() < LONGEST_LINE).then_some(None),
    }
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Takes the next value off `bytes`, in which all of it is.
pub(super) fn value(bytes: &mut &[u8]) -> RedisResult<Value> {
    let unexpected = || RedisError::from((redis::ErrorKind::Parse, UNEXPECTED));
    take_value(bytes, DEEPEST).ok_or_else(unexpected)
}

fn take_value(bytes: &mut &[u8], depth: usize) -> Option<Value> {
    let length = line_length(bytes)??;
    let (line, rest) = bytes.split_at(length);
    let (kind, text) = (line[0], &line[1..length - 2]);
    *bytes = rest;
    Some(match kind {
        b'$' => match kind_of_number(kind, text)? {
            None => Value::Nil,
            Some(length) => {
                let value = rest.get(..length)?;
                *bytes = rest.get(length..)?.strip_prefix(b"\r\n")?;
                Value::BulkString(value.to_vec())
            }
        },
        b'*' => match kind_of_number(kind, text)? {
            None => Value::Nil,
            Some(length) => {
                let depth = depth.checked_sub(1)?;
                // Each has three bytes at least.
                let mut values = Vec::with_capacity(length.min(rest.len() / 3));
                for _ in 0..length {
                    values.push(take_value(bytes, depth)?);
                }
                Value::Array(values)
            }
        },
        b':' => Value::Int(number(text)?),
        b'+' if text == b"OK" => Value::Okay,
        b'+' => Value::SimpleString(String::from_utf8_lossy(text).into_owned()),
        // The client knows the kinds of errors.
        _ => redis::parse_redis_value(line).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The answers to `count` requests in `bytes`, that come in pieces of so many.
    fn answers(bytes: &[u8], count: usize, piece: usize) -> Result<Option<Vec<Value>>, String> {
        let (mut ends, mut input) = (Ends::default(), BytesMut::new());
        for piece in bytes.chunks(piece) {
            input.extend_from_slice(piece);
            if let Some(found) = ends.decode(&mut input, count).map_err(|Ended(why)| why)? {
                let mut rest = &found[..];
                let values = (0..count).map(|_| value(&mut rest).map_err(|e| e.to_string()));
                let values = values.collect::<Result<_, _>>()?;
                assert!(rest.is_empty());
                return Ok(Some(values));
            }
        }
        Ok(None)
    }

    const ALL: &[u8] = b"$5\r\na\r\nbc\r\n+OK\r\n+QUEUED\r\n$-1\r\n$0\r\n\r\n:-7\r\n\
        *3\r\n:1\r\n*0\r\n*1\r\n$1\r\nx\r\n*-1\r\n-WRONGTYPE no\r\n";

    #[test]
    fn answers_are_read_wherever_they_are_cut() {
        let text = |text: &[u8]| Value::BulkString(text.to_vec());
        let list = vec![Value::Int(1), Value::Array(vec![]), Value::Array(vec![text(b"x")])];
        for piece in 1..ALL.len() {
            let mut values = answers(ALL, 9, piece).unwrap().unwrap();
            let error = values.pop().unwrap();
            assert!(matches!(error, Value::ServerError(error) if error.code() == "WRONGTYPE"));
            let expected = [
                text(b"a\r\nbc"),
                Value::Okay,
                Value::SimpleString("QUEUED".to_owned()),
                Value::Nil,
                text(b""),
                Value::Int(-7),
                Value::Array(list.clone()),
                Value::Nil,
            ];
            assert_eq!(values, expected);
        }
        for end in 0..ALL.len() {
            assert_eq!(answers(&ALL[..end], 9, 7), Ok(None));
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let deep = "*1\r\n".repeat(DEEPEST + 1) + ":1\r\n";
        let long = "+".to_owned() + &"x".repeat(LONGEST_LINE);
        for bytes in [
            "WHAT\r\n",
            "\r\n",
            "$x\r\n",
            "$-2\r\n",
            "$18446744073709551615\r\n",
            "$2000000000\r\n",
            "$1\r\nabc\r\n",
            "*2\r\n*9223372036854775807\r\n*9223372036854775807\r\n*9223372036854775807\r\n",
            "+OK\n",
            &deep,
            &long,
        ] {
            assert!(answers(bytes.as_bytes(), 1, bytes.len()).is_err(), "{bytes:.40}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_server_says_is_a_panic(bytes: Vec<u8>, words in "([*$:+-][0-9]{0,3}|\r\n|x)*") {
            let _ = answers(&bytes, 1, bytes.len().max(1));
            for piece in [1, 3, 1_000] {
                let _ = answers(words.as_bytes(), 2, piece);
            }
        }
    }
}
