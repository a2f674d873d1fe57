//! The file backend: values in one SQLite file, shared by the processes of a
//! machine, no server (Python's `dbm`).
//!
//! - `schema`: how the SQLite database is opened and checked, and its tables;
//! - `database`: what is asked of it;
//! - `ours`: whether a file is a cache, before anything is done with it;
//! - `place`: the path, and whether its file is still the one opened;
//! - `readers`: the connections for reading;
//! - `writer`, `worker`: the way to the thread that writes, and what that does;
//! - `joint`: what shares a transaction of that thread's;
//! - `creations`, `claims`: keys that are being created, until somebody changes them;
//! - `forked`: a process that was forked from one with open files;
//! - `watcher`: being told of changes by other processes;
//! - `collections`: whole tables, in parts;
//! - `locks`: the creation locks between processes.

mod claims;
#[cfg(feature = "collections")]
mod collections;
mod creations;
mod database;
mod error;
mod forked;
mod joint;
mod locks;
mod ours;
mod place;
mod readers;
mod schema;
#[cfg(feature = "config")]
mod settings;
mod watcher;
mod worker;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::inspect::{Clear, HeldLock, Inspect, Inspecting, Key, KeyInfo, KeyPage};
use super::{Backend, BackendError, Changed, Claimed, Commit, KeepsBytes, Wanted, Watch};
use crate::clock::{Clock, SystemClock};
use crate::lock::{AnyMutex, KeyedLock, Lease};
use crate::process::PerProcess;
use crate::value::Entry;
use error::FileError;
use forked::Working;
use joint::Change;
use locks::Locks;
use place::{Place, with_suffix};
use readers::Readers;
use watcher::Watcher;
use writer::Writer;

/// One SQLite file, shared by all processes that open it. Clones share it.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("cache.db");
/// use dogpile::{Config, Region, backend::File};
///
/// let region = Region::new("reports");
/// region.configure(Config::new(File::open(&path)?))?;
/// # let made = region.blocking().get_or_create("june", || 42);
/// # assert_eq!(made, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The creation lock reaches all processes of the machine, key by key; the
/// kernel owns it, so that a killed creator frees it at once. A creator that
/// hangs holds it until its process ends: bound that with a
/// [wait timeout](crate::Config::wait_timeout).
///
/// A **change** of a key ends the creation that is going on, in whichever process: what it
/// creates is not stored. That holds for changes by other programs too (Python, `sqlite3`),
/// except for one that SQLite tells nobody of: deleting a key under which nothing is stored.
///
/// **Reads** take microseconds on the caller's thread and never wait for
/// writers. **Writes** happen on a thread of the backend's; what comes while it
/// is busy becomes one transaction. A file that is killed in the middle is
/// whole afterwards. After a power failure the last writes may be missing.
///
/// **Bounds**: 1 GiB unless given otherwise, oldest-created first. Sizes are as
/// SQLite has them, nearly: the key twice, the value and 32 bytes an entry.
/// Freed space is given back to the file system bit by bit (not by files that
/// Python made).
///
/// **Beside the file** there are SQLite's own (`-wal`, `-shm`) and the lock
/// file, the path with `.lock` after it. Leave that in place as long as anybody
/// uses the cache. Network file systems serve neither SQLite nor the locks.
///
/// **A forked process** opens the file for itself, on Linux. It cannot if another thread of its
/// parent's was reading or writing at the moment of the fork, or if all others have closed the
/// file since: then each call fails at once. On other systems each call does. So fork before
/// the file is used by many threads, or open it afterwards. Until a forked process uses the
/// file, it has its parent's lock file open: locks of a parent that dies last as long.
///
/// **Python's** `dogpile.cache.dbm` under CPython 3.13 and later uses the same
/// table, so both read each other's values (configure a JSON serializer there);
/// its creation lock is one per file and does not know ours.
#[derive(Clone)]
pub struct File(Arc<Cache>);

