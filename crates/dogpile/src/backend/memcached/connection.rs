//! One connection: requests in the server's protocol, and its answers.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;

use super::protocol::{Number, Protocol, ProtocolError, Reply, Request};
use crate::remote::link::Probe;
use crate::remote::pipelined::{Decode, Ended, Pipelined, Stream};

/// A connection.
pub(super) struct Connection {
    protocol: Protocol,
    /// It was made as the so many'th.
    number: u64,
    pipelined: Pipelined<Vec<Reply>>,
}

/// The number of connections that this process has made, to any server.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// Reads answers in the driver of a connection.
struct Replies {
    protocol: Protocol,
    /// Those of an answer that is not complete.
    begun: Vec<Reply>,
}

impl Decode for Replies {
    type Answer = Vec<Reply>;

    fn decode(&mut self, input: &mut BytesMut, count: usize) -> Result<Option<Vec<Reply>>, Ended> {
        while self.begun.len() < count {
            match self.protocol.read(input) {
                Ok(Some(reply)) => self.begun.push(reply),
                Ok(None) => return Ok(None),
                Err(ProtocolError(why)) => return Err(Ended(why)),
            }
        }
        Ok(Some(std::mem::take(&mut self.begun)))
    }
}

impl Connection {
    /// Drives `stream`, which is logged in, from the runtime that this is called
    /// on.
    pub(super) fn new(stream: Stream, protocol: Protocol) -> Self {
        let number = CONNECTIONS.fetch_add(1, Ordering::SeqCst) + 1;
        let replies = Replies { protocol, begun: Vec::new() };
        Self { protocol, number, pipelined: Pipelined::new(stream, replies) }
    }

    /// The answers to `requests`, in their order; an error if the connection
    /// has ended. Those about a number that is not [good](Number::is_good_for) here are refused.
    pub(super) async fn send(&self, requests: &[Request<'_>]) -> Result<Vec<Reply>, ProtocolError> {
        let connections = CONNECTIONS.load(Ordering::SeqCst);
        let is_good = |number: Number| number.is_good_for(self.number);
        let is_sent = |request: &&Request<'_>| request.number().is_none_or(is_good);
        let missing = requests.iter().filter(is_sent).count();
        if missing == 0 {
            return Ok(requests.iter().map(|_| Reply::Refused).collect());
        }
        let write = |into: &mut Vec<u8>| {
            requests.iter().filter(is_sent).for_each(|request| self.protocol.write(request, into));
        };
        let answers = self.pipelined.exchange(missing, write).await;
        let answers = answers.map_err(|Ended(why)| ProtocolError(why))?;
        let mut answers = answers.into_iter().map(|reply| reply.asked_among(connections));
        let reply = |request| if is_sent(&request) { answers.next() } else { Some(Reply::Refused) };
        Ok(requests.iter().filter_map(reply).collect())
    }
}

/// Nothing falls between: a request that is handed over while its connection ends has its error.
impl Probe for Connection {
    fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }
}
