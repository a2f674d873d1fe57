//! Keys: which ones a server takes, and what the library keeps beside a value.

use super::Shared;
use crate::backend::{BackendError, own_mark_key};
use crate::key::{self, Mangler};
use crate::remote::prefix::KeyPrefix;

/// The longest key that a server takes, in bytes.
const LONGEST: usize = 250;

/// The beginning of the key of a mark; see [`own_mark_key`].
const MARK: &str = "_mark{";

/// The character after a key in that of its mark.
const MARK_END: char = '}';

/// The key whose mark this is, or the key itself if it is no mark's.
pub(super) fn without_mark<'k>(prefix: &KeyPrefix, key: &'k str) -> &'k str {
    let rest = key.strip_prefix(prefix.as_str()).and_then(|rest| rest.strip_prefix(MARK));
    rest.and_then(|rest| rest.strip_suffix(MARK_END)).unwrap_or(key)
}

impl Shared {
    /// The longest stored key of a value, in bytes: its lock and its mark have longer ones.
    fn longest_key(&self) -> usize {
        let prefix = self.options.key_prefix.as_str().len();
        let mark = prefix + MARK.len() + MARK_END.len_utf8();
        LONGEST - self.options.lock_prefix.len().max(mark)
    }

    pub(super) fn mangler(&self) -> Mangler {
        key::for_memcached(self.longest_key() - self.options.key_prefix.as_str().len())
    }

    /// The key of the mark of the stored key `key`.
    pub(super) fn mark_key(&self, key: &str) -> String {
        self.options.key_prefix.stored(&own_mark_key(key)).into_owned()
    }

    /// The same; none where that would be longer than a server takes. Such a key was never
    /// claimed.
    pub(super) fn mark_of(&self, key: &str) -> Option<String> {
        let mark = self.mark_key(key);
        (mark.len() <= LONGEST).then_some(mark)
    }

    pub(super) fn is_mark(&self, key: &str) -> bool {
        key.strip_prefix(self.options.key_prefix.as_str()).is_some_and(|k| k.starts_with(MARK))
    }

    pub(super) fn is_lock(&self, key: &str) -> bool {
        key.starts_with(&*self.options.lock_prefix)
    }

    /// Is it a key of the library's own, which is nobody's value?
    pub(super) fn is_own(&self, key: &str) -> bool {
        self.is_lock(key) || self.is_mark(key)
    }

    /// Keys of the library's own, and those that the server would take for something
    /// else, must not reach it.
    pub(super) fn check_key(&self, key: &str) -> Result<(), BackendError> {
        let longest = self.longest_key();
        if self.is_own(key) {
            let (prefix, own) = (&self.options.lock_prefix, self.options.key_prefix.as_str());
            return Err(BackendError::refused(format!(
                "keys that begin with `{prefix}` or `{own}{MARK}` are locks and marks: give the region another key mangler or prefix"
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

    /// The key of the lock of the stored key `key`.
    pub(super) fn lock_key(&self, key: &str) -> Result<String, BackendError> {
        self.check_key(key)?;
        Ok([&self.options.lock_prefix, key].concat())
    }
}
