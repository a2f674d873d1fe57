//! The binary protocol: packets with a head of 24 bytes.

use bytes::{Buf, BytesMut};

use super::{LARGEST, Number, Only, ProtocolError, Reply, Request, shown};

const HEAD: usize = 24;
const REQUEST: u8 = 0x80;
const RESPONSE: u8 = 0x81;

const GET: u8 = 0x00;
const SET: u8 = 0x01;
const ADD: u8 = 0x02;
const DELETE: u8 = 0x04;
const NOOP: u8 = 0x0a;
const APPEND: u8 = 0x0e;
const TOUCH: u8 = 0x1c;
const SASL_AUTH: u8 = 0x21;

pub(super) fn write(request: &Request<'_>, into: &mut Vec<u8>) {
    match request {
        // No request of this protocol leaves the value out.
        Request::Get { key, .. } | Request::Examine { key } | Request::Compare { key, .. } => {
            packet(into, GET, 0, &[], key.as_bytes(), &[]);
        }
        Request::Touch { key, ttl } => {
            packet(into, TOUCH, 0, &ttl.to_be_bytes(), key.as_bytes(), &[]);
        }
        Request::Renumber { key, number } => {
            packet(into, APPEND, number.value, &[], key.as_bytes(), &[]);
        }
        Request::Delete { key, number } => {
            packet(into, DELETE, number.map_or(0, |number| number.value), &[], key.as_bytes(), &[]);
        }
        Request::Store { key, flags, value, ttl, only } => {
            let mut extras = [0; 8];
            extras[..4].copy_from_slice(&flags.to_be_bytes());
            extras[4..].copy_from_slice(&ttl.to_be_bytes());
            let (operation, number) = match only {
                Only::Always => (SET, 0),
                Only::IfAbsent => (ADD, 0),
                Only::IfUnchanged(number) => (SET, number.value),
            };
            packet(into, operation, number, &extras, key.as_bytes(), value);
        }
    }
}

/// Keys have at most 250 bytes, and values less than 4 GiB: both were checked.
#[expect(clippy::cast_possible_truncation, reason = "the lengths were checked")]
fn packet(into: &mut Vec<u8>, operation: u8, number: u64, extras: &[u8], key: &[u8], value: &[u8]) {
    into.extend_from_slice(&[REQUEST, operation]);
    into.extend_from_slice(&(key.len() as u16).to_be_bytes());
    into.extend_from_slice(&[extras.len() as u8, 0, 0, 0]);
    let body = extras.len() + key.len() + value.len();
    into.extend_from_slice(&(body as u32).to_be_bytes());
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&number.to_be_bytes());
    for part in [extras, key, value] {
        into.extend_from_slice(part);
    }
}

pub(super) fn read(from: &mut BytesMut) -> Result<Option<Reply>, ProtocolError> {
    if from.first().is_some_and(|&magic| magic != RESPONSE) {
        return Err(ProtocolError(
            "the server does not speak memcached's binary protocol".to_owned(),
        ));
    }
    let Some(mut head) = from.get(..HEAD) else { return Ok(None) };
    head.advance(1);
    let operation = head.get_u8();
    let key = usize::from(head.get_u16());
    let extras = usize::from(head.get_u8());
    head.advance(1);
    let status = head.get_u16();
    let body = usize::try_from(head.get_u32()).unwrap_or(usize::MAX);
    head.advance(4);
    let number = Number::of(head.get_u64());
    if body > LARGEST + HEAD || key + extras > body {
        return Err(ProtocolError("the head of a packet contradicts itself".to_owned()));
    }
    if from.len() < HEAD + body {
        return Ok(None);
    }
    from.advance(HEAD);
    let mut body = from.split_to(body).freeze();
    let extras = body.split_to(extras);
    let value = body.split_off(key);
    Ok(Some(match status {
        0 if operation == GET => {
            let flags = extras.first_chunk().map_or(0, |flags| u32::from_be_bytes(*flags));
            Reply::Item { flags, number, value, left: None }
        }
        0 => Reply::Done { number },
        1 => Reply::Missing,
        // The key exists, or the item is not stored.
        2 | 5 => Reply::Refused,
        _ => Reply::Failed(shown(&value)),
    }))
}

pub(super) fn probe() -> Vec<u8> {
    let mut probe = Vec::new();
    packet(&mut probe, NOOP, 0, &[], &[], &[]);
    probe
}

/// SASL's mechanism PLAIN.
pub(super) fn login(username: &str, password: &str) -> Vec<u8> {
    let mut login = Vec::new();
    let secret = format!("\0{username}\0{password}");
    packet(&mut login, SASL_AUTH, 0, &[], b"PLAIN", secret.as_bytes());
    login
}
