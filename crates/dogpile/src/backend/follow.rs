//! Following changes: whoever keeps copies of what is stored is told when they may be out of date,
//! and can ask whether they are.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use super::Changed;
use crate::value::{Entry, Payload};

/// The receiver of a backend's [news](super::Backend::follow): copies of what is stored, which it
/// may use as long as it is in step.
///
/// Its methods are called on a thread of the backend's, and return at once. The order matters:
/// what was changed before a moment is told before [`in_step`](Self::in_step) with that.
pub trait Follower: Send + Sync + 'static {
    /// The value under `key` may have changed.
    fn changed(&self, key: &str);

    /// Any value may have changed.
    fn all_changed(&self);

    /// Of what was read before this call no changes are told from now on.
    fn lost(&self);

    /// Returns the beginning of the keys of which it wants to be told all changes, whoever has read
    /// them. None, the default, asks for those that were read by
    /// [`get_if_changed`](super::Backend::get_if_changed) only. A backend may tell of more.
    fn prefix(&self) -> Option<&str> {
        None
    }

    /// Returns the time after which it is to be told again that it is in step, at the latest.
    fn interval(&self) -> Duration;

    /// All changes that were made before `moment` have been told, of what was read since the last
    /// [`lost`](Self::lost).
    fn in_step(&self, moment: Instant);
}

/// A follower of one key.
pub(super) struct OneKey {
    key: Box<str>,
    changed: Changed,
}

impl OneKey {
    pub(super) fn new(key: &str, changed: Changed) -> Self {
        Self { key: key.into(), changed }
    }
}

impl Follower for OneKey {
    fn changed(&self, key: &str) {
        if *key == *self.key {
            (self.changed)();
        }
    }

    fn all_changed(&self) {
        (self.changed)();
    }

    fn lost(&self) {
        (self.changed)();
    }

    fn prefix(&self) -> Option<&str> {
        Some(&self.key)
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn in_step(&self, _moment: Instant) {}
}

/// A state of a value: another state has another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    number: u64,
    series: u64,
}

impl Version {
    /// The version with this number, by a server's own count of changes.
    pub const fn numbered(number: u64) -> Self {
        Self::in_series(number, 0)
    }

    /// The version with this number in a series of numbers: another series uses them again.
    pub const fn in_series(number: u64, series: u64) -> Self {
        Self { number, series }
    }

    /// Returns the number, and that of its series.
    #[cfg(feature = "memcached")]
    pub(crate) const fn parts(self) -> (u64, u64) {
        (self.number, self.series)
    }

    /// The version of a value that is stored in these bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        Self::numbered(hasher.finish())
    }

    /// The version of an entry, by its metadata and its bytes. `None` for one without bytes.
    pub fn of(entry: &Entry) -> Option<Self> {
        let Payload::Bytes(bytes) = &entry.payload else { return None };
        let metadata = &entry.metadata;
        let mut hasher = DefaultHasher::new();
        (metadata.ct.to_bits(), metadata.begun.to_bits(), metadata.expired).hash(&mut hasher);
        bytes.hash(&mut hasher);
        Some(Self::numbered(hasher.finish()))
    }
}

/// The answer to [`Backend::get_if_changed`](super::Backend::get_if_changed).
#[derive(Debug)]
pub enum IfChanged {
    /// The value is the one that was asked about.
    NotModified {
        /// Followers are told when it changes.
        is_followed: bool,
    },
    /// The present state.
    Read {
        /// The value, if there is one.
        entry: Option<Entry>,
        /// Its version. Without one no copy of it is kept.
        version: Option<Version>,
        /// Followers are told when it changes.
        is_followed: bool,
    },
}

impl IfChanged {
    /// Changes the entry that was read.
    pub(crate) fn map(self, change: impl FnOnce(Entry) -> Entry) -> Self {
        match self {
            Self::Read { entry, version, is_followed } => {
                Self::Read { entry: entry.map(change), version, is_followed }
            }
            same @ Self::NotModified { .. } => same,
        }
    }

    /// Compares what was read with the version that was asked about.
    pub fn compare(
        entry: Option<Entry>,
        version: Option<Version>,
        since: Option<Version>,
        is_followed: bool,
    ) -> Self {
        if version.is_some() && version == since {
            return Self::NotModified { is_followed };
        }
        Self::Read { entry, version, is_followed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_state_is_another_version() {
        let entry = Entry::bytes("1", 10.0);
        let mut expired = entry.clone();
        expired.metadata.expired = true;
        let others = [Entry::bytes("2", 10.0), Entry::bytes("1", 11.0), expired];
        assert!(Version::of(&entry).is_some());
        assert_eq!(Version::of(&entry), Version::of(&entry.clone()));
        assert!(others.iter().all(|other| Version::of(other) != Version::of(&entry)));
        assert_ne!(Version::of_bytes(b"1"), Version::of_bytes(b"2"));
        assert_ne!(Version::numbered(1), Version::in_series(1, 1));
        assert_eq!(Version::of(&Entry::object(1_u8, 10.0)), None);
    }

    #[test]
    fn nothing_is_never_the_same() {
        let version = Version::numbered(7);
        let same = IfChanged::compare(None, Some(version), Some(version), true);
        assert!(matches!(same, IfChanged::NotModified { is_followed: true }));
        for (now, since) in [(None, None), (Some(version), None), (None, Some(version))] {
            let read = IfChanged::compare(None, now, since, false);
            assert!(matches!(read, IfChanged::Read { entry: None, .. }));
        }
    }
}
