//! Byte-range locks of open file descriptions: one byte of the lock file for
//! each key, at an offset hashed from it, far after the file's end. The kernel
//! frees them when their process dies, and wakes waiters.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::together::{self, Place, Places};
use super::{Hash, Kernel};
use crate::sync::Mutex;

/// The first byte of keys. Those before it belong to the notes, and to [`together`].
const FIRST: u64 = 1 << 62;

/// Some bytes: the first one, and how many.
pub(super) type Bytes = (u64, u64);

/// The bytes of all keys.
pub(super) const ALL_KEYS: Bytes = (FIRST, FIRST);

/// The lock file. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct System(Arc<Ranges>);

#[derive(Debug)]
pub(super) struct Ranges {
    /// None once it is left to a parent.
    file: ArcSwapOption<File>,
    path: PathBuf,
    places: Places,
    /// Held by the thread that lists keys.
    listing: Mutex<()>,
}

impl Ranges {
    fn of(file: File, path: &Path) -> Self {
        Self {
            file: ArcSwapOption::from_pointee(file),
            path: path.to_owned(),
            places: Places::default(),
            listing: Mutex::default(),
        }
    }

    pub(super) fn file(&self) -> io::Result<Arc<File>> {
        let elsewhere = "it is the lock file of the process that this one was forked from";
        self.file.load_full().ok_or_else(|| io::Error::other(elsewhere))
    }

    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    pub(super) fn listing(&self) -> &Mutex<()> {
        &self.listing
    }

    pub(super) fn try_lock_byte(&self, byte: u64) -> io::Result<bool> {
        match fcntl(&self.file()?, FcntlArg::F_OFD_SETLK(&range((byte, 1), libc::F_WRLCK))) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn unlock_byte(&self, byte: u64) {
        // Nothing is left to do where even this fails; closing the file frees
        // the lock.
        if let Ok(file) = self.file() {
            let _ = fcntl(&file, FcntlArg::F_OFD_SETLK(&range((byte, 1), libc::F_UNLCK)));
        }
    }

    /// By a shared lock on a descriptor of its own: all who wait get it at
    /// once, and dropping it frees nothing that this process holds.
    pub(super) fn wait_for_byte(&self, byte: u64) -> io::Result<()> {
        let file = super::open_file(&self.path, None)?;
        let wanted = range((byte, 1), libc::F_RDLCK);
        loop {
            match fcntl(&file, FcntlArg::F_OFD_SETLKW(&wanted)) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Does anybody else hold one of these bytes?
pub(super) fn is_taken(file: &File, bytes: Bytes) -> io::Result<bool> {
    // Waiters hold shared locks for a moment, so a shared one is asked for.
    let mut asked = range(bytes, libc::F_RDLCK);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut asked))?;
    Ok(i32::from(asked.l_type) != libc::F_UNLCK)
}

impl Kernel for System {
    type Together = Place;

    fn open(path: &Path, mode: Option<u32>) -> io::Result<Self> {
        Ok(Self(Arc::new(Ranges::of(super::open_file(path, mode)?, path))))
    }

    fn look(path: &Path) -> io::Result<Self> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => File::open("/dev/null"),
            opened => opened,
        };
        Ok(Self(Arc::new(Ranges::of(file?, path))))
    }

    fn try_lock(&self, key: Hash) -> io::Result<bool> {
        let byte = byte_of(key).0;
        if !self.0.try_lock_byte(byte)? {
            return Ok(false);
        }
        match together::holder(&*self.0.file()?, key) {
            Ok(None) => Ok(true),
            other => {
                self.0.unlock_byte(byte);
                other.map(|_| false)
            }
        }
    }

    fn unlock(&self, key: Hash) {
        self.0.unlock_byte(byte_of(key).0);
    }

    fn try_lock_all(&self, keys: &[Hash]) -> io::Result<Option<(Place, Vec<bool>)>> {
        together::lock(&self.0, keys)
    }

    fn is_locked_elsewhere(&self, key: Hash) -> io::Result<bool> {
        let file = self.0.file()?;
        Ok(is_taken(&file, byte_of(key))? || together::holder(&file, key)?.is_some())
    }

    fn wait(&self, key: Hash) -> io::Result<()> {
        self.0.wait_for_byte(byte_of(key).0)?;
        match together::holder(&*self.0.file()?, key)? {
            Some(place) => self.0.wait_for_byte(place),
            None => Ok(()),
        }
    }

    fn notes(&self) -> Option<Arc<File>> {
        self.0.file.load_full()
    }

    fn leave(&self) {
        self.0.file.store(None);
    }
}

/// The byte of a key.
pub(super) fn byte_of(key: Hash) -> Bytes {
    (FIRST | (key.0 >> 2), 1)
}

#[expect(clippy::cast_possible_truncation, reason = "the kinds of lock are 0, 1 and 2")]
fn range((first, count): Bytes, kind: i32) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: first.cast_signed(),
        l_len: count.cast_signed(),
        l_pid: 0,
    }
}
