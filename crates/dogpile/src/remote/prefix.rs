//! The prefix of all keys that a backend writes.

use std::borrow::Cow;

use crate::backend::{BackendError, ClaimMode, Wanted};

/// A prefix that stands before every key on the server: of values, locks and marks. It is
/// empty unless the user asked for one.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyPrefix(String);

/// Longer ones would leave too little of memcached's 250 bytes.
const LONGEST: usize = 64;

impl KeyPrefix {
    pub(crate) fn new(prefix: &str) -> Self {
        Self(prefix.to_owned())
    }

    pub(crate) fn check(&self) -> Result<(), BackendError> {
        let wrong = |why| Err(BackendError::other(format!("the key prefix `{}` {why}", self.0)));
        if self.0.len() > LONGEST {
            return wrong("is longer than 64 bytes");
        }
        if self.0.chars().any(|char| char.is_whitespace() || char.is_control()) {
            return wrong("has white space or control characters");
        }
        let braces: String = self.0.chars().filter(|char| matches!(char, '{' | '}')).collect();
        if self.0.contains("{}") || !matches!(&*braces, "" | "{}") {
            return wrong("has braces that are not one hash tag, such as `{app}:`");
        }
        Ok(())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns what `key` is called on the server.
    pub(crate) fn stored<'k>(&self, key: &'k str) -> Cow<'k, str> {
        if self.0.is_empty() { key.into() } else { [&self.0, key].concat().into() }
    }

    /// The same for keys of any bytes.
    pub(crate) fn stored_bytes(&self, key: &[u8]) -> Vec<u8> {
        [self.0.as_bytes(), key].concat()
    }

    /// Returns the key that is called `stored` on the server; `None` if it lies outside.
    pub(crate) fn given<'k>(&self, stored: &'k [u8]) -> Option<&'k [u8]> {
        stored.strip_prefix(self.0.as_bytes())
    }

    /// Returns keys to be claimed as they are stored, for a claim that may outlive its caller.
    pub(crate) fn wanted(&self, keys: &[Wanted<'_>]) -> Vec<(String, ClaimMode)> {
        keys.iter().map(|wanted| (self.stored(wanted.key).into_owned(), wanted.mode)).collect()
    }
}

/// Returns borrowed forms of `keys`.
pub(crate) fn borrowed(keys: &[(String, ClaimMode)]) -> Vec<Wanted<'_>> {
    keys.iter().map(|(key, mode)| Wanted::new(key, *mode)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_put_before_and_taken_away() {
        let prefix = KeyPrefix::new("app:");
        assert_eq!(prefix.stored("k"), "app:k");
        assert_eq!(prefix.given(b"app:k"), Some(&b"k"[..]));
        assert_eq!(prefix.given(b"other:k"), None);
        assert!(matches!(KeyPrefix::default().stored("k"), Cow::Borrowed("k")));
    }

    #[test]
    fn prefixes_that_would_break_keys_are_refused() {
        for good in ["", "app:", "{app}:", "a/b.c_d-", "\u{e4}:"] {
            assert!(KeyPrefix::new(good).check().is_ok(), "{good}");
        }
        for bad in ["a b", "a\n", "a{b", "a}b", "}{", "{}", "{a}{b}", &"x".repeat(65)] {
            assert!(KeyPrefix::new(bad).check().is_err(), "{bad}");
        }
    }
}
