//! Looking into a backend from outside: what the `dogpile` command asks.
//! Regions never do.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde_json::Value;

use super::BackendError;
use crate::value::Entry;

/// The future of an inspection.
pub type Inspecting<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;

/// A backend that can list what it holds. Keys are as
/// they are stored: mangled, and past any proxies.
pub trait Inspect: Send + Sync + 'static {
    /// Lists up to `limit` keys that begin with `prefix`; the following ones when
    /// the last answer's [`next`](KeyPage::next) is handed in as `after`.
    ///
    /// Keys that come or go meanwhile may be listed or not. A server that cannot be read is an
    /// error, not an empty page.
    fn keys<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
        limit: usize,
    ) -> Inspecting<'a, KeyPage>;

    /// Returns the entry stored under a key of any bytes.
    fn entry<'a>(&'a self, key: &'a Key) -> Inspecting<'a, Option<Entry>>;

    /// Removes keys of any bytes; that there is none is fine.
    fn delete<'a>(&'a self, keys: &'a [Key]) -> Inspecting<'a, ()>;

    /// The creation locks that are held now.
    fn locks(&self) -> Inspecting<'_, Vec<HeldLock>>;

    /// Facts about the store, in the order in which to show them: names in
    /// `snake_case`, with their unit at the end (`_bytes`, `_seconds`).
    fn info(&self) -> Inspecting<'_, Vec<(&'static str, Value)>>;

    /// Removes values, and returns how many keys of those that were meant are left. Locks
    /// stay.
    ///
    /// On a server only entries of caches are removed, which have a header that can be read;
    /// a file is the cache's alone.
    fn clear<'a>(&'a self, what: Clear<'a>) -> Inspecting<'a, u64>;
}

/// The extent of a `clear`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clear<'a> {
    /// Only keys that begin so.
    pub prefix: &'a [u8],
    /// Also what other programs have stored.
    pub all: bool,
}

/// A key as it is stored: any bytes.
///
/// It is shown escaped: `\n`, `\\`, `\xff` for what is not text. [`from_escaped`](Self::from_escaped)
/// takes it back.
///
/// ```
/// use dogpile::backend::inspect::Key;
///
/// let key = Key::from(b"a\nb\xff".to_vec());
/// assert_eq!(key.to_string(), r"a\nb\xff");
/// assert_eq!(Key::from_escaped(r"a\nb\xff"), key);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<u8>);

impl Key {
    /// Reads a key as it is shown. A backslash that begins nothing known means itself.
    pub fn from_escaped(text: &str) -> Self {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('\\') {
            bytes.extend_from_slice(&rest.as_bytes()[..at]);
            let escape = &rest[at + 1..];
            let length = unescape(escape, &mut bytes).unwrap_or_else(|| {
                bytes.push(b'\\');
                0
            });
            rest = &escape[length..];
        }
        bytes.extend_from_slice(rest.as_bytes());
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key as text, if it is text.
    pub fn to_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

/// Reads what follows a backslash; how many bytes of `text` that was.
fn unescape(text: &str, into: &mut Vec<u8>) -> Option<usize> {
    let simple = |byte: u8| Some((vec![byte], 1));
    let (bytes, length) = match text.as_bytes().first()? {
        b'n' => simple(b'\n'),
        b'r' => simple(b'\r'),
        b't' => simple(b'\t'),
        b'\\' => simple(b'\\'),
        b'x' => {
            let digits = text.get(1..3)?;
            let value = u8::from_str_radix(digits, 16).ok();
            value.filter(|_| !digits.starts_with('+')).map(|byte| (vec![byte], 3))
        }
        b'u' => {
            let (digits, _) = text.strip_prefix("u{")?.split_once('}')?;
            let value = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
            value.map(|c| (c.to_string().into_bytes(), digits.len() + 3))
        }
        _ => None,
    }?;
    into.extend(bytes);
    Some(length)
}

/// Returns whether `c` steers a terminal, or turns the order of the text around it. Control
/// characters do, ends of lines, and marks of direction.
#[doc(hidden)]
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    c if steers(c) => write!(f, "{}", c.escape_default())?,
                    c => fmt::Write::write_char(f, c)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl PartialEq<str> for Key {
    fn eq(&self, text: &str) -> bool {
        self.0 == text.as_bytes()
    }
}

impl PartialEq<&str> for Key {
    fn eq(&self, text: &&str) -> bool {
        *self == **text
    }
}

/// Some of the keys of a backend.
#[derive(Debug, Clone, Default)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<KeyInfo>,
    /// The beginning of the next page; `None` if this was the last one.
    pub next: Option<Vec<u8>>,
}

/// A stored key.
#[derive(Debug, Clone)]
pub struct KeyInfo {
    /// The key.
    pub key: Key,
    /// The size of its value in bytes, header included, where it is known.
    pub value_bytes: Option<u64>,
}

/// A creation lock that somebody holds.
#[derive(Debug, Clone)]
pub struct HeldLock {
    /// The key, perhaps cut.
    pub key: String,
    /// A description of the holder.
    pub holder: String,
    /// For how long, where that is known.
    pub age: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shown_so_that_they_steer_nothing_and_are_taken_back() {
        let key = Key::from("a\u{202e}\u{2066}\u{9b}2J\u{2028}ü");
        assert_eq!(key.to_string(), r"a\u{202e}\u{2066}\u{9b}2J\u{2028}ü");
        assert_eq!(Key::from_escaped(&key.to_string()), key);
    }
}
