//! Keys: which ones a server takes, and what the library keeps beside a value.

use super::Shared;
use crate::backend::{BackendError, own_mark_key};
use crate::key::{self, Mangler};

/// The longest key that a server takes, in bytes.
const LONGEST: usize = 250;

/// The beginning of the key of a mark; see [`own_mark_key`].
const MARK: &str = "_mark{";

/// What follows a key in that of its mark.
const MARK_END: char = '}';

pub(super) fn is_mark(key: &str) -> bool {
    key.starts_with(MARK)
}

/// The key whose mark this is, or the key itself if it is no mark's.
pub(super) fn without_mark(key: &str) -> &str {
    let marked = key.strip_prefix(MARK).and_then(|rest| rest.strip_suffix(MARK_END));
    marked.unwrap_or(key)
}

/// The key of the mark of `key`; none where that would be longer than a server takes.
/// Such a key was never claimed.
pub(super) fn mark_of(key: &str) -> Option<String> {
    let mark = own_mark_key(key);
    (mark.len() <= LONGEST).then_some(mark)
}

impl Shared {
    /// The longest key of a value, in bytes: its lock and its mark have longer ones.
    fn longest_key(&self) -> usize {
        let mark = MARK.len() + MARK_END.len_utf8();
        LONGEST - self.options.lock_prefix.len().max(mark)
    }

    pub(super) fn mangler(&self) -> Mangler {
        key::for_memcached(self.longest_key())
    }

    pub(super) fn is_lock(&self, key: &str) -> bool {
        key.starts_with(&*self.options.lock_prefix)
    }

    /// Is it a key of the library's own, which is nobody's value?
    pub(super) fn is_own(&self, key: &str) -> bool {
        self.is_lock(key) || is_mark(key)
    }

    /// Keys of the library's own, and those that the server would take for something
    /// else, must not reach it.
    pub(super) fn check_key(&self, key: &str) -> Result<(), BackendError> {
        let longest = self.longest_key();
        if self.is_own(key) {
            let prefix = &self.options.lock_prefix;
            return Err(BackendError::refused(format!(
                "keys that begin with `{prefix}` or `{MARK}` are locks and marks: give the region another key mangler or prefix"
            )));
        }
        if key.len() > longest {
            return Err(BackendError::refused(format!(
                "the key has {} bytes, and {longest} are allowed: memcached takes {LONGEST}, and what is stored beside a value has a longer key than that; let the region mangle keys",
                key.len()
            )));
        }
        if key.is_empty() || key.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(BackendError::refused(
                "memcached's keys are not empty and have neither spaces nor control characters: let the region mangle them",
            ));
        }
        Ok(())
    }

    /// The key of the lock of `key`.
    pub(super) fn lock_key(&self, key: &str) -> Result<String, BackendError> {
        self.check_key(key)?;
        Ok([&self.options.lock_prefix, key].concat())
    }
}
