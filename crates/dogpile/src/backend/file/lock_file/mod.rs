//! The creation locks of a file backend: one per key, between processes and
//! between the tasks of one, owned by the kernel, so that a killed creator
//! frees it at once.
//!
//! Within the process a [`KeyedMutex`] comes first, then the kernel's lock
//! ([`ranges`], or [`files`] where those do not exist; [`together`] for many). A waiter sleeps in the
//! kernel, on a thread of its own, and is woken by it.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod bytes;
#[cfg(any(test, not(any(target_os = "linux", target_os = "android"))))]
mod files;
mod notes;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod ranges;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod together;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use futures_channel::oneshot;

use crate::backend::BackendError;
use crate::backend::file::place::create_file;
use crate::backend::inspect::HeldLock;
use crate::lock::{KeyGuard, KeyedLock, KeyedMutex, Lease, Turn};
use crate::process::PerProcess;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) type System = files::Files;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use ranges::System;

/// A key's hash for the kernel's locks. It is the same in every process and
/// version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Hash(u64);

impl Hash {
    /// FNV-1a, 64 bits.
    fn of(key: &str) -> Self {
        let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Self(key.bytes().fold(0xcbf2_9ce4_8422_2325, step))
    }
}

/// The kernel's locks, one per hash, between open files.
pub(crate) trait Kernel: Sized + Send + Sync + 'static {
    /// Many locks that are held as one, until this is dropped.
    type Together: Send + Sync;

    /// Opens the lock file, and creates it with `mode` if there is none.
    fn open(path: &Path, mode: Option<u32>) -> io::Result<Self>;
    /// Opens the lock file to look at it, whether there is one or not.
    fn look(path: &Path) -> io::Result<Self>;
    /// Takes the lock if nobody else holds it. Of one's own it knows nothing.
    fn try_lock(&self, key: Hash) -> io::Result<bool>;
    fn unlock(&self, key: Hash);
    /// Takes those of many locks that nobody else holds: which these are. `None` where they have
    /// to be taken one by one.
    fn try_lock_all(&self, keys: &[Hash]) -> io::Result<Option<(Self::Together, Vec<bool>)>>;
    fn is_locked_elsewhere(&self, key: Hash) -> io::Result<bool>;
    /// Blocks until nobody holds it.
    fn wait(&self, key: Hash) -> io::Result<()>;
    /// The file for notes on who holds what, if there is one.
    fn notes(&self) -> Option<Arc<File>>;
    /// Closes the lock file in a process that was forked. The locks are still its parent's.
    fn leave(&self);
}

/// The lock file of a cache file. Clones share it.
pub(super) struct Locks<K = System>(Arc<Table<K>>);

impl<K> Clone for Locks<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Table<K> {
    kernel: K,
    /// By hash, as the kernel has it.
    local: KeyedMutex,
}

/// Holding one key's lock.
struct Held<K: Kernel> {
    key: Hash,
    table: Arc<Table<K>>,
    _local: KeyGuard,
}

impl<K: Kernel> Drop for Held<K> {
    fn drop(&mut self) {
        self.table.kernel.unlock(self.key);
    }
}

/// Holding one key's lock by one that is held for many. That ends after the last of them.
struct HeldTogether<K: Kernel> {
    _together: Arc<K::Together>,
    _local: KeyGuard,
}

/// So many locks are taken together, and as many at most.
const MANY: usize = 256;
const MOST: usize = 100_000;

/// Notes on so many of them are enough.
const NOTED: usize = 64;

/// Threads of this process that sleep for a lock, at most.
const MOST_WAITING_THREADS: usize = 128;
static WAITING_THREADS: PerProcess<AtomicUsize> = PerProcess::new();

/// The time that those wait who find no thread left to sleep on.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

impl<K: Kernel> Locks<K> {
    /// Opens the lock file at `path`, and creates it with `mode` if there is none.
    pub(super) fn open(path: &Path, mode: Option<u32>) -> Result<Self, BackendError> {
        let failed = |error: io::Error| {
            BackendError::unavailable(format!("lock file `{}`: {error}", path.display()))
        };
        let kernel = K::open(path, mode).map_err(failed)?;
        if let Some(file) = kernel.notes()
            && !notes::sign(&file).map_err(failed)?
        {
            return Err(BackendError::other(format!(
                "`{}` is another program's, not a lock file of a cache: it is left as it is",
                path.display()
            )));
        }
        Ok(Self::over(kernel))
    }

    /// Opens the lock file at `path` to look at it: nothing can be locked.
    pub(super) fn look(path: &Path) -> Result<Self, BackendError> {
        Ok(Self::over(K::look(path).map_err(io_error)?))
    }

    fn over(kernel: K) -> Self {
        Self(Arc::new(Table { kernel, local: KeyedMutex::new() }))
    }

    /// Notes that these are the locks of the file with this number. Where that fails, the
    /// file is not known to be ours if it is damaged.
    pub(super) fn note_database(&self, number: u64) {
        if let Some(file) = self.0.kernel.notes()
            && notes::database(&file) != Some(number)
        {
            notes::note_database(&file, number);
        }
    }

