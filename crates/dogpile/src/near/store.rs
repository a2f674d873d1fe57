//! The copies: what was read, decoded once, bounded by count, the least useful evicted.

use bytes::Bytes;
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use super::bound::Mark;
use crate::backend::{Asked, Looking, Stored, Version};
use crate::clock::Timestamp;
use crate::key::KeyHashes;
use crate::value::{Entry, Metadata, Object, Payload};

/// A copy of a value.
#[derive(Clone)]
pub(super) struct Copy {
    /// The decoded value, or a [`Whole`].
    object: Object,
    pub(super) said: Said,
}

/// The moments and the mark of a copy.
#[derive(Clone, Copy)]
pub(super) struct Said {
    /// Not a number where the object is a [`Whole`].
    pub(super) ct: Timestamp,
    pub(super) begun: Timestamp,
    pub(super) mark: Mark,
    pub(super) version: Version,
}

/// An entry in the place of an object: nobody has decoded it, or its metadata say something rare.
#[derive(Clone)]
struct Whole(Entry);

impl Copy {
    pub(super) fn new(entry: Entry, mark: Mark, version: Version) -> Self {
        let Metadata { ct, begun, .. } = entry.metadata;
        match &entry.payload {
            Payload::Object(object) if entry.metadata.is_of_times_alone() => {
                Self { object: object.clone(), said: Said { ct, begun, mark, version } }
            }
            _ => {
                let said = Said { ct: f64::NAN, begun, mark, version };
                Self { object: Object::new(Whole(entry)), said }
            }
        }
    }

    pub(super) fn entry(self) -> Entry {
        let Self { object, said: Said { ct, begun, .. } } = self;
        if ct.is_nan()
            && let Some(Whole(entry)) = object.downcast_ref()
        {
            return entry.clone();
        }
        let metadata = Metadata::created_at(ct).with_begin(begun);
        Entry { metadata, payload: Payload::Object(object) }
    }

    /// The same copy of a value that was read again.
    pub(super) fn marked(self, mark: Mark) -> Self {
        Self { said: Said { mark, ..self.said }, ..self }
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
        Some(Self::new(entry, self.said.mark, self.said.version))
    }
}

/// The copies by their keys.
pub(super) struct Copies(Cache<Stored, Said, UnitWeighter, KeyHashes>);

impl Copies {
    pub(super) fn new(most: usize) -> Self {
        let (hashes, lifecycle) = (KeyHashes::default(), DefaultLifecycle::default());
        Self(Cache::with(most, most as u64, UnitWeighter, hashes, lifecycle))
    }

    /// Looks at the object of a copy where it lies, under the lock of a part of the map. Returns what is
    /// said of it, if the look has taken something.
    #[inline]
    pub(super) fn look<S>(
        &self,
        key: &str,
        look: impl Fn(&Object) -> Option<S>,
    ) -> Option<(Said, S)> {
        let looking = Looking::new(Asked::of(key), look);
        let said = self.0.get(&looking)?;
        Some((said, looking.seen()?))
    }

    pub(super) fn get(&self, key: &str) -> Option<Copy> {
        let (said, object) = self.look(key, |object| Some(object.clone()))?;
        Some(Copy { object, said })
    }

    /// Returns the copy without a mark that it was of use.
    pub(super) fn peek(&self, key: &str) -> Option<Copy> {
        let looking = Looking::new(Asked::of(key), |object: &Object| Some(object.clone()));
        let said = self.0.peek(&looking)?;
        Some(Copy { object: looking.seen()?, said })
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.0.contains_key(&Asked::of(key))
    }

    pub(super) fn put(&self, key: &str, copy: Copy) {
        let Copy { object, said } = copy;
        self.0.insert(Stored::new(key, object), said);
    }

    /// Returns whether there was one.
    pub(super) fn remove(&self, key: &str) -> bool {
        self.0.remove(&Asked::of(key)).is_some()
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
