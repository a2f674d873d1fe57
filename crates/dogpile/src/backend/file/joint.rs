//! Steps of a transaction that several callers share, each with an outcome of its own.

use bytes::Bytes;
use futures_channel::oneshot::{self, Receiver};
use rusqlite::Connection;

use super::creations;
use super::database;
use super::error::FileError;
use crate::backend::BackendError;

/// A caller's step, carried out together with those of others.
pub(super) trait Step: Send + 'static {
    /// The answer.
    type Done: Send + 'static;

    /// Does its part of the transaction. It may be called again, when the transaction was
    /// rolled back.
    fn apply(&mut self, connection: &Connection) -> Result<(), FileError>;

    /// Returns what came of it, once the transaction is committed.
    fn done(self) -> Self::Done;
}

/// A step of any kind, and the way to its caller.
pub(super) trait Joint: Send {
    /// See [`Step::apply`].
    fn apply(&mut self, connection: &Connection) -> Result<(), FileError>;

    /// Tells the caller.
    fn settle(self: Box<Self>, outcome: Result<(), BackendError>);
}

struct Asked<S: Step> {
    step: S,
    done: oneshot::Sender<Result<S::Done, BackendError>>,
}

/// The outcome that a step's caller waits for.
pub(super) type Answer<S> = Receiver<Result<<S as Step>::Done, BackendError>>;

/// Returns `step` on its way to the writer, and its answer on the way back.
pub(super) fn ask<S: Step>(step: S) -> (Box<dyn Joint>, Answer<S>) {
    let (done, answer) = oneshot::channel();
    (Box::new(Asked { step, done }), answer)
}

impl<S: Step> Joint for Asked<S> {
    fn apply(&mut self, connection: &Connection) -> Result<(), FileError> {
        self.step.apply(connection)
    }

    fn settle(self: Box<Self>, outcome: Result<(), BackendError>) {
        let Self { step, done } = *self;
        let answer = match outcome {
            Ok(()) => Ok(step.done()),
            Err(error) => {
                // What it holds, a lock maybe, is free before its caller goes on.
                drop(step);
                Err(error)
            }
        };
        // Whoever asked may be gone.
        let _ = done.send(answer);
    }
}

/// A change to one entry, which ends the claims of creations to its key.
#[derive(Debug)]
pub(super) enum Change {
    Put { key: Box<str>, frame: Bytes },
    Delete { key: Box<str> },
}

impl Step for Vec<Change> {
    type Done = ();

    fn apply(&mut self, connection: &Connection) -> Result<(), FileError> {
        for change in self {
            match change {
                // Storing ends claims by a trigger.
                Change::Put { key, frame } => database::put(connection, key, frame)?,
                Change::Delete { key } => {
                    database::delete(connection, key)?;
                    // Where nothing is deleted, no trigger runs.
                    creations::end(connection, key)?;
                }
            }
        }
        Ok(())
    }

    fn done(self) {}
}
