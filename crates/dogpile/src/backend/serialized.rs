//! Bytes in this process's memory (Python's `memory_pickle`).

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use super::stored_object::{Asked, Looking, Stored};
use super::{Backend, BackendError, KeepsBytes};
use crate::clock::Timestamp;
use crate::key::KeyHashes;
use crate::value::{Entry, Metadata, Payload};

/// The serialized memory backend: it keeps what the codec made of a value, so that no caller can
/// change what is cached. Bounded by count, or by the size of keys and values in bytes, to which
/// 64 bytes are added for what is said of each.
pub struct SerializedMemory {
    cache: Cache<Stored<Bytes>, Said, Weigher, KeyHashes>,
}

/// The metadata of a value's bytes: read once, when they are stored.
#[derive(Clone, Copy)]
pub(crate) struct Said {
    /// Not a number where there is more to say: then the bytes are a whole frame.
    pub(crate) ct: Timestamp,
    pub(crate) begun: Timestamp,
    pub(crate) shape: Option<u32>,
}

/// Bytes that a look takes out of the map. Few are copied: to count two references up and down would be
/// a tenth of a hit.
pub(crate) struct Taken {
    few: [u8; Taken::FEW],
    length: usize,
    many: Option<Bytes>,
}

impl Taken {
    const FEW: usize = 256;

    pub(crate) const fn nothing() -> Self {
        Self { few: [0; Self::FEW], length: 0, many: None }
    }

    #[inline]
    fn take(&mut self, bytes: &Bytes) {
        match self.few.get_mut(..bytes.len()) {
            Some(few) => {
                few.copy_from_slice(bytes);
                self.length = bytes.len();
            }
            None => self.many = Some(bytes.clone()),
        }
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match &self.many {
            None => &self.few[..self.length],
            Some(many) => many,
        }
    }

    /// Returns the bytes where they can be shared.
    pub(crate) const fn whole(&self) -> Option<&Bytes> {
        self.many.as_ref()
    }
}

/// Returns what is to be kept of an entry; nothing if it is an object.
fn kept_of(entry: &Entry) -> Option<(Bytes, Said)> {
    if let Payload::Bytes(payload) = &entry.payload
        && let Metadata { ct, begun, shape, .. } = entry.metadata
        && entry.metadata.is_of_times_alone()
        && ct.is_finite()
    {
        // As it would be written to a frame, and read again.
        let begun = if begun.is_finite() { begun } else { ct };
        // A copy, since the payload may be a part of something larger.
        return Some((Bytes::copy_from_slice(payload), Said { ct, begun, shape }));
    }
    Some((entry.to_frame()?, Said { ct: f64::NAN, begun: f64::NAN, shape: None }))
}

fn entry_of(bytes: Bytes, said: Said) -> Entry {
    let Said { ct, begun, shape } = said;
    if ct.is_nan() {
        return Entry::from_frame(&bytes);
    }
    let mut metadata = Metadata::created_at(ct).with_begin(begun);
    metadata.shape = shape;
    Entry { metadata, payload: Payload::Bytes(bytes) }
}

#[derive(Clone, Copy)]
enum Weigher {
    Count,
    Bytes,
}

/// About the size of what is said of a value.
const OVERHEAD: usize = 64;

impl Weighter<Stored<Bytes>, Said> for Weigher {
    fn weight(&self, stored: &Stored<Bytes>, _: &Said) -> u64 {
        match self {
            Self::Count => 1,
            Self::Bytes => (stored.key().len() + stored.object.len() + OVERHEAD) as u64,
        }
    }
}

/// The assumed size of a value when the first allocation is sized.
const USUAL_BYTES: u64 = 1024;

impl SerializedMemory {
    /// A backend for at most `max_entries` values. Zero keeps nothing.
    pub fn new(max_entries: usize) -> Self {
        Self::with(max_entries, max_entries as u64, Weigher::Count)
    }

    /// A backend for at most `max_bytes` of keys and values.
    pub fn bounded_by_bytes(max_bytes: u64) -> Self {
        let entries = usize::try_from(max_bytes / USUAL_BYTES).unwrap_or(usize::MAX).min(1 << 20);
        Self::with(entries, max_bytes, Weigher::Bytes)
    }

    fn with(entries: usize, max_weight: u64, weigher: Weigher) -> Self {
        let (hashes, lifecycle) = (KeyHashes::default(), DefaultLifecycle::default());
        Self { cache: Cache::with(entries, max_weight, weigher, hashes, lifecycle) }
    }

    /// Takes the bytes that are under a key, and returns what is said of them.
    #[inline]
    pub(crate) fn look(&self, key: &str, taken: &mut Taken) -> Option<Said> {
        let taken = RefCell::new(taken);
        let take = |bytes: &Bytes| {
            taken.borrow_mut().take(bytes);
            Some(())
        };
        self.cache.get(&Looking::new(Asked::of(key), take))
    }

