//! Many locks by one of the kernel's, which looks at all locks of a file each time that it takes one.
//!
//! A caller that locks many keys takes one of a few places, and lists the keys in the lock file. Who locks
//! one key takes its byte, and then looks into the lists of all places that others hold. Who locks
//! many lists them first, and then looks whether others hold their bytes. So one of the two sees
//! the other; if both do, both give way, and one of them comes again.
//!
//! Those who list keys do so one after the other, and see each other's lists; who comes meanwhile
//! takes its locks one by one. A list counts only while its place is held, so that it ends with
//! its process.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::Hash;
use super::bytes::{self, LockFile, is_taken};
use super::notes::{read_at, write_at};
use crate::sync::Mutex;

/// The longest list.
const LONGEST: usize = 1 << 17;

/// The number of places.
const PLACES: usize = 8;

/// The byte that stands for listing, and the first one of the places.
const LISTING: u64 = 1 << 61;
const FIRST_PLACE: u64 = LISTING + 1;

/// The first list in the lock file, after the notes. Each begins with its length.
const FIRST_LIST: u64 = 1 << 20;
const LIST_BYTES: u64 = 8 * (LONGEST as u64 + 1);

/// The places of a lock file.
#[derive(Debug)]
pub(super) struct Together {
    file: Arc<LockFile>,
    /// Those that this process holds: the kernel does not tell them apart.
    held: Mutex<[bool; PLACES]>,
    /// Held by the thread that lists keys.
    listing: Mutex<()>,
}

/// A place that is held.
pub(crate) struct Place {
    number: usize,
    together: Arc<Together>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.together.file.unlock_byte(byte_of(self.number));
        self.together.held.lock()[self.number] = false;
    }
}

/// This process lists keys.
struct Listing<'f>(&'f LockFile);

impl Drop for Listing<'_> {
    fn drop(&mut self) {
        self.0.unlock_byte(LISTING);
    }
}

fn byte_of(place: usize) -> u64 {
    FIRST_PLACE + place as u64
}

fn list_of(place: usize) -> u64 {
    FIRST_LIST + place as u64 * LIST_BYTES
}

impl Together {
    pub(super) fn new(file: Arc<LockFile>) -> Self {
        Self { file, held: Mutex::default(), listing: Mutex::default() }
    }

    /// Locks those of `keys` that nobody else has: which these are, and the place that holds
    /// them. `None` where there is no place for them.
    pub(super) fn lock(self: &Arc<Self>, keys: &[Hash]) -> io::Result<Option<(Place, Vec<bool>)>> {
        let mut listed: Vec<u64> = keys.iter().map(|key| key.0).collect();
        listed.sort_unstable();
        if listed.len() > LONGEST {
            return Ok(None);
        }
        // The threads of a process are kept apart here, and processes by the kernel.
        let _alone = self.listing.lock();
        if !self.file.try_lock_byte(LISTING)? {
            return Ok(None);
        }
        let _listing = Listing(&self.file);
        let file = self.file.file()?;
        let Some(place) = self.take_place()? else { return Ok(None) };
        let lists = others(&file)?;
        if write_list(&file, place.number, &listed).is_err() {
            return Ok(None);
        }
        let is_anybody_there = is_taken(&file, bytes::ALL_KEYS)?;
        let is_elsewhere = |key| -> io::Result<bool> {
            for &list in &lists {
                if contains(&file, list, key)? {
                    return Ok(true);
                }
            }
            Ok(is_anybody_there && is_taken(&file, bytes::byte_of(key))?)
        };
        let ours = keys.iter().map(|&key| Ok(!is_elsewhere(key)?)).collect::<io::Result<_>>()?;
        Ok(Some((place, ours)))
    }

    fn take_place(self: &Arc<Self>) -> io::Result<Option<Place>> {
        for number in 0..PLACES {
            if std::mem::replace(&mut self.held.lock()[number], true) {
                continue;
            }
            match self.file.try_lock_byte(byte_of(number)) {
                Ok(true) => return Ok(Some(Place { number, together: self.clone() })),
                other => {
                    self.held.lock()[number] = false;
                    other?;
                }
            }
        }
        Ok(None)
    }
}

