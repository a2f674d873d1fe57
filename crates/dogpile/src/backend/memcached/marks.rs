//! Marks: what a creation puts beside a value, and any change of the key removes.

use bytes::Bytes;

use super::Shared;
use super::answer::Answer;
use super::protocol::{Number, Reply, Request};
use super::servers::Servers;

/// A mark that was put, here or by another creation that shares it.
#[derive(Clone)]
pub(super) struct Mark {
    pub(super) key: String,
    pub(super) number: Number,
    /// Its content: a server that was started again begins its numbers again.
    pub(super) token: Bytes,
}

impl Mark {
    pub(super) fn removing(&self) -> Request<'_> {
        self.removing_as(self.number)
    }

    fn removing_as(&self, number: Number) -> Request<'_> {
        Request::Delete { key: &self.key, number: Some(number) }
    }

    pub(super) fn looking(&self) -> Request<'_> {
        Request::Get { key: &self.key, value: true }
    }

    /// Is it still there? One that was removed and put again has another number.
    pub(super) fn is_whole(&self, looked: &Reply) -> bool {
        self.number_in(looked).is_some()
    }

    /// Its number as it was read now, if it is still there.
    fn number_in(&self, looked: &Reply) -> Option<Number> {
        match looked {
            Reply::Item { number, value, .. } => {
                (*number == self.number && *value == self.token).then_some(*number)
            }
            _ => None,
        }
    }
}

impl Shared {
    /// Removes `mark`, if it is whole, after `removed` was the answer to a first attempt.
    /// That is refused also where the connection is younger than what is known of the mark.
    pub(super) async fn remove_mark(
        &self,
        servers: &Servers,
        mark: &Mark,
        removed: Answer,
    ) -> Answer {
        if !matches!(removed, Ok(Reply::Refused)) {
            return removed;
        }
        match mark.number_in(&servers.ask(mark.looking()).await?) {
            Some(number) => servers.ask(mark.removing_as(number)).await,
            None => Ok(Reply::Missing),
        }
    }

    /// Removes marks that are whole. Those that stay end by themselves.
    pub(super) async fn remove_marks_of(&self, servers: &Servers, marks: &[Mark]) {
        let removed = servers.ask_all(marks.iter().map(Mark::removing).collect()).await;
        for (mark, removed) in marks.iter().zip(removed) {
            let _ = self.remove_mark(servers, mark, removed).await;
        }
    }
}
