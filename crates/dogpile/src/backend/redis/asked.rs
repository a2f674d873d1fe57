//! Keys on their way to be claimed.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::Shared;
use super::lock::{Before, Claim, Held, LockToken};
use crate::backend::{BackendError, ClaimMode, Claimed, Seen, Wanted};
use crate::lock::Lease;
use crate::remote::life::Life;
use crate::remote::{lease, new_token};
use crate::value::Entry;

/// A key on its way to be claimed.
pub(super) struct Asked<'k> {
    pub(super) key: &'k str,
    pub(super) mode: ClaimMode,
    pub(super) lock: String,
    pub(super) mark: String,
    pub(super) token: String,
    /// Does it share the mark that is there?
    pub(super) shares: bool,
    /// May others share its mark?
    pub(super) is_shared: bool,
}

/// An attempt to claim keys. Dropped before its answers were read, it releases what it
/// may have locked.
pub(super) struct Attempt<'a, 'k> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) asked: &'a [Asked<'k>],
}

impl Attempt<'_, '_> {
    pub(super) fn ended(self) {
        std::mem::forget(self);
    }
}

/// Only on the way to no answer: [`ended`](Attempt::ended) forgets it.
impl Drop for Attempt<'_, '_> {
    fn drop(&mut self) {
        lease::give_up(self.shared, self.asked.iter().map(|asked| asked.token(true)));
    }
}

impl<'k> Asked<'k> {
    pub(super) fn new(shared: &Shared, wanted: &Wanted<'k>) -> Self {
        let Wanted { key, mode, .. } = *wanted;
        let (lock, mark) = (shared.lock_key(key), shared.mark_of(key));
        let is_shared = !shared.options.locks;
        let shares = is_shared && !mode.takes_over();
        Self { key, mode, lock, mark, token: new_token(), shares, is_shared }
    }

    /// Is the key claimed even where another program holds its lock?
    pub(super) fn forces(&self) -> bool {
        self.mode == ClaimMode::TakeOver
    }

    pub(super) fn token(&self, has_lock: bool) -> LockToken {
        let (value, is_shared) = (self.token.clone(), self.is_shared);
        if has_lock {
            LockToken { lock: self.lock.clone(), value, mark: Some(self.mark.clone()), is_shared }
        } else {
            LockToken { lock: self.mark.clone(), value, mark: None, is_shared }
        }
    }

    /// The key is claimed, and `token` is in its mark.
    pub(super) fn won(
        &self,
        shared: &Arc<Shared>,
        has_lock: bool,
        token: String,
        before: Before,
    ) -> Claimed {
        let held = Held::new(shared, LockToken { value: token, ..self.token(has_lock) });
        let claim = Claim { held, mark: self.mark.clone(), mode: self.mode, before };
        Claimed::Won(Lease::new(claim))
    }

    pub(super) fn outcome(
        &self,
        shared: &Arc<Shared>,
        has_lock: bool,
        answer: Value,
    ) -> Result<Claimed, BackendError> {
        let Value::Array(parts) = answer else {
            return Err(BackendError::other("protocol error: unexpected response to a claim"));
        };
        let mut parts = parts.into_iter();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (
                Some(Value::Int(1)),
                Some(Value::BulkString(state)),
                Some(Value::BulkString(token)),
                Some(Value::Int(left)),
            ) => {
                let before = Before { state: text(&state), life: life_of(left) };
                self.won(shared, has_lock, text(&token), before)
            }
            (Some(Value::Int(2)), Some(Value::BulkString(frame)), None, None) => {
                Claimed::Changed(Entry::from_frame(&frame.into()))
            }
            _ => Claimed::Held,
        })
    }
}

/// May a lock be taken from another creation?
pub(super) fn whose(mode: ClaimMode) -> &'static str {
    if mode.takes_over() { "ours" } else { "" }
}

/// The life of a value that has `left` milliseconds; unknown if that is negative.
pub(super) fn life_of(left: i64) -> Life {
    u64::try_from(left).map_or(Life::unknown(), |left| Life::of(Duration::from_millis(left)))
}

/// As the scripts have it.
pub(super) fn in_words(seen: Seen) -> String {
    match seen {
        Seen::Nothing => "nothing".to_owned(),
        Seen::Unreadable => "unreadable".to_owned(),
        Seen::Created(ct) => ct.to_string(),
    }
}