    /// Leaves the locks to the process that this one was forked from.
    pub(super) fn leave(&self) {
        self.0.kernel.leave();
    }

    /// Are these the locks of the file with this number? If so, it was a cache once.
    pub(super) fn are_of(&self, number: u64) -> bool {
        self.0.kernel.notes().is_some_and(|file| notes::database(&file) == Some(number))
    }

    fn try_hold(&self, key: &str) -> Result<Option<Held<K>>, BackendError> {
        let hash = Hash::of(key);
        match self.0.local.try_hold(&local_name(hash)) {
            Some(local) => Ok(self.try_kernel(key, hash, local)?.ok()),
            None => Ok(None),
        }
    }

    /// Takes the locks of those of `keys` that nobody holds; none for the others.
    pub(super) fn try_lock_all(&self, keys: &[&str]) -> Result<Vec<Option<Lease>>, BackendError> {
        let one = |&key: &&str| Ok(self.try_hold(key)?.map(Lease::new));
        if keys.len() < MANY {
            return keys.iter().map(one).collect();
        }
        if keys.len() > MOST {
            let parts = keys.chunks(MOST).map(|keys| self.try_lock_all(keys));
            return Ok(parts.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect());
        }
        let hashes: Vec<Hash> = keys.iter().map(|key| Hash::of(key)).collect();
        let locals = hashes.iter().map(|&hash| self.0.local.try_hold(&local_name(hash)));
        let locals: Vec<Option<KeyGuard>> = locals.collect();
        let held = hashes.iter().zip(&locals).filter(|(_, local)| local.is_some());
        let held: Vec<Hash> = held.map(|(&hash, _)| hash).collect();
        let Some((together, ours)) = self.0.kernel.try_lock_all(&held).map_err(io_error)? else {
            drop(locals);
            return keys.iter().map(one).collect();
        };
        if let Some(file) = self.0.kernel.notes() {
            let asked = hashes.iter().zip(keys).zip(&locals).filter(|(_, local)| local.is_some());
            let noted = asked.zip(&ours).filter(|(_, is_ours)| **is_ours).take(NOTED);
            noted.for_each(|(((&hash, key), _), _)| notes::write(&file, hash, key));
        }
        let (together, mut ours) = (Arc::new(together), ours.into_iter());
        let mut lease = |local| {
            let held = HeldTogether::<K> { _together: together.clone(), _local: local };
            ours.next().unwrap_or(false).then(|| Lease::new(held))
        };
        Ok(locals.into_iter().map(|local| local.and_then(&mut lease)).collect())
    }

    /// Takes the kernel's lock too, or gives this process's back.
    fn try_kernel(
        &self,
        key: &str,
        hash: Hash,
        local: KeyGuard,
    ) -> Result<Result<Held<K>, KeyGuard>, BackendError> {
        if !self.0.kernel.try_lock(hash).map_err(io_error)? {
            return Ok(Err(local));
        }
        if let Some(file) = self.0.kernel.notes() {
            notes::write(&file, hash, key);
        }
        Ok(Ok(Held { key: hash, table: self.0.clone(), _local: local }))
    }

    /// Runs `work` while no other process does the same, blocking for it.
    pub(super) fn alone<T>(&self, work: impl FnOnce() -> T) -> Result<T, BackendError> {
        const KEY: &str = "\0recovery";
        loop {
            if let Some(_held) = self.try_hold(KEY)? {
                return Ok(work());
            }
            self.0.kernel.wait(Hash::of(KEY)).map_err(io_error)?;
        }
    }

    /// The locks that are held now, as far as notes on them are left.
    pub(super) fn held(&self) -> Result<Vec<HeldLock>, BackendError> {
        let Some(file) = self.0.kernel.notes() else { return Ok(Vec::new()) };
        let mut held = Vec::new();
        for (hash, lock) in notes::read(&file).map_err(io_error)? {
            if self.is_held(hash)? {
                held.push(lock);
            }
        }
        Ok(held)
    }

    fn is_held(&self, key: Hash) -> Result<bool, BackendError> {
        if self.0.local.is_held(&local_name(key)) {
            return Ok(true);
        }
        self.0.kernel.is_locked_elsewhere(key).map_err(io_error)
    }

    /// Sleeps in the kernel on a thread of its own. A thread whose waiter is
    /// gone sleeps on until the lock is free, and does nothing then.
    async fn wait_in_kernel(&self, key: Hash) -> Result<(), BackendError> {
        let Some(place) = WaitingThread::admit() else { return look_again_later().await };
        let (done, woken) = oneshot::channel();
        let table = self.0.clone();
        let sleep = move || {
            let _place = place;
            let _ = done.send(table.kernel.wait(key));
        };
        let thread = thread::Builder::new().name("dogpile-lock".into()).stack_size(64 * 1024);
        if thread.spawn(sleep).is_err() {
            return look_again_later().await;
        }
        match woken.await {
            Ok(waited) => waited.map_err(io_error),
            Err(oneshot::Canceled) => look_again_later().await,
        }
    }
}