/// The places that other processes hold. Mostly there are none, which takes one question.
fn others(file: &File) -> io::Result<Vec<usize>> {
    if !is_taken(file, (FIRST_PLACE, PLACES as u64))? {
        return Ok(Vec::new());
    }
    let mut held = Vec::new();
    for place in 0..PLACES {
        if is_taken(file, (byte_of(place), 1))? {
            held.push(place);
        }
    }
    Ok(held)
}

/// Returns the byte of the place by which another process holds `key`, if one does.
pub(super) fn holder(file: &File, key: Hash) -> io::Result<Option<u64>> {
    for place in others(file)? {
        if contains(file, place, key)? {
            return Ok(Some(byte_of(place)));
        }
    }
    Ok(None)
}

fn write_list(file: &File, place: usize, keys: &[u64]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(8 * (keys.len() + 1));
    bytes.extend((keys.len() as u64).to_le_bytes());
    keys.iter().for_each(|key| bytes.extend(key.to_le_bytes()));
    write_at(file, &bytes, list_of(place))
}

/// Is `key` in the list, which is in order?
fn contains(file: &File, place: usize, key: Hash) -> io::Result<bool> {
    let length = usize::try_from(number_at(file, list_of(place))?).unwrap_or(LONGEST);
    let (mut from, mut to) = (0, length.min(LONGEST));
    while from < to {
        let middle = usize::midpoint(from, to);
        let found = number_at(file, list_of(place) + 8 * (middle as u64 + 1))?;
        match found.cmp(&key.0) {
            std::cmp::Ordering::Equal => return Ok(true),
            std::cmp::Ordering::Less => from = middle + 1,
            std::cmp::Ordering::Greater => to = middle,
        }
    }
    Ok(false)
}

fn number_at(file: &File, offset: u64) -> io::Result<u64> {
    let mut number = [0; 8];
    read_at(file, &mut number, offset)?;
    Ok(u64::from_le_bytes(number))
}

#[cfg(test)]
mod tests {
    use super::super::{Locks, MANY};
    use super::*;
    use crate::lock::{KeyedLock as _, Lease};

    const COUNT: usize = MANY + 44;

    fn keys(from: usize, count: usize) -> Vec<String> {
        (from..from + count).map(|n| format!("k{n}")).collect()
    }

    /// Two handles on one lock file are as two processes.
    fn handles() -> (tempfile::TempDir, [Locks; 2]) {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("cache.db.lock");
        (directory, [0, 1].map(|_| Locks::open(&path, None).unwrap()))
    }

    fn take(locks: &Locks, keys: &[String]) -> Vec<Option<Lease>> {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        locks.try_lock_all(&keys).unwrap()
    }

    fn count(leases: &[Option<Lease>]) -> usize {
        leases.iter().flatten().count()
    }

    fn is_locked(locks: &Locks, key: &str) -> bool {
        pollster::block_on(locks.is_locked(key)).unwrap()
    }

    /// The number of locks that the kernel has for the lock file, if it says so.
    fn kernel_locks(directory: &tempfile::TempDir) -> Option<usize> {
        use std::os::unix::fs::MetadataExt;

        let file = std::fs::metadata(directory.path().join("cache.db.lock")).unwrap().ino();
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        Some(locks.lines().filter(|line| line.contains(&format!(":{file} "))).count())
    }

    #[test]
    fn many_are_one_lock_of_the_kernels() {
        let (directory, [one, two]) = handles();
        let held = take(&one, &keys(0, COUNT));
        assert_eq!(count(&held), COUNT);
        // Of locks that come and go while it lists them, the kernel may leave out others.
        let is_one = |_| kernel_locks(&directory).is_none_or(|locks| locks == 1);
        assert!((0..1_000).any(is_one), "{:?}", kernel_locks(&directory));
        for key in [&keys(0, COUNT)[0], &keys(0, COUNT)[COUNT - 1]] {
            assert!(is_locked(&one, key) && is_locked(&two, key));
            assert_eq!(count(&take(&two, std::slice::from_ref(key))), 0);
        }
        assert!(!is_locked(&two, "other"));
        drop(held);
        assert!(keys(0, COUNT).iter().all(|key| !is_locked(&two, key)));
        assert_eq!(count(&take(&two, &keys(0, COUNT))), COUNT);
    }

