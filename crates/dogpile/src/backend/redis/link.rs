//! A connection that is kept alive.
//!
//! A task on the I/O thread connects, and connects again when the connection is
//! lost. While it is down, callers fail at once instead of waiting: only those
//! who found out that it is down have paid for it (design: one time-out for
//! the first caller, nothing for the rest).

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::{Cmd, RedisError, RedisResult, Value};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::wire::{Answer, Batch, Wire};
use crate::backend::BackendError;
use crate::io;

/// Makes a connection.
pub(super) type Connect =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = RedisResult<Arc<dyn Wire>>> + Send>> + Send + Sync>;

/// How long what may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) connect: Duration,
    pub(super) response: Duration,
}

/// A connection to one place, lost and found. Clones share it.
#[derive(Clone)]
pub(super) struct Link(Arc<Inner>);

struct Inner {
    name: String,
    limits: Limits,
    connect: Connect,
    /// Set when the first caller comes.
    started: OnceLock<Started>,
}

struct Started {
    state: watch::Receiver<State>,
    /// Says that the connection of this number is lost.
    lost: watch::Sender<u64>,
}

#[derive(Clone)]
enum State {
    /// For the first time, or after a connection that worked: worth waiting.
    Connecting,
    Up {
        wire: Arc<dyn Wire>,
        number: u64,
    },
    /// The last attempt failed; the next one is under way or planned.
    Down(Arc<str>),
}

/// Between attempts: from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl Link {
    /// A link called `name` in messages. Nothing is connected before the first
    /// call.
    pub(super) fn new(name: String, limits: Limits, connect: Connect) -> Self {
        Self(Arc::new(Inner { name, limits, connect, started: OnceLock::new() }))
    }

    /// Sends a command. One that was lost with its connection is sent once
    /// more: every command of this backend can be.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, BackendError> {
        self.twice(|wire| async move { wire.send(command).await }).await
    }

    /// Sends a command whose own failure is an answer too.
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Answer, BackendError> {
        let asked = |wire: Arc<dyn Wire>| async move {
            match wire.send(command).await {
                Err(error) if is_end_of_connection(&error) => Err(error),
                answer => Ok(answer),
            }
        };
        self.twice(asked).await
    }

    /// Sends commands in one round trip; errors are among the answers.
    pub(super) async fn send_all(&self, batch: &Batch) -> Result<Vec<Answer>, BackendError> {
        let sent = |wire: Arc<dyn Wire>| async move {
            let mut answers = wire.send_all(batch).await?;
            let demoted = |answer: &Answer| answer.as_ref().is_err_and(is_of_a_replica);
            match answers.iter().position(demoted).map(|index| answers.swap_remove(index)) {
                Some(Err(error)) => Err(error),
                _ => Ok(answers),
            }
        };
        self.twice(sent).await
    }

    async fn twice<T, F>(&self, send: impl Fn(Arc<dyn Wire>) -> F) -> Result<T, BackendError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        match self.once(&send).await {
            Err(Lost::Dropped(_)) => self.once(&send).await.map_err(Lost::into_fault),
            other => other.map_err(Lost::into_fault),
        }
    }

    /// What the commands of a batch came to, if all went well.
    pub(super) async fn send_all_or_fail(&self, batch: &Batch) -> Result<Vec<Value>, BackendError> {
        let answers = self.send_all(batch).await?;
        answers.into_iter().map(|answer| answer.map_err(|error| self.fault(&error))).collect()
    }

    async fn once<T, F>(&self, send: impl Fn(Arc<dyn Wire>) -> F) -> Result<T, Lost>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let started = self.started()?;
        let (wire, number) = self.wire(started).await?;
        let limit = self.0.limits.response;
        let error = match io::within(limit, send(wire)).await? {
            Some(Ok(answer)) => return Ok(answer),
            Some(Err(error)) => error,
            None => {
                started.lose(number);
                let message = format!("{} did not answer within {limit:?}", self.0.name);
                return Err(Lost::Fault(BackendError::unavailable(message)));
            }
        };
        if is_end_of_connection(&error) {
            started.lose(number);
            return Err(Lost::Dropped(self.fault(&error)));
        }
        Err(Lost::Fault(self.fault(&error)))
    }

    /// What a failed command means to the engine.
    pub(super) fn fault(&self, error: &RedisError) -> BackendError {
        let message = format!("{}: {error}", self.0.name);
        match error.code() {
            Some("LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "READONLY" | "TRYAGAIN") | None => {
                BackendError::unavailable(message)
            }
            Some(_) => BackendError::other(message),
        }
    }

    /// The connection, waiting for it where that is promising.
    async fn wire(&self, started: &Started) -> Result<(Arc<dyn Wire>, u64), Lost> {
        let mut state = started.state.clone();
        let lost = *started.lost.borrow();
        let settled = state.wait_for(|state| match state {
            State::Connecting => false,
            // Known to be lost, but not cleared away yet.
            State::Up { number, .. } => *number > lost,
            State::Down(_) => true,
        });
        // The attempt has a limit of its own; this one is for a thread that
        // does not get to it.
        let limit = self.0.limits.connect.saturating_mul(2);
        let settled = io::within(limit, settled).await?;
        match settled.and_then(Result::ok).as_deref() {
            Some(State::Up { wire, number }) => Ok((wire.clone(), *number)),
            Some(State::Down(why)) => {
                let message = format!("{} is down: {why}", self.0.name);
                Err(Lost::Fault(BackendError::unavailable(message)))
            }
            Some(State::Connecting) | None => {
                let message = format!("{} cannot be connected to", self.0.name);
                Err(Lost::Fault(BackendError::unavailable(message)))
            }
        }
    }

    fn started(&self) -> Result<&Started, BackendError> {
        if let Some(started) = self.0.started.get() {
            return Ok(started);
        }
        let (state, watched) = watch::channel(State::Connecting);
        let (lost, losses) = watch::channel(0);
        let keep = keep_alive(Arc::downgrade(&self.0), io::home_of_caller(), state, losses);
        let started = self.0.started.get_or_init(|| Started { state: watched, lost });
        // If another caller was faster, this task finds its channel closed and
        // ends.
        io::spawn(keep)?;
        Ok(started)
    }
}