struct Cache {
    path: PathBuf,
    lock_file: PathBuf,
    options: Arc<Options>,
    /// Opened by each process for itself.
    opened: PerProcess<Arc<Shared>>,
    /// For collections, where locks between processes are off.
    #[cfg(feature = "collections")]
    local_locks: crate::lock::KeyedMutex,
}

struct Shared {
    place: Arc<Place>,
    readers: Readers,
    writer: Writer,
    locks: Locks,
    watcher: Watcher,
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
struct Options {
    max_bytes: u64,
    max_entries: Option<u64>,
    retention: Option<Duration>,
    busy_timeout: Duration,
    on_damage: Damage,
    creation_locks: bool,
    mode: Option<u32>,
    read_only: bool,
    clock: AnyClock,
}

struct AnyClock(Arc<dyn Clock>);

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

impl File {
    /// Opens the cache file at `path`, or makes it. Blocks for that, some
    /// milliseconds usually.
    ///
    /// # Errors
    ///
    /// If there is a file that was never a cache, its directory does not exist, or reading
    /// and writing it is not permitted. Another program's file is left as it is, and so are
    /// those whose names a cache would use (`.lock`, `-wal`, `-shm`, `-journal`).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BackendError> {
        Self::builder(path).open()
    }

    /// A file with other options than the default ones.
    pub fn builder(path: impl AsRef<Path>) -> FileBuilder {
        FileBuilder {
            path: path.as_ref().to_owned(),
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

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Returns what this process has of the file.
    fn shared(&self) -> Result<&Arc<Shared>, BackendError> {
        let Cache { path, lock_file, options, opened, .. } = &*self.0;
        opened.get_or_try_init(|| {
            opened.inherited().for_each(|parents| parents.locks.leave());
            Shared::open(path, lock_file, options).map(Arc::new)
        })
    }
}

impl FileBuilder {
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
    /// default. All who share the cache must name the same. It cannot be the cache itself.
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
    /// What is seen may lag behind what others write meanwhile. Where another process was
    /// killed and its log has lost its index (`-shm`), opening is an error.
    pub fn read_only(mut self, yes: bool) -> Self {
        self.options.read_only = yes;
        self
    }

    /// Opens the file; see [`File::open`].
    pub fn open(self) -> Result<File, BackendError> {
        let Self { path, lock_file, options } = self;
        let lock_file = lock_file.unwrap_or_else(|| with_suffix(&path, ".lock"));
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

impl Options {
    /// Refuses what is not a cache, and leaves it as it is.
    fn check(&self, path: &Path, lock_file: &Path) -> Result<(), BackendError> {
        schema::check_path(path)?;
        ours::refuse_others(path, |number| {
            Ok(Locks::<locks::System>::look(lock_file)?.are_of(number))
        })?;
        if self.read_only {
            let missing = || BackendError::other(format!("there is no file `{}`", path.display()));
            return if path.exists() { Ok(()) } else { Err(missing()) };
        }
        ours::check_beside(path)
    }
}

impl Shared {
    fn open(path: &Path, lock_file: &Path, options: &Arc<Options>) -> Result<Self, BackendError> {
        let _working = Working::begin()?;
        options.check(path, lock_file)?;
        let place = Arc::new(Place::new(path));
        if place.is_sqlites(lock_file) {
            let message = format!("`{}` is the cache itself, not a lock file", lock_file.display());
            return Err(BackendError::unavailable(message));
        }
        let locks = if options.read_only {
            Locks::look(lock_file)?
        } else {
            Locks::open(lock_file, options.mode.or_else(|| place::mode_of(&place.path)))?
        };
        let writer = Writer::new(options.clone(), place.clone(), locks.clone());
        let readers = Readers::new(place.clone(), options.read_only);
        if !readers.find_ready()? {
            writer.open_now()?;
        } else if !options.read_only {
            locks.note_database(place.number());
        }
        Ok(Self { place, readers, writer, locks, watcher: Watcher::default() })
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl File {
    /// Returns what is to be stored of `entry`, if the file may hold it.
    fn frame(&self, key: &str, entry: &Entry) -> Result<Change, BackendError> {
        let frame = entry
            .to_frame()
            .ok_or_else(|| BackendError::refused("a file keeps bytes, not objects"))?;
        let (cost, most) = (schema::cost(key, &frame), self.0.options.max_bytes);
        if cost > most {
            return Err(BackendError::refused(format!(
                "the entry takes {cost} bytes, the whole cache file may take {most}: raise `max_bytes`"
            )));
        }
        Ok(Change::Put { key: key.into(), frame })
    }
}

/// The locks of a file, in whichever process.
struct FileLocks(File);

impl KeyedLock for FileLocks {
    async fn try_lock(&self, key: &str) -> Result<Option<Lease>, BackendError> {
        self.0.shared()?.locks.try_lock(key).await
    }

    async fn wait(&self, key: &str) -> Result<Option<Lease>, BackendError> {
        self.0.shared()?.locks.wait(key).await
    }

    async fn unlock(&self, lease: Lease) -> Result<(), BackendError> {
        drop(lease);
        Ok(())
    }

    async fn is_locked(&self, key: &str) -> Result<bool, BackendError> {
        self.0.shared()?.locks.is_locked(key).await
    }
}

impl Backend for File {
    type Keeps = KeepsBytes;

    async fn get(&self, key: &str) -> Result<Option<Entry>, BackendError> {
        match self.shared()?.readers.get(key) {
            Ok(entry) => Ok(entry),
            Err(FileError::Backend(error)) => Err(error),
            // The writer can wait, repair and open again.
            Err(_) => {
                let key = key.to_owned();
                self.shared()?.writer.ask(move |connection| database::get(connection, &key)).await
            }
        }
    }

    fn get_now(&self, key: &str) -> Option<Result<Option<Entry>, BackendError>> {
        match self.shared().ok()?.readers.get(key) {
            Ok(entry) => Some(Ok(entry)),
            Err(_) => None,
        }
    }

    async fn set(&self, key: &str, entry: Entry) -> Result<(), BackendError> {
        let change = self.frame(key, &entry)?;
        self.shared()?.writer.join(vec![change]).await
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        self.delete_multi(&[key]).await
    }

    async fn get_multi(&self, keys: &[&str]) -> Result<Vec<Option<Entry>>, BackendError> {
        let read = match self.shared()?.readers.borrow() {
            Ok(reader) => reader.get_all(keys).await,
            Err(error) => Err(error),
        };
        match read {
            Ok(entries) => Ok(entries),
            Err(FileError::Backend(error)) => Err(error),
            Err(_) => {
                let keys: Vec<String> = keys.iter().map(|&key| key.to_owned()).collect();
                self.shared()?
                    .writer
                    .ask(move |connection| database::get_all(connection, &keys))
                    .await
            }
        }
    }

    async fn set_multi(&self, entries: &[(&str, Entry)]) -> Result<(), BackendError> {
        let changes = entries.iter().map(|(key, entry)| self.frame(key, entry));
        let changes = changes.collect::<Result<Vec<_>, _>>()?;
        self.shared()?.writer.join(changes).await
    }

    async fn delete_multi(&self, keys: &[&str]) -> Result<(), BackendError> {
        let changes: Vec<_> = keys.iter().map(|&key| Change::Delete { key: key.into() }).collect();
        self.shared()?.writer.join(changes).await
    }

    fn mutex(&self) -> Option<AnyMutex> {
        let options = &self.0.options;
        let can_lock = options.creation_locks && !options.read_only;
        can_lock.then(|| AnyMutex::new(FileLocks(self.clone())))
    }

    fn orders_changes(&self) -> bool {
        true
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn claim(&self, keys: Vec<Wanted<'_>>) -> Result<Vec<Claimed>, BackendError> {
        self.claim_keys(keys).await
    }

    async fn commit(&self, changes: Vec<Commit<'_>>) -> Result<Vec<bool>, BackendError> {
        self.commit_claims(changes).await
    }

    async fn release(&self, leases: Vec<Lease>) {
        self.release_claims(leases).await;
    }

    fn watch(&self, key: &str, changed: Changed) -> Option<Watch> {
        watcher::watch(self.shared().ok()?, key, changed).ok()
    }

    #[cfg(feature = "collections")]
    fn collections(&self) -> Option<Arc<dyn super::CollectionStore>> {
        Some(Arc::new(self.clone()))
    }

    fn inspect(&self) -> Option<Arc<dyn Inspect>> {
        Some(Arc::new(self.clone()))
    }
}

impl Inspect for File {
    fn keys<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
        limit: usize,
    ) -> Inspecting<'a, KeyPage> {
        let prefix = prefix.to_vec();
        let after = after.map(<[u8]>::to_vec);
        Box::pin(async move {
            let list = move |c: &_| database::list(c, &prefix, after.as_deref(), limit);
            let listed = self.shared()?.writer.ask(list).await?;
            let more = limit > 0 && listed.len() == limit;
            let next = listed.last().filter(|_| more).map(|last| last.key.clone());
            let keys = listed.into_iter().map(|found| KeyInfo {
                key: found.key.into(),
                value_bytes: Some(found.value_bytes),
            });
            Ok(KeyPage { keys: keys.collect(), next })
        })
    }

    fn locks(&self) -> Inspecting<'_, Vec<HeldLock>> {
        Box::pin(async {
            let locks = &self.shared()?.locks;
            locks.held()
        })
    }

    fn info(&self) -> Inspecting<'_, Vec<(&'static str, Value)>> {
        Box::pin(async {
            let options = self.0.options.clone();
            let path = self.0.path.clone();
            let now = options.clock.now();
            let read = |c: &_| Ok((database::size(c)?, database::oldest(c)?));
            let (size, oldest) = self.shared()?.writer.ask(read).await?;
            let on_disk = |suffix: &str| {
                std::fs::metadata(with_suffix(&path, suffix)).map_or(0, |found| found.len())
            };
            Ok(vec![
                ("backend", "file".into()),
                ("path", path.display().to_string().into()),
                ("entries", size.entries.into()),
                ("bytes", size.bytes.into()),
                ("max_bytes", options.max_bytes.into()),
                ("max_entries", options.max_entries.into()),
                ("oldest_age_seconds", oldest.map(|ct| (now - ct).max(0.0)).into()),
                ("file_bytes", on_disk("").into()),
                ("wal_bytes", on_disk("-wal").into()),
                ("sqlite", rusqlite::version().into()),
            ])
        })
    }

    fn entry<'a>(&'a self, key: &'a Key) -> Inspecting<'a, Option<Entry>> {
        let key = key.as_bytes().to_vec();
        Box::pin(async move {
            self.shared()?.writer.ask(move |connection| database::get(connection, &key)).await
        })
    }

    fn delete<'a>(&'a self, keys: &'a [Key]) -> Inspecting<'a, ()> {
        let keys = keys.to_vec();
        let delete = move |connection: &_| {
            keys.iter().try_for_each(|key| database::delete_of(connection, key.as_bytes()))
        };
        let ask = move |connection: &_| database::transaction(connection, &delete);
        Box::pin(async move { self.shared()?.writer.ask(ask).await })
    }

    fn clear<'a>(&'a self, what: Clear<'a>) -> Inspecting<'a, u64> {
        let prefix = what.prefix.to_vec();
        let clear = move |connection: &_| {
            if prefix.is_empty() {
                database::clear(connection)
            } else {
                database::clear_of(connection, &prefix)
            }
        };
        let ask = move |connection: &_| database::transaction(connection, &clear).map(|()| 0);
        Box::pin(async move { self.shared()?.writer.ask(ask).await })
    }
}
