//! The text protocol's meta commands.

use bytes::{Buf, Bytes, BytesMut};

use super::{LARGEST, Number, Only, ProtocolError, Reply, Request, shown};

/// A line is not longer: a key, and some flags.
const LONGEST_LINE: usize = 8 * 1024;

pub(super) fn write(request: &Request<'_>, into: &mut Vec<u8>) {
    let head = match request {
        Request::Get { key, value: true } => format!("mg {key} v f c\r\n"),
        Request::Get { key, value: false } | Request::Compare { key, .. } => {
            format!("mg {key} c\r\n")
        }
        Request::Examine { key } => format!("mg {key} v f c t\r\n"),
        Request::Store { key, flags, value, ttl, only } => {
            let only = match only {
                Only::Always => String::new(),
                Only::IfAbsent => " ME".to_owned(),
                Only::IfUnchanged(Number { value, .. }) => format!(" C{value}"),
            };
            format!("ms {key} {} T{ttl} F{flags} c{only}\r\n", value.len())
        }
        Request::Touch { key, ttl } => format!("mg {key} T{ttl}\r\n"),
        Request::Renumber { key, number } => {
            format!("ms {key} 0 MA C{} c\r\n\r\n", number.value)
        }
        Request::Delete { key, number: Some(number) } => {
            format!("md {key} C{}\r\n", number.value)
        }
        Request::Delete { key, number: None } => format!("md {key}\r\n"),
    };
    into.extend_from_slice(head.as_bytes());
    if let Request::Store { value, .. } = request {
        into.extend_from_slice(value);
        into.extend_from_slice(b"\r\n");
    }
}

pub(super) fn read(from: &mut BytesMut) -> Result<Option<Reply>, ProtocolError> {
    let searched = &from[..from.len().min(LONGEST_LINE)];
    let Some(end) = searched.iter().position(|&byte| byte == b'\n') else {
        let endless = from.len() > LONGEST_LINE;
        return if endless { Err(strange(searched)) } else { Ok(None) };
    };
    let line = from[..end].strip_suffix(b"\r").ok_or_else(|| strange(searched))?;
    let mut words = line.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    let reply = match words.next() {
        Some(b"VA") => return read_item(from, end + 1),
        Some(b"HD") => Reply::Done { number: Number::of(flag(words, b'c').unwrap_or(0)) },
        Some(b"MN") => Reply::Done { number: Number::of(0) },
        Some(b"EN" | b"NF") => Reply::Missing,
        Some(b"NS" | b"EX") => Reply::Refused,
        Some(word @ b"SERVER_ERROR") => Reply::Failed(shown(&line[word.len()..]).trim().to_owned()),
        // A server from before 1.6, or one that has lost the thread.
        Some(b"ERROR" | b"CLIENT_ERROR") => {
            let hint = "the meta commands need memcached 1.6 or later";
            return Err(ProtocolError(format!("the server answers `{}` ({hint})", shown(line))));
        }
        _ => return Err(strange(line)),
    };
    from.advance(end + 1);
    Ok(Some(reply))
}

/// An item whose head is the first `head` bytes.
fn read_item(from: &mut BytesMut, head: usize) -> Result<Option<Reply>, ProtocolError> {
    let line = from[..head].trim_ascii_end();
    let mut words = line.split(|&byte| byte == b' ').skip(1);
    let length = words.next().and_then(number).and_then(|length| usize::try_from(length).ok());
    let length = length.filter(|length| *length <= LARGEST).ok_or_else(|| strange(line))?;
    if from.len() < head + length + 2 {
        return Ok(None);
    }
    let flags = flag(words.clone(), b'f').and_then(|flags| u32::try_from(flags).ok());
    let left = flag(words.clone(), b't').and_then(|left| u32::try_from(left).ok());
    let number = Number::of(flag(words, b'c').unwrap_or(0));
    from.advance(head);
    let value: Bytes = from.split_to(length).freeze();
    if !from.starts_with(b"\r\n") {
        return Err(ProtocolError("an item does not end where it should".to_owned()));
    }
    from.advance(2);
    Ok(Some(Reply::Item { flags: flags.unwrap_or(0), number, value, left }))
}

/// The number behind the letter `name`.
fn flag<'a>(mut words: impl Iterator<Item = &'a [u8]>, name: u8) -> Option<u64> {
    words.find_map(|word| number(word.strip_prefix(&[name])?))
}

fn number(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

fn strange(line: &[u8]) -> ProtocolError {
    ProtocolError(format!("memcached protocol error: unexpected response `{}`", shown(line)))
}

/// The text protocol has a `set` of any key for that.
pub(super) fn login(username: &str, password: &str) -> Vec<u8> {
    let secret = format!("{username} {password}");
    format!("set login 0 0 {}\r\n{secret}\r\n", secret.len()).into_bytes()
}
