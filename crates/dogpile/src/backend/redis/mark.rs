//! The key of a mark, which lies beside a value while that is being created.

use super::{Shared, slot};
use crate::backend::{BackendError, own_mark_key};
use crate::remote::prefix::KeyPrefix;

impl Shared {
    /// Keys that are the library's own are nobody's values.
    pub(super) fn check_key(&self, key: &str) -> Result<(), BackendError> {
        let prefix = &self.options.lock_prefix;
        if key.starts_with(&**prefix) || self.is_mark(key.as_bytes()) {
            return Err(BackendError::refused(format!(
                "keys that begin with `{prefix}` or `{}_mark{{` are locks and marks: give the region another key mangler or prefix",
                self.options.key_prefix.as_str(),
            )));
        }
        Ok(())
    }

    /// Returns the key of the mark of the stored key `key`, which lies in the slot of that.
    pub(super) fn mark_of(&self, key: &str) -> String {
        mark_of(&self.options.key_prefix, key)
    }

    pub(super) fn is_mark(&self, key: &[u8]) -> bool {
        self.may_be_mark(key, b"")
    }

    /// May `key` be that of the mark of a stored key that begins with `prefix`? See
    /// [`mark_of`].
    pub(super) fn may_be_mark(&self, key: &[u8], prefix: &[u8]) -> bool {
        let marked = self.options.key_prefix.given(key);
        let Some(marked) = marked.and_then(|key| key.strip_prefix(MARK.as_bytes())) else {
            return false;
        };
        let behind_tag = marked.iter().position(|&byte| byte == b'}').map(|end| &marked[end + 1..]);
        marked.starts_with(prefix) || behind_tag.is_some_and(|key| key.starts_with(prefix))
    }

    /// Can one script take both the value and its lock?
    pub(super) fn are_together(&self, key: &str, lock: &str) -> bool {
        !self.target.is_cluster() || slot::of(key) == slot::of(lock)
    }

    /// The keys that a script about `key` needs.
    pub(super) fn keys_of<'a>(&self, key: &'a str, mark: &'a str, lock: &'a str) -> Vec<&'a str> {
        let mut keys = vec![key, mark];
        if self.options.locks && self.are_together(key, lock) {
            keys.push(lock);
        }
        keys
    }
}

/// The beginning of the key of a mark, behind the key prefix; see [`own_mark_key`].
pub(super) const MARK: &str = "_mark{";

/// The key of the mark of `key`, which lies in the slot of that.
fn mark_of(prefix: &KeyPrefix, key: &str) -> String {
    let slot = slot::of(key);
    let mark = prefix.stored(&own_mark_key(key)).into_owned();
    if slot::of(&mark) == slot {
        return mark;
    }
    // Braces of the key's own hide it: a number in braces that lies there stands for it.
    const MANY: u32 = 1 << 24;
    let tag = (0..MANY).find(|number| slot::of(number.to_string()) == slot).unwrap_or(0);
    prefix.stored(&format!("_mark{{{tag}}}{key}")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_lies_in_the_slot_of_its_key_and_is_no_other_keys() {
        let keys = ["k", "user:1", "a{b}c", "a{}b", "a}b", "}{", "{x", "{}", "", "a}b{c}", "x{y}}"];
        for prefix in ["", "app:", "{app}:"].map(KeyPrefix::new) {
            let mut marks = std::collections::HashSet::new();
            for key in keys.map(|key| prefix.stored(key)) {
                let mark = mark_of(&prefix, &key);
                assert_eq!(slot::of(&mark), slot::of(&*key), "{key}: {mark}");
                assert!(prefix.given(mark.as_bytes()).unwrap().starts_with(b"_mark{"));
                assert!(marks.insert(mark));
            }
        }
    }
}
