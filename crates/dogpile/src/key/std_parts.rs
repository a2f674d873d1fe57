//! The standard library's collections, paths and times as parts of keys.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, LinkedList, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::text::{KeyPart, KeyText};

fn ordered<'a, T: KeyPart + 'a>(items: impl IntoIterator<Item = &'a T>, key: &mut KeyText) {
    key.list(|list| items.into_iter().for_each(|item| list.item(|key| item.write_key(key))));
}

macro_rules! sequences {
    ($([$($generics:tt)*] $type:ty;)*) => {
        $(
            impl<T: KeyPart, $($generics)*> KeyPart for $type {
                fn write_key(&self, key: &mut KeyText) {
                    ordered(self, key);
                }
            }
        )*
    };
}

sequences! {
    [] [T];
    [] Vec<T>;
    [const N: usize] [T; N];
    [] VecDeque<T>;
    [] LinkedList<T>;
    [] BTreeSet<T>;
}

impl<T: KeyPart, S> KeyPart for HashSet<T, S> {
    fn write_key(&self, key: &mut KeyText) {
        key.unordered(self.iter(), KeyPart::write_key);
    }
}

impl<Q: KeyPart, V: KeyPart> KeyPart for BTreeMap<Q, V> {
    fn write_key(&self, key: &mut KeyText) {
        key.list(|list| {
            self.iter().for_each(|(name, value)| list.item(|key| key.sequence(&[name, value])));
        });
    }
}

impl<Q: KeyPart, V: KeyPart, S> KeyPart for HashMap<Q, V, S> {
    fn write_key(&self, key: &mut KeyText) {
        key.unordered(self.iter(), |(name, value), key| key.sequence(&[name, value]));
    }
}

impl KeyPart for () {
    fn write_key(&self, key: &mut KeyText) {
        key.sequence(&[]);
    }
}

impl KeyPart for OsStr {
    /// Writes text as text, and each byte that is none in hex.
    fn write_key(&self, key: &mut KeyText) {
        for chunk in self.as_encoded_bytes().utf8_chunks() {
            let _ = key.write_str(chunk.valid());
            key.bytes(chunk.invalid());
        }
    }
}

impl KeyPart for OsString {
    fn write_key(&self, key: &mut KeyText) {
        self.as_os_str().write_key(key);
    }
}

impl KeyPart for Path {
    fn write_key(&self, key: &mut KeyText) {
        self.as_os_str().write_key(key);
    }
}

impl KeyPart for PathBuf {
    fn write_key(&self, key: &mut KeyText) {
        self.as_os_str().write_key(key);
    }
}

/// Writes seconds, with a fraction where there is one.
fn seconds(sign: &str, duration: Duration, key: &mut KeyText) {
    let (whole, fraction) = (duration.as_secs(), duration.subsec_nanos());
    let _ = if fraction == 0 {
        write!(key, "{sign}{whole}")
    } else {
        write!(key, "{sign}{whole}.{fraction:09}")
    };
}

impl KeyPart for Duration {
    /// Writes the seconds.
    fn write_key(&self, key: &mut KeyText) {
        seconds("", *self, key);
    }
}

impl KeyPart for SystemTime {
    /// Writes the seconds since the Unix epoch.
    fn write_key(&self, key: &mut KeyText) {
        match self.duration_since(UNIX_EPOCH) {
            Ok(after) => seconds("", after, key),
            Err(before) => seconds("-", before.duration(), key),
        }
    }
}

#[cfg(feature = "serialized")]
impl KeyPart for bytes::Bytes {
    fn write_key(&self, key: &mut KeyText) {
        (**self).write_key(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{FunctionKey, escaped};

    fn key(part: &dyn KeyPart) -> String {
        escaped(&FunctionKey::new("f", None, &[("a", part)]))
    }

    #[test]
    fn the_order_of_hash_sets_and_maps_says_nothing() {
        for _ in 0..10 {
            let set: HashSet<u32> = (0..20).collect();
            let map: HashMap<String, u32> = (0..20).map(|n| (n.to_string(), n)).collect();
            let keys = (key(&set), key(&map));
            let again: (HashSet<u32>, HashMap<_, _>) =
                ((0..20).rev().collect(), map.into_iter().collect());
            assert_eq!(keys, (key(&again.0), key(&again.1)));
        }
        assert_eq!(key(&HashMap::from([("b", 2), ("a", 1)])), r"f|\[\[a\,1\,\]\,\[b\,2\,\]\,\]");
        assert_eq!(key(&BTreeMap::from([("a", 1)])), key(&HashMap::from([("a", 1)])));
        assert_eq!(key(&BTreeSet::from([2, 1])), key(&vec![1, 2]));
    }

    #[test]
    fn times_keep_their_fractions_and_signs() {
        assert_eq!(key(&Duration::from_secs(90)), "f|90");
        assert_eq!(key(&Duration::from_millis(1_500)), "f|1.500000000");
        let before = UNIX_EPOCH - Duration::from_nanos(5);
        assert_eq!(key(&before), "f|-0.000000005");
        assert_eq!(key(&(UNIX_EPOCH + Duration::from_secs(7))), "f|7");
    }

    #[cfg(unix)]
    #[test]
    fn paths_that_are_not_text_differ() {
        use std::os::unix::ffi::OsStrExt;

        let path = |bytes: &'static [u8]| key(&Path::new(OsStr::from_bytes(bytes)));
        assert_eq!(path(b"/a b"), r"f|/a\sb");
        assert_eq!(path(b"/\xff"), r"f|/\xff");
        assert_ne!(path(b"/\xff"), path(b"/\xfe"));
        assert_ne!(path(b"/\xff"), path(br"/\xff"));
    }
}
