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

use super::{Hash, Kernel};

/// The first byte of keys. Those before it belong to the notes.
const FIRST: u64 = 1 << 62;

#[derive(Debug)]
pub(crate) struct Ranges {
    /// None once it is left to a parent.
    file: ArcSwapOption<File>,
    path: PathBuf,
}

impl Ranges {
    fn of(file: File, path: &Path) -> Self {
        Self { file: ArcSwapOption::from_pointee(file), path: path.to_owned() }
    }

    fn file(&self) -> io::Result<Arc<File>> {
        let elsewhere = "it is the lock file of the process that this one was forked from";
        self.file.load_full().ok_or_else(|| io::Error::other(elsewhere))
    }
}

impl Kernel for Ranges {
    fn open(path: &Path, mode: Option<u32>) -> io::Result<Self> {
        Ok(Self::of(super::open_file(path, mode)?, path))
    }

    fn look(path: &Path) -> io::Result<Self> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => File::open("/dev/null"),
            opened => opened,
        };
        Ok(Self::of(file?, path))
    }

    fn try_lock(&self, key: Hash) -> io::Result<bool> {
        match fcntl(&self.file()?, FcntlArg::F_OFD_SETLK(&range(key, libc::F_WRLCK))) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn unlock(&self, key: Hash) {
        // Nothing is left to do where even this fails; closing the file frees
        // the lock.
        if let Ok(file) = self.file() {
            let _ = fcntl(&file, FcntlArg::F_OFD_SETLK(&range(key, libc::F_UNLCK)));
        }
    }

    fn is_locked_elsewhere(&self, key: Hash) -> io::Result<bool> {
        // Waiters hold shared locks for a moment, so a shared one is asked for.
        let mut asked = range(key, libc::F_RDLCK);
        fcntl(&self.file()?, FcntlArg::F_OFD_GETLK(&mut asked))?;
        Ok(i32::from(asked.l_type) != libc::F_UNLCK)
    }

    /// By a shared lock on a descriptor of its own: all who wait get it at
    /// once, and dropping it frees nothing that this process holds.
    fn wait(&self, key: Hash) -> io::Result<()> {
        let file = super::open_file(&self.path, None)?;
        let wanted = range(key, libc::F_RDLCK);
        loop {
            match fcntl(&file, FcntlArg::F_OFD_SETLKW(&wanted)) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn notes(&self) -> Option<Arc<File>> {
        self.file.load_full()
    }

    fn leave(&self) {
        self.file.store(None);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the kinds of lock are 0, 1 and 2")]
fn range(key: Hash, kind: i32) -> libc::flock {
    let start = FIRST | (key.0 >> 2);
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start.cast_signed(),
        l_len: 1,
        l_pid: 0,
    }
}
