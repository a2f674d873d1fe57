//! Creators of blocking calls that turn out to be ones that must not wait.

use super::super::Region;
use super::super::kind::Kind;
use super::super::lookup::Answer;
use super::would_deadlock;
use crate::bridge::blocking_is_allowed;
use crate::error::{CreateError, Result};
use crate::log;
use crate::sync::Mutex;

/// A creator whose call may turn out to be one that must not wait: then it
/// runs outside, or what it created before that is saved.
pub(super) struct Starvable<F, T, E> {
    creator: Mutex<Option<F>>,
    made: Mutex<Option<Result<T, E>>>,
}

impl<F, T, E> Starvable<F, T, E>
where
    F: FnOnce() -> Result<T, E>,
    T: Clone,
{
    pub(super) fn new(creator: F) -> Self {
        Self { creator: Mutex::new(Some(creator)), made: Mutex::new(None) }
    }

    pub(super) fn run(&self) -> Result<T, E> {
        let creator = self.creator.lock().take();
        let Some(creator) = creator else { unreachable!("one key is created once") };
        let made = creator();
        if let Ok(value) = &made
            && !blocking_is_allowed()
        {
            *self.made.lock() = Some(Ok(value.clone()));
        }
        made
    }

    pub(super) fn rescue<K: Kind>(
        &self,
        region: &Region<K>,
        strict: bool,
    ) -> Result<Answer<T>, CreateError<E>> {
        let error = would_deadlock(region);
        if strict {
            return Err(CreateError::Cache(error));
        }
        log::running_uncached(region.name(), &error);
        region.count_uncached();
        let made = self.made.lock().take();
        let creator = self.creator.lock().take();
        match (made, creator) {
            (Some(made), _) => made.map(Answer::uncached).map_err(CreateError::Creator),
            (None, Some(creator)) => creator().map(Answer::uncached).map_err(CreateError::Creator),
            (None, None) => unreachable!("the creator ran, and what it made was saved"),
        }
    }
}
