//! Locks of bytes of the lock file, which belong to its open file description. The kernel frees
//! them when their process dies, and wakes waiters.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::Hash;

/// The first byte of keys. Those before it belong to the notes, and to lists of keys.
const FIRST: u64 = 1 << 62;

/// Some bytes: the first one, and how many.
pub(super) type Bytes = (u64, u64);

/// The bytes of all keys.
pub(super) const ALL_KEYS: Bytes = (FIRST, FIRST);

#[derive(Debug)]
pub(super) struct LockFile {
    /// None once it is left to a parent.
    file: ArcSwapOption<File>,
    path: PathBuf,
}

impl LockFile {
    pub(super) fn new(file: File, path: &Path) -> Self {
        Self { file: ArcSwapOption::from_pointee(file), path: path.to_owned() }
    }

    pub(super) fn file(&self) -> io::Result<Arc<File>> {
        let elsewhere = "it is the lock file of the process that this one was forked from";
        self.file.load_full().ok_or_else(|| io::Error::other(elsewhere))
    }

    /// The file, unless it is left to a parent.
    pub(super) fn get(&self) -> Option<Arc<File>> {
        self.file.load_full()
    }

    pub(super) fn leave(&self) {
        self.file.store(None);
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