impl<K: Kernel> KeyedLock for Locks<K> {
    async fn try_lock(&self, key: &str) -> Result<Option<Lease>, BackendError> {
        Ok(self.try_hold(key)?.map(Lease::new))
    }

    async fn wait(&self, key: &str) -> Result<Option<Lease>, BackendError> {
        let hash = Hash::of(key);
        let name = local_name(hash);
        if !self.0.local.is_held(&name) {
            self.wait_in_kernel(hash).await?;
            return Ok(None);
        }
        // Nothing is ever handed over here: the turn is the key itself. It is kept,
        // or waiters would pass it round among themselves for ever.
        let Turn::Won(mut turn) = self.0.local.hold(&name).await else { return Ok(None) };
        loop {
            match self.try_kernel(key, hash, turn)? {
                Ok(held) => return Ok(Some(Lease::new(held))),
                Err(local) => turn = local,
            }
            self.wait_in_kernel(hash).await?;
        }
    }

    async fn unlock(&self, lease: Lease) -> Result<(), BackendError> {
        drop(lease);
        Ok(())
    }

    async fn is_locked(&self, key: &str) -> Result<bool, BackendError> {
        self.is_held(Hash::of(key))
    }
}

/// A place among the threads that sleep in the kernel.
struct WaitingThread(&'static AtomicUsize);

impl WaitingThread {
    fn admit() -> Option<Self> {
        let place = Self(WAITING_THREADS.get_or_init(AtomicUsize::default));
        let before = place.0.fetch_add(1, Ordering::Relaxed);
        (before < MOST_WAITING_THREADS).then_some(place)
    }
}

impl Drop for WaitingThread {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn look_again_later() -> Result<(), BackendError> {
    crate::delay::Delay::new(LOOK_AGAIN).await;
    Ok(())
}

fn local_name(key: Hash) -> String {
    format!("{:016x}", key.0)
}

fn io_error(error: io::Error) -> BackendError {
    BackendError::unavailable(error)
}

fn open_file(path: &Path, mode: Option<u32>) -> io::Result<File> {
    loop {
        match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        match create_file(path, mode) {
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two handles on one lock file are as two processes.
    async fn excludes_wakes_and_frees<K: Kernel>() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("cache.db.lock");
        let open = || Locks::<K>::open(&path, None).unwrap();
        let (one, two) = (open(), open());
        let lease = one.try_lock("k").await.unwrap().unwrap();
        for locks in [&one, &two] {
            assert!(locks.try_lock("k").await.unwrap().is_none());
            assert!(locks.is_locked("k").await.unwrap());
            assert!(!locks.is_locked("other").await.unwrap());
        }
        let waiters = [one.clone(), two.clone(), open(), open()].map(|locks| {
            thread::spawn(move || {
                pollster::block_on(async {
                    while locks.is_locked("k").await.unwrap() {
                        drop(locks.wait("k").await.unwrap());
                    }
                });
            })
        });
        assert!(!waiters.iter().any(thread::JoinHandle::is_finished));
        one.unlock(lease).await.unwrap();
        for waiter in waiters {
            waiter.join().unwrap();
        }
        drop(two.try_lock("k").await.unwrap().unwrap());
        assert!(!one.is_locked("k").await.unwrap());
    }

    /// Holders come and go; there is never more than one.
    fn excludes_under_load<K: Kernel>() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("cache.db.lock");
        let inside = Arc::new(AtomicUsize::new(0));
        // Two processes, as it were, with four tasks each.
        let handles = [0, 1].map(|_| Locks::<K>::open(&path, None).unwrap());
        let holders: [_; 8] = std::array::from_fn(|n| {
            let (locks, inside) = (handles[n % 2].clone(), inside.clone());
            thread::spawn(move || {
                pollster::block_on(async {
                    for _ in 0..200 {
                        let lease = loop {
                            match locks.try_lock("k").await.unwrap() {
                                Some(lease) => break lease,
                                None => {
                                    if let Some(lease) = locks.wait("k").await.unwrap() {
                                        break lease;
                                    }
                                }
                            }
                        };
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        locks.unlock(lease).await.unwrap();
                    }
                });
            })
        });
        for holder in holders {
            holder.join().unwrap();
        }
    }

    #[test]
    fn the_systems_locks_hold() {
        pollster::block_on(excludes_wakes_and_frees::<System>());
        excludes_under_load::<System>();
    }

    #[test]
    fn the_fallback_holds() {
        pollster::block_on(excludes_wakes_and_frees::<files::Files>());
        excludes_under_load::<files::Files>();
    }

    #[test]
    fn the_fallback_leaves_no_litter() {
        let directory = tempfile::TempDir::new().unwrap();
        let locks = Locks::<files::Files>::open(&directory.path().join("l"), None).unwrap();
        drop(locks.try_hold("k").unwrap().unwrap());
        assert_eq!(directory.path().join("ls").read_dir().unwrap().count(), 0);
    }

    #[test]
    fn keys_hash_the_same_for_ever() {
        // Other versions and other processes must agree.
        assert_eq!(Hash::of("").0, 0xcbf2_9ce4_8422_2325);
        assert_eq!(Hash::of("foobar").0, 0x8594_4171_f739_67e8);
    }
}
