//! Requests to a server and its answers, in either of memcached's two
//! protocols. Each request has one answer, and answers come in the order of the
//! requests.
//!
//! Answers are the bytes of a stranger: what cannot be read is an error, and
//! nothing is allocated before it has come.

mod binary;
mod meta;

use bytes::{Bytes, BytesMut};

use crate::backend::Version;

/// A request.
#[derive(Debug, Clone)]
pub(super) enum Request<'a> {
    /// The item under `key`; only whether there is one, and its number, without
    /// `value`.
    Get { key: &'a str, value: bool },
    /// The same with its value, and how long it has to live where the protocol says it.
    Examine { key: &'a str },
    /// The number of the item under `key`, as [`Get`](Self::Get) without its value, in order to compare
    /// it with this one.
    Compare { key: &'a str, number: Number },
    /// Stores an item. `ttl` is in the form that servers understand.
    Store { key: &'a str, flags: u32, value: Bytes, ttl: u32, only: Only },
    /// Gives the item another time to live; its number stays.
    Touch { key: &'a str, ttl: u32 },
    /// Gives the item of this number another one. All else of it stays, its time to
    /// live too: nothing is appended to its value.
    Renumber { key: &'a str, number: Number },
    /// Removes the item, or only the one of this number.
    Delete { key: &'a str, number: Option<Number> },
}

impl<'a> Request<'a> {
    /// The number of the only item that it is about.
    pub(super) fn number(&self) -> Option<Number> {
        match self {
            Self::Renumber { number, .. }
            | Self::Compare { number, .. }
            | Self::Store { only: Only::IfUnchanged(number), .. }
            | Self::Delete { number: Some(number), .. } => Some(*number),
            Self::Get { .. }
            | Self::Examine { .. }
            | Self::Touch { .. }
            | Self::Store { .. }
            | Self::Delete { .. } => None,
        }
    }

    pub(super) fn key(&self) -> &'a str {
        match self {
            Self::Get { key, .. }
            | Self::Examine { key }
            | Self::Compare { key, .. }
            | Self::Store { key, .. }
            | Self::Touch { key, .. }
            | Self::Renumber { key, .. }
            | Self::Delete { key, .. } => key,
        }
    }
}

/// When an item is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Only {
    Always,
    /// If there is none.
    IfAbsent,
    /// If the one that is there has this number.
    IfUnchanged(Number),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// The item. Its number is another one after each change. It has `left` seconds to live at
    /// most, where that was asked for and it does not stay.
    Item { flags: u32, number: Number, value: Bytes, left: Option<u32> },
    /// It is done. A stored item has this number now.
    Done { number: Number },
    /// There is no such item.
    Missing,
    /// There is one, or another than was asked for, or that cannot be told: nothing was done.
    Refused,
    /// The server cannot do it, for the reason it gives.
    Failed(String),
}

impl Reply {
    /// The same, which was asked for when there were so many `connections`.
    pub(super) fn asked_among(self, connections: u64) -> Self {
        let among = |number: Number| Number { connections, ..number };
        match self {
            Self::Item { flags, number, value, left } => {
                Self::Item { flags, number: among(number), value, left }
            }
            Self::Done { number } => Self::Done { number: among(number) },
            other @ (Self::Missing | Self::Refused | Self::Failed(_)) => other,
        }
    }
}

/// The number of an item, and how many connections were made before it was asked for.
///
/// A server that is started again begins its numbers again, and its connections end by that.
/// So a number is good for a connection that was there when it was asked for: while that lasts,
/// the server is the same. On a younger one it could be another item's. Two are equal if the
/// server would take them for the same.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number {
    value: u64,
    connections: u64,
}

impl Number {
    /// No item has this one.
    pub(super) const NONE: Self = Self { value: u64::MAX, connections: u64::MAX };

    /// The number that a server says.
    fn of(value: u64) -> Self {
        Self { value, connections: 0 }
    }

    /// Returns the version of an item that has this number. `None` from a server that counts none.
    pub(super) fn version(self) -> Option<Version> {
        (self.value > 0).then(|| Version::in_series(self.value, self.connections))
    }

    /// The number of the item that has this version.
    pub(super) fn of_version(version: Version) -> Self {
        let (value, connections) = version.parts();
        Self { value, connections }
    }

    /// Is it good for the connection that was made as the `connection`th?
    pub(super) fn is_good_for(self, connection: u64) -> bool {
        connection <= self.connections
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Number {}

/// What comes from the server is none of its protocol, or ends the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProtocolError(pub(super) String);

/// The protocol of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Text with the meta commands of memcached 1.6 and later.
    Meta,
    /// The older binary one: the only one with SASL.
    Binary,
}

/// No item is larger: the most that a server can be set to.
const LARGEST: usize = 1 << 30;

impl Protocol {
    pub(super) fn write(self, request: &Request<'_>, into: &mut Vec<u8>) {
        match self {
            Self::Meta => meta::write(request, into),
            Self::Binary => binary::write(request, into),
        }
    }

    /// Takes the next answer off `from`; `None` if not all of it has come.
    pub(super) fn read(self, from: &mut BytesMut) -> Result<Option<Reply>, ProtocolError> {
        match self {
            Self::Meta => meta::read(from),
            Self::Binary => binary::read(from),
        }
    }

    /// A request that does nothing, to see whether somebody answers.
    pub(super) fn probe(self) -> Vec<u8> {
        match self {
            Self::Meta => b"mn\r\n".to_vec(),
            Self::Binary => binary::probe(),
        }
    }

    /// Returns the requests that log in, to be sent before anything else.
    pub(super) fn login(self, username: &str, password: &str) -> Vec<u8> {
        match self {
            Self::Meta => meta::login(username, password),
            Self::Binary => binary::login(username, password),
        }
    }

    /// Has the answer to the login come, and was it a good one?
    pub(super) fn welcome(self, from: &mut BytesMut) -> Result<bool, ProtocolError> {
        let refused = || ProtocolError("the server refuses the user name and password".to_owned());
        match self {
            Self::Meta if !from.contains(&b'\n') => Ok(false),
            Self::Meta => from.starts_with(b"STORED").then_some(true).ok_or_else(refused),
            Self::Binary => match binary::read(from)? {
                None => Ok(false),
                Some(Reply::Done { .. }) => Ok(true),
                Some(_) => Err(refused()),
            },
        }
    }
}

/// The text of an answer, as far as it is fit for a message.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(200)]);
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOTH: [Protocol; 2] = [Protocol::Meta, Protocol::Binary];

    fn replies(protocol: Protocol, bytes: &[u8]) -> Result<Vec<Reply>, ProtocolError> {
        let mut from = BytesMut::from(bytes);
        let mut replies = Vec::new();
        while let Some(reply) = protocol.read(&mut from)? {
            replies.push(reply);
        }
        Ok(replies)
    }

    #[test]
    fn meta_answers_are_read() {
        let value = Bytes::from_static(b"a\r\nb");
        let item =
            |left| Reply::Item { flags: 8, number: Number::of(77), value: value.clone(), left };
        let answers = b"VA 4 f8 c77\r\na\r\nb\r\nVA 4 f8 c77 t9\r\na\r\nb\r\nVA 4 f8 c77 t-1\r\na\r\nb\r\nHD c5\r\nHD\r\nEN\r\nNF\r\nNS\r\nEX\r\n\
            SERVER_ERROR object too large for cache\r\n";
        let expected = [
            item(None),
            item(Some(9)),
            item(None),
            Reply::Done { number: Number::of(5) },
            Reply::Done { number: Number::of(0) },
            Reply::Missing,
            Reply::Missing,
            Reply::Refused,
            Reply::Refused,
            Reply::Failed("object too large for cache".into()),
        ];
        assert_eq!(replies(Protocol::Meta, answers).unwrap(), expected);
        // Cut anywhere, it is only unfinished.
        for end in 0..answers.len() {
            assert!(replies(Protocol::Meta, &answers[..end]).unwrap().len() < expected.len());
        }
    }

    #[test]
    fn what_is_no_answer_ends_the_connection() {
        let long = [&b"HD "[..], &[b'x'; 10_000]].concat();
        for bytes in [
            &b"WHAT\r\n"[..],
            b"\r\n",
            b"VA\r\n",
            b"VA x\r\n",
            b"VA 99999999999999999999\r\n",
            b"VA 2000000000\r\n",
            b"VA 1\r\nabc",
            b"ERROR\r\n",
            b"CLIENT_ERROR bad data chunk\r\n",
            &long,
        ] {
            assert!(replies(Protocol::Meta, bytes).is_err(), "{}", shown(bytes));
        }
        let mut header = [0_u8; 24];
        assert!(replies(Protocol::Binary, &header).is_err(), "no magic number");
        header[0] = 0x81;
        header[4] = 9;
        assert!(replies(Protocol::Binary, &header).is_err(), "more extras than bytes");
        header[8] = 0xff;
        assert!(replies(Protocol::Binary, &header).is_err(), "too large");
    }

    proptest! {
        #[test]
        fn nothing_that_a_server_says_is_a_panic(bytes: Vec<u8>, words in "(VA|HD|EN|SERVER_ERROR|[ 0-9cf\r\n])*") {
            for protocol in BOTH {
                let _ = replies(protocol, &bytes);
                let _ = replies(protocol, words.as_bytes());
                let framed = [&[0x81, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 9][..], &bytes].concat();
                let _ = replies(protocol, &framed);
            }
        }
    }
}
