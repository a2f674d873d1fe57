//! The storage of collections: what a backend does for them that it does not do
//! for regions.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use super::{BackendError, Changed, Watch};
use crate::lock::{AnyMutex, Lease};

/// The future of an operation on a collection.
pub type Storing<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;

/// A backend's side of [collections](crate::collections): under
/// one [place](CollectionPlace) lie the data of a collection and the number of
/// their revision, which change together or not at all.
///
/// Data that are too large for one value are written in parts before they are
/// published; parts that are never published go away by themselves, sooner or
/// later. Like [`Inspect`](super::inspect::Inspect), this goes past any proxies.
pub trait CollectionStore: Send + Sync + 'static {
    /// The place of the collection `name` in the application's version
    /// `version`.
    fn place(&self, name: &str, version: &str) -> CollectionPlace {
        CollectionPlace::new(name, version)
    }

    /// The number of the revision that is there.
    fn revision<'a>(&'a self, place: &'a CollectionPlace) -> Storing<'a, Option<u64>>;

    /// The revision that is there: its number and its data, of one moment. There are
    /// no data where they are gone while the number is not (one was evicted before the
    /// other), or where nobody can read what is in their place.
    fn read<'a>(&'a self, place: &'a CollectionPlace) -> Storing<'a, Option<(u64, Option<Bytes>)>>;

    /// Part `index` of what was written as `upload`; nothing, if it was
    /// superseded meanwhile.
    fn read_part<'a>(
        &'a self,
        place: &'a CollectionPlace,
        upload: &'a str,
        index: u32,
    ) -> Storing<'a, Option<Bytes>>;

    /// Writes a part that nobody sees before `upload` is published.
    fn write_part<'a>(
        &'a self,
        place: &'a CollectionPlace,
        upload: &'a str,
        index: u32,
        part: Bytes,
    ) -> Storing<'a, ()>;

    /// Makes `data`, with the parts of `upload`, the next revision, all in one step,
    /// and gives `lease` up, which is held until that has happened, waited for or not.
    /// The new number is above the stored one and above `above`. `None` if the lease
    /// was lost: then nothing happened. Neither did it if parts are missing, which is
    /// an error.
    fn publish<'a>(
        &'a self,
        place: &'a CollectionPlace,
        data: Bytes,
        upload: Option<Upload<'a>>,
        above: u64,
        lease: Lease,
    ) -> Storing<'a, Option<u64>>;

    /// Removes data and number; false if there were none.
    fn purge<'a>(&'a self, place: &'a CollectionPlace) -> Storing<'a, bool>;

    /// The mutex under which a revision is made: by a loader that may take `load`, and
    /// then by packing and storing, which may take what a creation may in this backend.
    /// For so long it is held, if its holder lives.
    fn mutex(&self, load: Duration) -> AnyMutex;

    /// Tells of new revisions, as [`Backend::watch`](super::Backend::watch)
    /// does.
    fn watch(&self, place: &CollectionPlace, changed: Changed) -> Option<Watch>;
}

/// The number of a revision in `text`, if it is one: 15 digits at most, which are exact
/// in whatever language reads them. What else lies in its place (anybody can write to a
/// store) counts as no number, and the next revision replaces it.
pub fn revision_number(text: &[u8]) -> Option<u64> {
    const MOST_DIGITS: usize = 15;
    let digits = text.len() <= MOST_DIGITS && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

/// Parts that were written to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upload<'a> {
    /// The upload that wrote them.
    pub id: &'a str,
    /// The number of parts.
    pub parts: u32,
}

/// The keys of one version of a collection.
#[derive(Clone, PartialEq, Eq)]
pub struct CollectionPlace {
    stem: String,
}

const PREFIX: &str = "cached.";
const DATA: &str = ".data";
const REVISION: &str = ".revision";

impl CollectionPlace {
    /// `cached.NAME.VERSION`, as Python's cached-collections has it.
    pub fn new(name: &str, version: &str) -> Self {
        Self { stem: format!("{PREFIX}{name}.{version}") }
    }

    /// The same for a cluster, where all keys have to be in one slot:
    /// `cached.{NAME.VERSION}`. A name with a tag of its own stays as it is.
    pub fn in_one_slot(name: &str, version: &str) -> Self {
        let plain = Self::new(name, version);
        let tag = plain.stem.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        match tag {
            Some((tag, _)) if !tag.is_empty() => plain,
            _ => Self { stem: format!("{PREFIX}{{{name}.{version}}}") },
        }
    }

    /// Returns this place with `prefix` before all its keys.
    #[cfg(feature = "redis")]
    pub(super) fn behind(&self, prefix: &str) -> Self {
        Self { stem: [prefix, &self.stem].concat() }
    }

    /// The key of the data.
    pub fn data(&self) -> String {
        self.key(DATA)
    }

    /// The key of the revision's number.
    pub fn revision(&self) -> String {
        self.key(REVISION)
    }

    /// Another key beside these two.
    pub fn key(&self, suffix: &str) -> String {
        [&self.stem, suffix].concat()
    }

    /// Returns the prefix of all keys of collections.
    pub const fn prefix() -> &'static str {
        PREFIX
    }

    /// Name and version of the collection whose revision has the key `key`.
    ///
    /// A name ends at its first dot: only Python's may have one.
    pub fn of_revision(key: &str) -> Option<(&str, &str)> {
        let stem = key.strip_prefix(PREFIX)?.strip_suffix(REVISION)?;
        let inner = stem.strip_prefix('{').and_then(|stem| stem.strip_suffix('}'));
        inner.unwrap_or(stem).split_once('.')
    }
}

impl fmt::Debug for CollectionPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.stem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_pythons_and_can_be_read_back() {
        let place = CollectionPlace::new("countries", "1.2.0");
        assert_eq!(place.data(), "cached.countries.1.2.0.data");
        assert_eq!(place.revision(), "cached.countries.1.2.0.revision");
        let slot = CollectionPlace::in_one_slot("countries", "1.2.0");
        assert_eq!(slot.data(), "cached.{countries.1.2.0}.data");
        for key in [place.revision(), slot.revision()] {
            assert_eq!(CollectionPlace::of_revision(&key), Some(("countries", "1.2.0")));
        }
        assert_eq!(CollectionPlace::of_revision("cached.x.revision"), None);
        assert_eq!(CollectionPlace::of_revision(&place.data()), None);
    }

    #[test]
    fn a_number_has_fifteen_digits_at_most() {
        assert_eq!(revision_number(b"007"), Some(7));
        assert_eq!(revision_number(b"999999999999999"), Some(999_999_999_999_999));
        for text in ["", "1000000000000000", "18446744073709551615", "+1", "-1", "1 ", "1.5", "π"]
        {
            assert_eq!(revision_number(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_tag_of_the_users_stays() {
        let own = CollectionPlace::in_one_slot("{shop}countries", "1");
        assert_eq!(own.data(), "cached.{shop}countries.1.data");
        let empty = CollectionPlace::in_one_slot("{}countries", "1");
        assert_eq!(empty.data(), "cached.{{}countries.1}.data");
    }
}