impl Started {
    fn lose(&self, number: u64) {
        self.lost.send_if_modified(|lost| {
            let news = *lost < number;
            *lost = (*lost).max(number);
            news
        });
    }
}

/// Why a command has no answer.
enum Lost {
    /// Its connection ended. Another may be better.
    Dropped(BackendError),
    Fault(BackendError),
}

impl Lost {
    fn into_fault(self) -> BackendError {
        match self {
            Self::Dropped(fault) | Self::Fault(fault) => fault,
        }
    }
}

impl From<BackendError> for Lost {
    fn from(fault: BackendError) -> Self {
        Self::Fault(fault)
    }
}

/// Connects, waits for the loss of the connection, connects again; as long as
/// the link is there.
///
/// The connection is driven at `home`, the runtime of the first caller, if it
/// has one with threads of its own: an answer that need not change threads is
/// quicker. When that runtime ends, the I/O thread takes over.
async fn keep_alive(
    link: std::sync::Weak<Inner>,
    mut home: Option<Handle>,
    state: watch::Sender<State>,
    mut losses: watch::Receiver<u64>,
) {
    let mut number = 0;
    let mut failures = 0;
    while let Some(inner) = link.upgrade() {
        let connecting = (inner.connect)();
        let connected = match &home {
            None => tokio::time::timeout(inner.limits.connect, connecting).await,
            Some(runtime) => {
                let there = runtime.spawn(connecting);
                match tokio::time::timeout(inner.limits.connect, there).await {
                    Ok(Ok(connected)) => Ok(connected),
                    Err(late) => Err(late),
                    Ok(Err(_ended)) => {
                        home = None;
                        continue;
                    }
                }
            }
        };
        let why = match connected {
            Ok(Ok(wire)) => {
                drop(inner);
                (number, failures) = (number + 1, 0);
                state.send_replace(State::Up { wire, number });
                if losses.wait_for(|lost| *lost >= number).await.is_err() {
                    return;
                }
                state.send_replace(State::Connecting);
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no connection within {:?}", inner.limits.connect),
        };
        drop(inner);
        state.send_replace(State::Down(why.into()));
        tokio::time::sleep(pause_after(failures)).await;
        failures += 1;
        if state.receiver_count() == 0 {
            return;
        }
    }
}

/// Twice as long after each failure, and never at the same moment as others.
pub(super) fn pause_after(failures: u32) -> Duration {
    let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_PAUSE);
    pause.mul_f64(0.5 + 0.5 * super::random_share())
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
