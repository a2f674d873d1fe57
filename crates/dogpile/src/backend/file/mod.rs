//! The file backend: values in one SQLite file, shared by the processes of a
//! machine, no server (Python's `dbm`).
//!
//! The plan is that of the backends on servers, as far as a file has such parts:
//!
//! - `builder`, `settings`: what it is given: options, and settings by name (a path is no address, so
//!   there is nothing to parse);
//! - `connect`: opening the file, by way of `place` (the path, and whether its file is still the one
//!   opened), `ours` (whether it is a cache, before anything is done with it), `still` (whether
//!   somebody writes to it) and `schema` (how the
//!   SQLite database is opened and checked, and its tables);
//! - `database`, in place of `connection`: what is asked of SQLite, by `readers` on the caller's
//!   thread; by `writer` and `worker`, the way to who writes, a thread or a blocking caller, and what
//!   that does; `joint` is what shares one of its transactions;
//! - `lock`, `lock_file`: the creation locks between processes, which the kernel owns;
//! - `claim`, with `creations`: keys that are being created, until somebody changes them, in one
//!   transaction each;
//! - `watcher`: notifications of changes by other processes; `states`: whether anything was changed;
//! - `collections`: whole tables, in parts;
//! - `inspect`: looking into it from outside;
//! - `forked`: a process that was forked from one with open files; `error`: what SQLite says.
//!
//! There is no connection to keep alive, and no address to find it at. What is open belongs to a
//! process; a forked one opens it for itself.

mod builder;
mod claim;
#[cfg(feature = "collections")]
mod collections;
mod connect;
mod creations;
mod database;
mod error;
mod forked;
mod inspect;
mod joint;
mod lock;
mod lock_file;
mod ours;
mod place;
mod readers;
mod schema;
#[cfg(feature = "config")]
mod settings;
mod states;
mod still;
mod watcher;
mod worker;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::inspect::Inspect;
use super::{
    Backend, BackendError, Changed, Claimed, Commit, Follower, IfChanged, KeepsBytes, Version,
    Wanted, Watch,
};
use crate::lock::{AnyMutex, Lease};
use crate::process::PerProcess;
use crate::value::Entry;
use builder::Options;
pub use builder::{Damage, FileBuilder};
use error::FileError;
use joint::Change;
use lock::FileLocks;
use lock_file::Locks;
use place::Place;
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
/// writers. **Writes** happen on a thread of the backend's, or on that of a blocking
/// caller while it is idle; what comes while it is busy becomes one transaction. A file that is killed in the middle is
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
/// file since: then each call fails at once. On other systems each call does. So say
/// [before a fork](crate::before_fork) that there is one, fork before
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
    /// See [`Shared::locks`].
    locks: OnceLock<Locks>,
    lock_file: PathBuf,
    watcher: Watcher,
}

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
        FileBuilder::new(path.as_ref())
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Returns what this process has of the file.
    fn shared(&self) -> Result<&Arc<Shared>, BackendError> {
        let Cache { path, lock_file, options, opened, .. } = &*self.0;
        opened.get_or_try_init(|| {
            opened.inherited(None).filter_map(|parents| parents.locks.get()).for_each(Locks::leave);
            Shared::open(path, lock_file, options).map(Arc::new)
        })
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

    /// By asking: each commit, whosever, gives the file another number.
    fn follow(&self, _follower: Arc<dyn Follower>) -> Option<Watch> {
        // What is only looked at is opened for each look.
        if self.0.options.read_only {
            return None;
        }
        let file = self.clone();
        Some(Watch::asking(move || file.shared().ok()?.readers.state().ok()))
    }

    async fn get_if_changed(
        &self,
        key: &str,
        since: Option<Version>,
    ) -> Result<IfChanged, BackendError> {
        let read = |connection: &_| database::get_if_changed(connection, key, since);
        match self.shared()?.readers.borrow().and_then(|mut reader| reader.with(read)) {
            Ok(read) => Ok(read),
            Err(FileError::Backend(error)) => Err(error),
            Err(_) => {
                let key = key.to_owned();
                let read = move |connection: &_| database::get_if_changed(connection, &key, since);
                self.shared()?.writer.ask(read).await
            }
        }
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
