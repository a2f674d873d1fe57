//! An object as the memory backend stores it, with its key beside it.
//!
//! The map under that backend gives values away as clones. A key it shows by reference, to
//! whoever asks for an equal one. So the object lies beside its key: a hit looks at it where it
//! is, and takes no reference count but that of the value.

use std::cell::Cell;
use std::hash::{Hash, Hasher};

use quick_cache::Equivalent;

use crate::clock::Timestamp;
use crate::key::{AskedKey, hash_of};
use crate::value::Object;

/// A key as it is stored, and what lies beside it.
pub(crate) struct Stored<T = Object> {
    key: Key,
    pub(super) object: T,
}

impl<T> Stored<T> {
    pub(crate) fn new(key: &str, object: T) -> Self {
        Self { key: Key::new(key), object }
    }

    pub(super) fn key(&self) -> &str {
        str::from_utf8(self.key.as_bytes()).unwrap_or_default()
    }
}

impl<T> PartialEq for Stored<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key.as_bytes() == other.key.as_bytes()
    }
}

impl<T> Eq for Stored<T> {}

impl<T> Hash for Stored<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(hash_of(self.key.as_bytes()));
    }
}

/// The text of a key. A short one lies in the map itself: another pointer to follow would be a
/// third of a hit among many entries.
enum Key {
    Short { length: u8, bytes: [u8; Key::SHORT] },
    Long(Box<[u8]>),
}

impl Key {
    /// As much as has room where a pointer and its tag would lie otherwise.
    const SHORT: usize = 22;

    fn new(text: &str) -> Self {
        let text = text.as_bytes();
        match u8::try_from(text.len()) {
            Ok(length) if text.len() <= Self::SHORT => {
                let mut bytes = [0; Self::SHORT];
                bytes[..text.len()].copy_from_slice(text);
                Self::Short { length, bytes }
            }
            _ => Self::Long(text.into()),
        }
    }

    #[inline]
    fn is(&self, asked: &[u8]) -> bool {
        match self {
            Self::Short { length, bytes } => {
                usize::from(*length) == asked.len() && begins_with(bytes, asked)
            }
            Self::Long(bytes) => **bytes == *asked,
        }
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes,
        }
    }
}

/// Do these bytes begin with a key that is asked for? Looked at in pieces which overlap: to call a function
/// that compares any texts would be a tenth of a hit.
#[inline]
fn begins_with(bytes: &[u8; Key::SHORT], asked: &[u8]) -> bool {
    let Some(begin) = bytes.get(..asked.len()) else { return false };
    if let (Some(first), Some(last)) = (asked.first_chunk::<8>(), asked.last_chunk::<8>()) {
        let middle = asked.get(8..16).and_then(<[u8]>::first_chunk::<8>);
        let second = bytes[8..16].first_chunk::<8>();
        return begin.first_chunk() == Some(first)
            && begin.last_chunk() == Some(last)
            && (middle.is_none() || middle == second);
    }
    if let (Some(first), Some(last)) = (asked.first_chunk::<4>(), asked.last_chunk::<4>()) {
        return begin.first_chunk() == Some(first) && begin.last_chunk() == Some(last);
    }
    begin.iter().zip(asked).all(|(one, other)| one == other)
}

/// The moments of an object's creation. Each is a word: where they are packed, the compiler copies them in
/// other pieces than it writes them in, and a hit waits for that as long as for all the rest.
#[derive(Clone, Copy)]
pub(super) struct Moments {
    /// Not a number where the object says more than these.
    pub(super) ct: Timestamp,
    pub(super) begun: Timestamp,
}

/// A key that is asked for, as bytes: nobody needs to look whether they are text.
pub(crate) struct Asked<'k> {
    bytes: &'k [u8],
    hash: u64,
}

impl<'k> Asked<'k> {
    #[inline]
    pub(crate) fn of(key: impl Into<AskedKey<'k>>) -> Self {
        let (bytes, hash) = key.into().hashed();
        Self { bytes, hash }
    }
}

impl Hash for Asked<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<T> Equivalent<Stored<T>> for Asked<'_> {
    #[inline]
    fn equivalent(&self, stored: &Stored<T>) -> bool {
        stored.key.is(self.bytes)
    }
}

/// A key that is asked for, with a look at the object under it. That is called under the lock of a part
/// of the map.
pub(crate) struct Looking<'k, F, S> {
    asked: Asked<'k>,
    look: F,
    seen: Cell<Option<S>>,
}

impl<'k, F, S> Looking<'k, F, S> {
    pub(crate) fn new<T>(asked: Asked<'k>, look: F) -> Self
    where
        F: Fn(&T) -> Option<S>,
    {
        Self { asked, look, seen: Cell::new(None) }
    }

    /// Returns what the look has taken of the object.
    #[inline]
    pub(crate) fn seen(self) -> Option<S> {
        self.seen.into_inner()
    }
}

impl<F, S> Hash for Looking<'_, F, S> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.asked.hash(state);
    }
}

impl<T, F: Fn(&T) -> Option<S>, S> Equivalent<Stored<T>> for Looking<'_, F, S> {
    #[inline]
    fn equivalent(&self, stored: &Stored<T>) -> bool {
        let is_it = self.asked.equivalent(stored);
        if is_it {
            self.seen.set((self.look)(&stored.object));
        }
        is_it
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn keys_of_all_lengths_are_found() {
        for length in [0, 1, Key::SHORT, Key::SHORT + 1, 300] {
            let key = "k".repeat(length);
            let stored = Stored::new(&key, Object::new(1));
            assert_eq!(stored.key(), key);
            assert!(Asked::of(&*key).equivalent(&stored));
            assert!(!Asked::of("other").equivalent(&stored));
        }
    }

    #[test]
    fn every_byte_of_a_key_counts() {
        for length in 0..Key::SHORT + 10 {
            let key = "k".repeat(length);
            let stored = Stored::new(&key, Object::new(1));
            for other in [0, length + 1, length.saturating_sub(1)] {
                let is_it = Asked::of(&*"k".repeat(other)).equivalent(&stored);
                assert_eq!(is_it, other == length);
            }
            for at in 0..length {
                let mut other = key.clone();
                other.replace_range(at..=at, "l");
                assert!(!Asked::of(&*other).equivalent(&stored), "{other}");
            }
        }
    }
}