    #[test]
    fn lists_that_overlap_and_single_keys_share_nothing() {
        let (_directory, [one, two]) = handles();
        let single = take(&two, &keys(7, 1));
        let first = take(&one, &keys(0, COUNT));
        assert!(first[7].is_none());
        assert_eq!(count(&first), COUNT - 1);
        let second = take(&two, &keys(100, COUNT));
        assert_eq!(count(&second), 100, "those that the first has not");
        assert!(second[..COUNT - 100].iter().all(Option::is_none));
        // The one key is in the list of the first, which does not have it.
        drop(single);
        assert_eq!(count(&take(&two, &keys(7, 1))), 0);
        assert_eq!(count(&take(&one, &keys(7, 1))), 1);
        drop(first);
        assert_eq!(count(&take(&two, &keys(7, 1))), 1);
    }

    /// Some notes may share a place.
    #[test]
    fn only_what_is_held_is_noted() {
        let (_directory, [one, two]) = handles();
        let single = take(&two, &keys(0, 80));
        let together = take(&one, &keys(0, COUNT));
        assert_eq!((count(&single), count(&together)), (80, COUNT - 80));
        let noted = one.held().unwrap();
        let of_list = noted.iter().filter(|held| !keys(0, 80).contains(&held.key)).count();
        assert!(of_list > 30, "{of_list}");
    }

    #[test]
    fn who_has_no_place_takes_them_one_by_one() {
        let (_directory, [one, two]) = handles();
        let held: Vec<_> = (0..=PLACES).map(|n| take(&one, &keys(n * COUNT, COUNT))).collect();
        assert!(held.iter().all(|held| count(held) == COUNT));
        assert_eq!(count(&take(&two, &keys(PLACES * COUNT, COUNT))), 0);
        drop(held);
        assert_eq!(count(&take(&two, &keys(0, (PLACES + 1) * COUNT))), (PLACES + 1) * COUNT);
    }

    #[test]
    fn waiters_wake_when_the_place_is_free() {
        let (_directory, [one, two]) = handles();
        let held = take(&one, &keys(0, COUNT));
        let waiter = std::thread::spawn(move || {
            pollster::block_on(async {
                loop {
                    if let Some(lease) = two.try_lock("k3").await.unwrap() {
                        return lease;
                    }
                    if let Some(lease) = two.wait("k3").await.unwrap() {
                        return lease;
                    }
                }
            })
        });
        assert!(!waiter.is_finished());
        drop(held);
        drop(waiter.join().unwrap());
    }

    #[test]
    fn nobody_has_what_another_has_under_load() {
        use std::sync::atomic::{AtomicUsize, Ordering};

        let (_directory, handles) = handles();
        let inside: Vec<AtomicUsize> = (0..COUNT + 100).map(|_| AtomicUsize::new(0)).collect();
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (locks, inside) = (&handles[number % 2], &inside);
                scope.spawn(move || {
                    for round in 0..60 {
                        let count = if number < 2 { COUNT } else { 40 };
                        let from = (round * 7 + number * 30) % 100;
                        let leases = take(locks, &keys(from, count));
                        let ours = (from..).zip(&leases).filter(|(_, lease)| lease.is_some());
                        let ours: Vec<usize> = ours.map(|(index, _)| index).collect();
                        for &index in &ours {
                            assert_eq!(inside[index].fetch_add(1, Ordering::SeqCst), 0);
                        }
                        std::thread::yield_now();
                        for &index in &ours {
                            inside[index].fetch_sub(1, Ordering::SeqCst);
                        }
                        drop(leases);
                    }
                });
            }
        });
    }
}
