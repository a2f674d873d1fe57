//! The options of a [`File`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::place::{target_of, with_suffix};
use super::{Cache, File};
use crate::backend::BackendError;
use crate::clock::{Clock, SystemClock};
use crate::process::PerProcess;

/// A builder of [`File`]s.
#[derive(Debug)]
#[must_use = "nothing is opened before `open`"]
pub struct FileBuilder {
    path: PathBuf,
    lock_file: Option<PathBuf>,
    options: Options,
}

const DEFAULT_MAX_BYTES: u64 = 1 << 30;
const DEFAULT_BUSY_TIMEOUT: Duration = Duration::from_secs(5);

impl FileBuilder {
    /// For the file at `path`, with the usual options.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            lock_file: None,
            options: Options {
                max_bytes: DEFAULT_MAX_BYTES,
                max_entries: None,
                retention: None,
                busy_timeout: DEFAULT_BUSY_TIMEOUT,
                on_damage: Damage::default(),
                creation_locks: true,
                mode: None,
                read_only: false,
                clock: AnyClock(Arc::new(SystemClock)),
            },
        }
    }

    /// The size of all entries together, in bytes; 1 GiB by default. An entry
    /// larger than this is refused.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.options.max_bytes = bytes;
        self
    }

    /// The number of entries; not bounded by default.
    pub fn max_entries(mut self, entries: u64) -> Self {
        self.options.max_entries = Some(entries);
        self
    }

    /// Entries created longer ago than this are removed, within a sixteenth of
    /// it or a minute, whenever something is written; never by default. It
    /// should be longer than any expiration time, or stale values cannot be
    /// served.
    pub fn retention(mut self, age: Duration) -> Self {
        self.options.retention = Some(age);
        self
    }

    /// Sets how long a write goes on trying while another process writes; 5 seconds
    /// by default.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.options.busy_timeout = timeout;
        self
    }

    /// Sets the treatment of a damaged file.
    pub fn on_damage(mut self, damage: Damage) -> Self {
        self.options.on_damage = damage;
        self
    }

    /// Sets the place of the lock file: the path of the cache with `.lock` after it by
    /// default, or of what it leads to if it is a link. All who share the cache must name the same. It cannot
    /// be the cache itself.
    pub fn lock_file(mut self, path: impl AsRef<Path>) -> Self {
        self.lock_file = Some(path.as_ref().to_owned());
        self
    }

    /// Sets whether creation is locked between processes; it is by default. Without,
    /// each process makes its own.
    pub fn creation_locks(mut self, yes: bool) -> Self {
        self.options.creation_locks = yes;
        self
    }

    /// The clock that entries' ages are judged by.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.options.clock = AnyClock(Arc::new(clock));
        self
    }

    /// The permissions of the files that are created, as `0o600`: the database, SQLite's
    /// files beside it, and the lock file all have the same. By default the umask decides.
    /// Files that are there already keep theirs.
    pub fn mode(mut self, mode: u32) -> Self {
        self.options.mode = Some(mode & 0o666);
        self
    }

    /// Only looks: nothing is created, locked or changed, not even beside the file, and
    /// permission to read it is enough. Storing is an error. A file that is not there is an
    /// error of [`open`](Self::open).
    ///
    /// Each look sees what others wrote before it.
    pub fn read_only(mut self, yes: bool) -> Self {
        self.options.read_only = yes;
        self
    }

    /// Opens the file; see [`File::open`].
    pub fn open(self) -> Result<File, BackendError> {
        let Self { path, lock_file, options } = self;
        let lock_file = lock_file.unwrap_or_else(|| with_suffix(&target_of(&path), ".lock"));
        let file = File(Arc::new(Cache {
            path,
            lock_file,
            options: Arc::new(options),
            opened: PerProcess::new(),
            #[cfg(feature = "collections")]
            local_locks: crate::lock::KeyedMutex::new(),
        }));
        file.shared()?;
        Ok(file)
    }
}

/// The treatment of a file that turns out to be damaged, or not to be an SQLite
/// database at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Damage {
    /// Rename it to `….damaged-1` (and so on, ten at most), say so in the log,
    /// and begin an empty one.
    #[default]
    MoveAside,
    /// Fail until somebody has removed it.
    Refuse,
}

#[derive(Debug)]
pub(super) struct Options {
    pub(super) max_bytes: u64,
    pub(super) max_entries: Option<u64>,
    pub(super) retention: Option<Duration>,
    pub(super) busy_timeout: Duration,
    pub(super) on_damage: Damage,
    pub(super) creation_locks: bool,
    pub(super) mode: Option<u32>,
    pub(super) read_only: bool,
    pub(super) clock: AnyClock,
}

pub(super) struct AnyClock(Arc<dyn Clock>);

impl fmt::Debug for AnyClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl std::ops::Deref for AnyClock {
    type Target = dyn Clock;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}
