//! Sending commands over a link, and what their failures mean.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use redis::{Cmd, RedisError, RedisResult, Value};

use super::connect::Target;
use super::connection::{Answer, Batch, Connection};
use crate::backend::BackendError;
use crate::bridge::is_blocking;
use crate::remote::link::{self, Driver, Limits, Lost};

/// A connection to one server, or to a cluster. Every command of this backend
/// can be sent twice.
pub(super) type Link = link::Link<dyn Connection>;

/// A link called `name` whose connections `connect` makes.
pub(super) fn open<F>(
    name: String,
    limits: Limits,
    driver: Driver,
    connect: impl Fn() -> F + Send + Sync + 'static,
) -> Link
where
    F: Future<Output = RedisResult<Arc<dyn Connection>>> + Send + 'static,
{
    let connect = move || {
        let connecting = connect();
        let connecting = async { connecting.await.map_err(|error| error.to_string()) };
        Box::pin(connecting) as Pin<Box<_>>
    };
    Link::new(name, limits, driver, Box::new(connect))
}

/// A link to the servers of `target`.
pub(super) fn to(target: &Target, limits: Limits, driver: Driver) -> Link {
    let (name, target) = (target.describe(), target.clone());
    open(name, limits, driver, move || {
        let target = target.clone();
        async move { target.connect().await }
    })
}

impl Link {
    pub(super) fn send(&self, command: &Cmd) -> impl Future<Output = Result<Value, BackendError>> {
        let sent = move |connection: Arc<dyn Connection>| async move {
            connection.send(command).await.map_err(|error| self.lost(&error))
        };
        self.request(sent)
    }

    /// Sends a command whose own failure is an answer too.
    pub(super) fn ask(&self, command: &Cmd) -> impl Future<Output = Result<Answer, BackendError>> {
        self.ask_as(false, command, 0)
    }

    /// The same where `bytes` are sent or come back.
    #[cfg(feature = "collections")]
    pub(super) fn ask_for(
        &self,
        command: &Cmd,
        bytes: usize,
    ) -> impl Future<Output = Result<Answer, BackendError>> {
        self.ask_as(false, command, bytes)
    }

    /// The same as `ask` for a command that changes nothing. A blocking caller may get its answer
    /// quicker.
    pub(super) fn read(&self, command: &Cmd) -> impl Future<Output = Result<Answer, BackendError>> {
        self.ask_as(true, command, 0)
    }

    fn ask_as(
        &self,
        is_read: bool,
        command: &Cmd,
        bytes: usize,
    ) -> impl Future<Output = Result<Answer, BackendError>> {
        let asked = move |connection: Arc<dyn Connection>| async move {
            let is_blocking = is_read && is_blocking().await;
            let asked =
                if is_blocking { connection.read(command) } else { connection.send(command) };
            match asked.await {
                Err(error) if is_end_of_connection(&error) => Err(self.lost(&error)),
                answer => Ok(answer),
            }
        };
        self.request_within(self.limit_of(bytes), asked)
    }

    /// Sends commands in one round trip; errors are among the answers.
    pub(super) fn send_all(
        &self,
        batch: &Batch,
    ) -> impl Future<Output = Result<Vec<Answer>, BackendError>> {
        self.send_all_of(batch, 0)
    }

    /// The same where `bytes` are sent.
    pub(super) fn send_all_of(
        &self,
        batch: &Batch,
        bytes: usize,
    ) -> impl Future<Output = Result<Vec<Answer>, BackendError>> {
        let sent = move |connection: Arc<dyn Connection>| async move {
            let answers = connection.send_all(batch).await.map_err(|error| self.lost(&error))?;
            let demoted = answers.iter().filter_map(|answer| answer.as_ref().err());
            match demoted.into_iter().find(|error| is_of_a_replica(error)) {
                Some(error) => Err(self.lost(error)),
                None => Ok(answers),
            }
        };
        self.request_within(self.limit_of(bytes), sent)
    }

    /// Sends commands about keys of one slot as a transaction; none if one of them did
    /// nothing, or was an error.
    pub(super) fn send_transaction(
        &self,
        batch: &Batch,
    ) -> impl Future<Output = Result<Option<Vec<Value>>, BackendError>> {
        let sent = move |connection: Arc<dyn Connection>| async move {
            connection.send_transaction(batch).await.map_err(|error| self.lost(&error))
        };
        self.request(sent)
    }

    /// Returns the answers to the commands of a batch, if all went well.
    pub(super) async fn send_all_or_fail(&self, batch: &Batch) -> Result<Vec<Value>, BackendError> {
        let answers = self.send_all(batch).await?;
        answers
            .into_iter()
            .map(|answer| answer.map_err(|error| self.backend_error(&error)))
            .collect()
    }

    /// Returns the backend error for a failed command.
    pub(super) fn backend_error(&self, error: &RedisError) -> BackendError {
        let message = format!("{}: {error}", self.name());
        match error.code() {
            // A client that still gets one of the last three has followed them in vain.
            Some("READONLY" | "MISCONF" | "OOM" | "NOREPLICAS") => BackendError::read_only(message),
            Some("LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "MOVED" | "ASK")
            | None => BackendError::unavailable(message),
            Some(_) => BackendError::other(message),
        }
    }

    fn lost(&self, error: &RedisError) -> Lost {
        let lost = self.backend_error(error);
        if is_end_of_connection(error) { Lost::Dropped(lost) } else { Lost::Error(lost) }
    }
}

/// Is this the end of the connection, rather than an answer? A master that has
/// become a replica must be left too.
fn is_end_of_connection(error: &RedisError) -> bool {
    error.is_connection_dropped()
        || error.is_io_error()
        || error.is_unrecoverable_error()
        || is_of_a_replica(error)
}

fn is_of_a_replica(error: &RedisError) -> bool {
    error.code() == Some("READONLY")
}
