//! Changes without a claim: each ends the claim of a creation of its key.

use bytes::Bytes;

use super::Shared;
use super::frame::Frame;
use super::scripts::{CHANGE, Call};
use crate::backend::BackendError;

/// A change to a key, for all who make one without a claim.
pub(super) struct Change<'k> {
    pub(super) key: &'k str,
    /// None removes what is stored.
    pub(super) frame: Option<Frame>,
}

/// So many changes are made by one run of the script: the server does nothing else
/// meanwhile.
const CHANGES_TOGETHER: usize = 64;

impl Shared {
    /// Makes changes, each of which ends the claim of a creation of its key.
    pub(super) async fn change(&self, changes: Vec<Change<'_>>) -> Result<(), BackendError> {
        if changes.is_empty() {
            return Ok(());
        }
        let stored = changes.iter().filter(|change| change.frame.is_some());
        stored.map(|change| change.key).try_for_each(|key| self.check_key(key))?;
        // Keys of a cluster lie in different slots.
        let together = if self.target.is_cluster() { 1 } else { CHANGES_TOGETHER };
        let calls = changes.chunks(together).map(|changes| self.changing(changes)).collect();
        match self.run(calls).await? {
            Some(_) => Ok(()),
            None => self.change_plainly(&changes).await,
        }
    }

    fn changing(&self, changes: &[Change<'_>]) -> Call {
        let mut keys = Vec::with_capacity(3 * changes.len());
        let mut arguments = vec![Bytes::new()];
        for Change { key, frame } in changes {
            let (mark, lock) = (self.mark_of(key), self.lock_key(key));
            let of_key = self.keys_of(key, &mark, &lock).into_iter().map(str::to_owned);
            keys.extend(of_key);
            let stored = frame.as_ref().map(|frame| [frame.bytes.clone(), frame.retention()]);
            arguments.extend(stored.unwrap_or_default());
        }
        arguments[0] = (keys.len() / changes.len().max(1)).to_string().into();
        Call::of(&CHANGE, keys, arguments)
    }
}
