//! One connection of redis-rs's, of whatever kind, behind one type.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use futures_util::future::join_all;
use redis::aio::ConnectionLike;
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, Pipeline, RedisError, RedisResult, Value};

use super::slot;
use crate::remote::io;
use crate::remote::link::Probe;

pub(super) type Boxed<'a, T> = Pin<Box<dyn Future<Output = RedisResult<T>> + Send + 'a>>;

/// The answer to one command of several.
pub(super) type Answer = Result<Value, RedisError>;

/// Commands for one round trip, each with the key that says which node of a
/// cluster it goes to.
#[derive(Default)]
pub(super) struct Batch(Vec<(u16, Cmd)>);

impl Batch {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn add(&mut self, key: impl AsRef<[u8]>, command: Cmd) -> &mut Self {
        self.0.push((slot::of(key), command));
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn commands(&self) -> impl Iterator<Item = &Cmd> {
        self.0.iter().map(|(_, command)| command)
    }
}

/// Sends commands; many at a time over one connection.
pub(super) trait Connection: Probe {
    fn send<'a>(&'a self, command: &'a Cmd) -> Boxed<'a, Value>;

    /// The same for a command that changes nothing, of a caller who may block the thread.
    fn read<'a>(&'a self, command: &'a Cmd) -> Boxed<'a, Value> {
        self.send(command)
    }

    /// The answers in the order of the commands. Those of one key are carried
    /// out in their order.
    fn send_all<'a>(&'a self, batch: &'a Batch) -> Boxed<'a, Vec<Answer>>;

    /// Carries out commands about keys of one slot as a transaction; none if one of them
    /// did nothing.
    fn send_transaction<'a>(&'a self, batch: &'a Batch) -> Boxed<'a, Option<Vec<Value>>>;
}

/// `MULTI`, the commands, `EXEC`; none if one of them did nothing.
async fn in_transaction<C: ConnectionLike>(
    mut connection: C,
    batch: &Batch,
) -> RedisResult<Option<Vec<Value>>> {
    let mut pipeline = Pipeline::new();
    pipeline.atomic();
    for command in batch.commands() {
        pipeline.add_command(command.clone());
    }
    let answers = connection.req_packed_commands(&pipeline, batch.0.len() + 1, 1).await?;
    all_done(answers.into_iter().next())
}

/// Returns the answers in that of `EXEC`; none if one of the commands did nothing.
pub(super) fn all_done(answer: Option<Value>) -> RedisResult<Option<Vec<Value>>> {
    let done = |answer: &Value| !matches!(answer, Value::Nil | Value::ServerError(_));
    match answer {
        Some(Value::Array(answers)) => Ok(answers.iter().all(done).then_some(answers)),
        Some(Value::ServerError(error)) => Err(error.into()),
        _ => Ok(None),
    }
}

/// A connection whose clones share it.
pub(super) struct Multiplexed<C>(pub(super) C);

impl<C> Connection for Multiplexed<C>
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    fn send<'a>(&'a self, command: &'a Cmd) -> Boxed<'a, Value> {
        let mut connection = self.0.clone();
        Box::pin(async move { checked(connection.req_packed_command(command).await?) })
    }

    fn send_all<'a>(&'a self, batch: &'a Batch) -> Boxed<'a, Vec<Answer>> {
        Box::pin(send_together(self.0.clone(), batch.commands()))
    }

    fn send_transaction<'a>(&'a self, batch: &'a Batch) -> Boxed<'a, Option<Vec<Value>>> {
        Box::pin(in_transaction(self.0.clone(), batch))
    }
}

/// Answers come in the order of the commands: one that is sent later is answered later.
impl<C> Probe for Multiplexed<C>
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut connection = self.0.clone();
        Box::pin(async move {
            // An error says the same.
            let _ = connection.req_packed_command(&redis::cmd("PING")).await;
        })
    }
}

/// A connection of the application's: its client may set timers, which need a
/// runtime around whoever awaits it.
pub(super) struct Existing<C>(pub(super) Multiplexed<C>);

impl<C> Probe for Existing<C>
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(io::inside(self.0.lost()))
    }
}

impl<C> Connection for Existing<C>
where
    C: ConnectionLike + Clone + Send + Sync + 'static,
{
    fn send<'a>(&'a self, command: &'a Cmd) -> Boxed<'a, Value> {
        Box::pin(io::inside(self.0.send(command)))
    }

    fn send_all<'a>(&'a self, batch: &'a Batch) -> Boxed<'a, Vec<Answer>> {
        Box::pin(io::inside(self.0.send_all(batch)))
    }

    fn send_transaction<'a>(&'a self, batch: &'a Batch) -> Boxed<'a, Option<Vec<Value>>> {
        Box::pin(io::inside(self.0.send_transaction(batch)))
    }
}

/// A cluster: what belongs to one slot goes together.
pub(super) struct Clustered(pub(super) ClusterConnection);

/// The client sends again by itself what was lost with a server's connection.
impl Probe for Clustered {
    fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }
}

impl Connection for Clustered {
    fn send<'a>(&'a self, command: &'a Cmd) -> Boxed<'a, Value> {
        let mut connection = self.0.clone();
        Box::pin(async move { checked(connection.req_packed_command(command).await?) })
    }

    fn send_all<'a>(&'a self, batch: &'a Batch) -> Boxed<'a, Vec<Answer>> {
        let mut slots: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (index, (slot, _)) in batch.0.iter().enumerate() {
            slots.entry(*slot).or_default().push(index);
        }
        Box::pin(async move {
            let groups = slots.values().map(|indexes| {
                let commands = indexes.iter().map(|&index| &batch.0[index].1);
                send_together(self.0.clone(), commands)
            });
            let mut answers: Vec<Option<Answer>> = batch.0.iter().map(|_| None).collect();
            for (indexes, group) in slots.values().zip(join_all(groups).await) {
                for (&index, answer) in indexes.iter().zip(group?) {
                    answers[index] = Some(answer);
                }
            }
            let lost = || Err((redis::ErrorKind::Client, "a command was not answered").into());
            Ok(answers.into_iter().map(|answer| answer.unwrap_or_else(lost)).collect())
        })
    }

    fn send_transaction<'a>(&'a self, batch: &'a Batch) -> Boxed<'a, Option<Vec<Value>>> {
        Box::pin(in_transaction(self.0.clone(), batch))
    }
}

/// One pipeline.
async fn send_together<'a, C: ConnectionLike>(
    mut connection: C,
    commands: impl Iterator<Item = &'a Cmd>,
) -> RedisResult<Vec<Answer>> {
    let mut pipeline = Pipeline::new();
    for command in commands {
        pipeline.add_command(command.clone());
    }
    let count = pipeline.len();
    let answers = connection.req_packed_commands(&pipeline, 0, count).await?;
    Ok(answers.into_iter().map(checked).collect())
}

/// The client has what a server refuses for an answer like others.
pub(super) fn checked(answer: Value) -> Answer {
    match answer {
        Value::ServerError(error) => Err(RedisError::from(error)),
        answer => Ok(answer),
    }
}
