//! The copies: what was read, decoded once, bounded by count, the least useful evicted.

use bytes::Bytes;
use quick_cache::sync::Cache;

use super::bound::Mark;
use crate::backend::Version;
use crate::value::{Entry, Metadata, Object, Payload};

/// A copy of a value.
#[derive(Clone)]
pub(super) struct Copy {
    /// The decoded value, or a [`Whole`].
    object: Object,
    ct: f64,
    /// Not a number where the object is a [`Whole`].
    begun: f64,
    pub(super) mark: Mark,
    pub(super) version: Version,
}

/// An entry in the place of an object: nobody has decoded it, or its metadata say something rare.
struct Whole(Entry);

impl Copy {
    pub(super) fn new(entry: Entry, mark: Mark, version: Version) -> Self {
        let Metadata { ct, begun, .. } = entry.metadata;
        match &entry.payload {
            Payload::Object(object) if entry.metadata.is_of_times_alone() => {
                Self { object: object.clone(), ct, begun, mark, version }
            }
            _ => Self { object: Object::new(Whole(entry)), ct, begun: f64::NAN, mark, version },
        }
    }

    #[inline]
    pub(super) fn entry(self) -> Entry {
        let Self { object, ct, begun, .. } = self;
        if begun.is_nan()
            && let Some(Whole(entry)) = object.downcast_ref()
        {
            return entry.clone();
        }
        let metadata = Metadata::created_at(ct).with_begin(begun);
        Entry { metadata, payload: Payload::Object(object) }
    }

    /// The same copy of a value that was read again.
    pub(super) fn marked(self, mark: Mark) -> Self {
        Self { mark, ..self }
    }

    /// Returns the same copy with the value that was decoded from it, if it is one of these very
    /// bytes; none if it was decoded before.
    pub(super) fn decoded(self, bytes: &Bytes, value: impl FnOnce() -> Object) -> Option<Self> {
        let Whole(entry) = self.object.downcast_ref()?;
        let Payload::Bytes(own) = &entry.payload else { return None };
        if (own.as_ptr(), own.len()) != (bytes.as_ptr(), bytes.len()) {
            return None;
        }
        let mut metadata = entry.metadata.clone();
        // It is about the bytes.
        metadata.shape = None;
        let entry = Entry { metadata, payload: Payload::Object(value()) };
        Some(Self::new(entry, self.mark, self.version))
    }
}

/// The copies by their keys.
pub(super) struct Copies(Cache<Box<str>, Copy>);

impl Copies {
    pub(super) fn new(most: usize) -> Self {
        Self(Cache::new(most))
    }

    #[inline]
    pub(super) fn get(&self, key: &str) -> Option<Copy> {
        self.0.get(key)
    }

    /// Returns the copy without a mark that it was of use.
    pub(super) fn peek(&self, key: &str) -> Option<Copy> {
        self.0.peek(key)
    }

    pub(super) fn put(&self, key: &str, copy: Copy) {
        self.0.insert(key.into(), copy);
    }

    /// Returns whether there was one.
    pub(super) fn remove(&self, key: &str) -> bool {
        self.0.remove(key).is_some()
    }

    pub(super) fn clear(&self) {
        self.0.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::super::bound::Bound;
    use super::*;

    #[test]
    fn a_copy_is_decoded_once_and_keeps_what_is_said_of_it() {
        let mark = Bound::new(1, 1).mark(0, 0);
        let mut entry = Entry::bytes("7", 10.0);
        entry.metadata.shape = Some(3);
        for expired in [false, true] {
            entry.metadata.expired = expired;
            let copy = Copy::new(entry.clone(), mark, Version::numbered(1));
            let Payload::Bytes(bytes) = copy.clone().entry().payload else { panic!("bytes") };
            assert!(copy.clone().decoded(&Bytes::copy_from_slice(b"7"), || panic!()).is_none());
            let decoded = copy.clone().decoded(&bytes, || Object::new(7_u8)).expect("it was bytes");
            let found = decoded.clone().entry();
            assert!(
                matches!(&found.payload, Payload::Object(o) if o.downcast_ref() == Some(&7_u8))
            );
            assert_eq!((found.metadata.ct, found.metadata.expired), (10.0, expired));
            assert!(decoded.decoded(&bytes, || Object::new(8_u8)).is_none());
        }
    }
}
