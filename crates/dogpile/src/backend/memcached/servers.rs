//! The servers: which one has a key, and sending to several at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

use super::answer::Answer;
use super::builder::Options;
use super::connect::{Address, Target};
use super::connection::Connection;
use super::keys::without_mark;
use super::placement::Placement;
use super::protocol::{ProtocolError, Reply, Request};
use crate::backend::BackendError;
use crate::remote::link::{Driver, Limits, Link, Lost};
use crate::remote::prefix::KeyPrefix;

/// All servers. What is sent may be carried out twice, should its connection
/// be lost.
pub(super) struct Servers {
    all: Vec<Server>,
    names: Vec<String>,
    placement: Placement,
    /// The prefix of all keys.
    prefix: KeyPrefix,
}

/// The number of requests that go together: a server that has many has a time limit for each part.
const TOGETHER: usize = 4_096;

/// A server with its connections, which take turns.
struct Server {
    links: Vec<Link<Connection>>,
    turn: AtomicUsize,
}

impl Servers {
    pub(super) fn new(
        target: &Target,
        options: &Options,
        connections: usize,
        driver: Driver,
    ) -> Self {
        let limits = options.limits;
        let server = |address: &Address| {
            let links = (0..connections.max(1)).map(|_| link(target, address, limits, driver));
            Server { links: links.collect(), turn: AtomicUsize::new(0) }
        };
        let all = target.addresses.iter().map(server).collect();
        let names = target.addresses.iter().map(ToString::to_string).collect();
        let (placement, prefix) = (options.placement.clone(), options.key_prefix.clone());
        Self { all, names, placement, prefix }
    }

    /// The index of the server that has `key`. A mark is where its value is.
    pub(super) fn of(&self, key: &str) -> usize {
        self.placement.of(without_mark(&self.prefix, key), &self.names)
    }

    /// Is there only one?
    pub(super) fn are_one(&self) -> bool {
        self.all.len() == 1
    }

    /// The answer to one request.
    pub(super) async fn ask(&self, request: Request<'_>) -> Answer {
        let server = &self.all[self.of(request.key())];
        let mut replies = server.send(&[request]).await?;
        replies.pop().ok_or_else(|| BackendError::other("a request was not answered"))
    }

    /// The answers to `requests` in their order, in one round trip to each of
    /// the servers that are concerned. Requests to one server are carried out in
    /// their order.
    pub(super) async fn ask_all(&self, requests: Vec<Request<'_>>) -> Vec<Answer> {
        let mut of_server: BTreeMap<usize, (Vec<usize>, Vec<Request<'_>>)> = BTreeMap::new();
        let count = requests.len();
        for (index, request) in requests.into_iter().enumerate() {
            let (indexes, requests) = of_server.entry(self.of(request.key())).or_default();
            indexes.push(index);
            requests.push(request);
        }
        let sent = of_server.iter().map(|(server, (_, requests))| {
            let server = &self.all[*server];
            async move { server.send(requests).await }
        });
        let sent = join_all(sent).await;
        let mut answers: Vec<Option<Answer>> = (0..count).map(|_| None).collect();
        for ((indexes, _), replies) in of_server.values().zip(sent) {
            match replies {
                Ok(replies) => {
                    for (&index, reply) in indexes.iter().zip(replies) {
                        answers[index] = Some(Ok(reply));
                    }
                }
                Err(error) => {
                    for &index in indexes {
                        answers[index] =
                            Some(Err(BackendError::new(error.kind(), error.to_string())));
                    }
                }
            }
        }
        let lost = || Err(BackendError::other("a request was not answered"));
        answers.into_iter().map(|answer| answer.unwrap_or_else(lost)).collect()
    }
}

impl Server {
    /// The replies to `requests`, most of which go together.
    async fn send(&self, requests: &[Request<'_>]) -> Result<Vec<Reply>, BackendError> {
        let link = &self.links[self.turn.fetch_add(1, Ordering::Relaxed) % self.links.len()];
        let mut replies = Vec::with_capacity(requests.len());
        for requests in requests.chunks(TOGETHER) {
            let sent = |connection: Arc<Connection>| async move {
                connection.send(requests).await.map_err(|ProtocolError(why)| {
                    let message = format!("{}: {why}", link.name());
                    Lost::Dropped(BackendError::unavailable(message))
                })
            };
            replies.extend(link.request(sent).await?);
        }
        Ok(replies)
    }
}

fn link(target: &Target, address: &Address, limits: Limits, driver: Driver) -> Link<Connection> {
    let (target, name, address) = (target.clone(), address.to_string(), address.clone());
    let connect = move || {
        let (target, address) = (target.clone(), address.clone());
        let connecting = async move { target.connect(&address).await.map(Arc::new) };
        Box::pin(connecting) as std::pin::Pin<Box<_>>
    };
    Link::new(name, limits, driver, Box::new(connect))
}
