//! Cache files in a process that was forked.
//!
//! SQLite keeps, for each file that a process has open, a list of the locks that its
//! connections hold. A forked process has a copy of that list, but the kernel has not given it
//! the locks. So before its first connection to a file it takes those that the list speaks
//! of: the shared lock of the database, and that of its index. Then nobody takes himself for
//! the last one and removes the log that this process writes to.
//!
//! Its parent's connections are neither used nor closed.
//!
//! A list that was copied while another thread was working with SQLite cannot be trusted, and
//! a mutex of SQLite's may be locked for ever. So all work with SQLite is counted. A process that says
//! when it forks waits for the end of that work, and begins none until it has forked. A process that
//! was forked in the middle of some has an error for an answer.

use crate::backend::BackendError;
pub(super) use crate::fork::Permission;
/// Stands for work with SQLite until it is dropped.
pub(super) use crate::fork::Uninterrupted as Working;

/// Returns the permission of this process to work with SQLite.
///
/// # Errors
///
/// If it was forked in the middle of such work.
pub(super) fn permission() -> Result<Permission, BackendError> {
    Permission::of_process().ok_or_else(|| {
        BackendError::unavailable(
            "the process was forked while another thread used a cache file: cache files cannot be used in it",
        )
    })
}

pub(super) use locks::adopt;

#[cfg(target_os = "linux")]
mod locks {
    use std::collections::HashMap;
    use std::collections::hash_map::Entry;
    use std::fs::{self, File};
    use std::io;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use nix::errno::Errno;
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;

    use crate::backend::BackendError;
    use crate::backend::file::error::FileError;
    use crate::backend::file::place::{Identity, identity, with_suffix};
    use crate::process::{PerProcess, is_forked};
    use crate::sync::Mutex;

    /// The bytes of a database that its readers lock, as its format has them.
    const SHARED: (i64, i64) = (0x4000_0002, 510);
    /// The byte of an index that all lock who have it open.
    const INDEX: (i64, i64) = (128, 1);

    /// The files whose locks this process has taken, open as long as it lives: to close one
    /// would drop them.
    static ADOPTED: PerProcess<Mutex<HashMap<Identity, [Option<File>; 2]>>> = PerProcess::new();

    /// Takes the locks that SQLite believes to hold on the database at `path`, where it may
    /// believe so.
    pub(in crate::backend::file) fn adopt(path: &Path) -> Result<(), FileError> {
        if !is_forked() {
            return Ok(());
        }
        let Some(database) = identity(path) else { return Ok(()) };
        let mut adopted = ADOPTED.get_or_init(Mutex::default).lock();
        if let Entry::Vacant(place) = adopted.entry(database) {
            place.insert(take(path)?);
        }
        Ok(())
    }

    fn take(path: &Path) -> Result<[Option<File>; 2], FileError> {
        let failed = |error: io::Error| {
            let path = path.display();
            FileError::Backend(BackendError::unavailable(format!("`{path}` after a fork: {error}")))
        };
        let database = lock(path, SHARED)?;
        // From now on nobody removes the log and its index.
        if is_index_gone(path).map_err(failed)? {
            return Err(FileError::Backend(BackendError::unavailable(format!(
                "`{}` was closed by all others since the process was forked, and cannot be used in it",
                path.display()
            ))));
        }
        Ok([database, lock(&with_suffix(path, "-shm"), INDEX)?])
    }

    /// Locks some bytes of the file at `path`, if there is one, shared with others.
    #[expect(clippy::cast_possible_truncation, reason = "the kinds of lock are 0, 1 and 2")]
    fn lock(path: &Path, (l_start, l_len): (i64, i64)) -> Result<Option<File>, FileError> {
        let unavailable = |error: io::Error| FileError::Backend(BackendError::unavailable(error));
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(unavailable)?,
        };
        let range = libc::flock {
            l_type: libc::F_RDLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start,
            l_len,
            l_pid: 0,
        };
        match fcntl(&file, FcntlArg::F_SETLK(&range)) {
            Ok(_) => Ok(Some(file)),
            Err(Errno::EAGAIN | Errno::EACCES) => Err(FileError::Busy),
            Err(error) => Err(unavailable(error.into())),
        }
    }

    /// Has this process the index of the database in its memory, although it was removed?
    fn is_index_gone(path: &Path) -> io::Result<bool> {
        let index = with_suffix(&fs::canonicalize(path)?, "-shm (deleted)");
        let maps = fs::read("/proc/self/maps")?;
        Ok(maps
            .split(|byte| *byte == b'\n')
            .any(|line| line.ends_with(index.as_os_str().as_bytes())))
    }
}

/// Elsewhere the locks cannot be taken.
#[cfg(not(target_os = "linux"))]
mod locks {
    use std::path::Path;

    use crate::backend::BackendError;
    use crate::backend::file::error::FileError;

    pub(in crate::backend::file) fn adopt(_path: &Path) -> Result<(), FileError> {
        if crate::process::is_forked() {
            return Err(FileError::Backend(BackendError::unavailable(
                "on this system cache files cannot be used in a process that was forked",
            )));
        }
        Ok(())
    }
}