    fn lookup(&self, key: &str) -> Option<Entry> {
        let looking = Looking::new(Asked::of(key), |bytes: &Bytes| Some(bytes.clone()));
        let said = self.cache.get(&looking)?;
        Some(entry_of(looking.seen()?, said))
    }
}

impl fmt::Debug for SerializedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SerializedMemory").field("len", &self.cache.len()).finish()
    }
}

impl Backend for SerializedMemory {
    type Keeps = KeepsBytes;

    async fn get(&self, key: &str) -> Result<Option<Entry>, BackendError> {
        Ok(self.lookup(key))
    }

    fn get_now(&self, key: &str) -> Option<Result<Option<Entry>, BackendError>> {
        Some(Ok(self.lookup(key)))
    }

    async fn set(&self, key: &str, entry: Entry) -> Result<(), BackendError> {
        let Some((bytes, said)) = kept_of(&entry) else {
            return Err(BackendError::refused("this backend keeps bytes, not objects"));
        };
        self.cache.insert(Stored::new(key, bytes), said);
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        self.cache.remove(&Asked::of(key));
        Ok(())
    }
}

#[cfg(feature = "config")]
impl super::Named for SerializedMemory {
    const NAMES: &'static [&'static str] = &["memory_pickle"];

    fn from_arguments(
        name: &str,
        arguments: &mut crate::settings::Arguments,
    ) -> Result<Self, crate::settings::ConfigError> {
        let max_entries = arguments.take("max_entries")?;
        match (arguments.take("max_bytes")?, max_entries) {
            (Some(max_bytes), None) => Ok(Self::bounded_by_bytes(max_bytes)),
            (None, max_entries) => {
                Ok(Self::new(max_entries.unwrap_or(super::memory::DEFAULT_ENTRIES)))
            }
            (Some(_), Some(_)) => {
                let error = BackendError::other("give it `max_entries` or `max_bytes`, not both");
                Err(crate::settings::ConfigError::of_backend(name, &error))
            }
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::value::VERSION;

    /// An entry comes back as it would from a frame, whatever its metadata say.
    #[test]
    fn entries_come_back_as_from_a_frame() {
        let plain = Entry::bytes("payload", 1_763_700_000.25);
        let with = |change: &dyn Fn(&mut Metadata)| {
            let mut entry = plain.clone();
            change(&mut entry.metadata);
            entry
        };
        let backend = SerializedMemory::new(10);
        for entry in [
            plain.clone(),
            with(&|metadata| metadata.begun -= 0.125),
            with(&|metadata| metadata.begun = f64::NAN),
            with(&|metadata| metadata.shape = Some(7)),
            with(&|metadata| metadata.ct = f64::INFINITY),
            with(&|metadata| metadata.v = VERSION + 1),
            with(&|metadata| metadata.kept = true),
            with(&|metadata| metadata.expired = true),
            with(&|metadata| *metadata = metadata.clone().with_extra("z", "zstd".into())),
            with(&|metadata| *metadata = metadata.clone().with_lifetime(Some(Duration::MAX))),
            with(&|metadata| *metadata = metadata.clone().with_retention(Some(Duration::MAX))),
            Entry::from_frame(&Bytes::from_static(b"no frame")),
        ] {
            pollster::block_on(backend.set("k", entry.clone())).unwrap();
            let found = format!("{:?}", pollster::block_on(backend.get("k")).unwrap());
            let framed = Entry::from_frame(&entry.to_frame().unwrap());
            assert_eq!(found, format!("{:?}", Some(framed)), "{entry:?}");
        }
    }

    #[test]
    fn a_look_takes_few_bytes_and_many() {
        let backend = SerializedMemory::new(10);
        for length in [0, 1, Taken::FEW, Taken::FEW + 1] {
            let payload = vec![b'x'; length];
            pollster::block_on(backend.set("k", Entry::bytes(payload.clone(), 1.0))).unwrap();
            let mut taken = Taken::nothing();
            assert!(backend.look("k", &mut taken).is_some());
            assert_eq!(taken.as_slice(), payload);
            assert_eq!(taken.whole().is_some(), length > Taken::FEW);
        }
        assert!(backend.look("other", &mut Taken::nothing()).is_none());
    }

    /// A piece of a larger buffer does not keep all of it.
    #[test]
    fn a_payload_is_copied() {
        let backend = SerializedMemory::new(10);
        let large = Bytes::from(vec![b'x'; 1_000]);
        pollster::block_on(backend.set("k", Entry::bytes(large.slice(..1), 1.0))).unwrap();
        assert!(large.is_unique());
    }
}
