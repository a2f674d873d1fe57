//! Where the cache file is, and whether it is still the one that was opened:
//! it may have been deleted, or moved aside by another process.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::Mutex;

/// A file's identity, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

/// The path of a cache file, and which file was last opened there.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// Rises when another file is opened at the path: connections of an older
    /// generation are closed.
    generation: AtomicU64,
    opened: Mutex<Option<Identity>>,
}

impl Place {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), generation: AtomicU64::new(0), opened: Mutex::new(None) }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The file now at the path, if there is one, is about to be opened.
    pub(super) fn about_to_open(&self) {
        *self.opened.lock() = identity(&self.path);
    }

    /// The file now at the path is the one that is worked with.
    pub(super) fn opened_now(&self) {
        *self.opened.lock() = identity(&self.path);
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Is the file that was opened still at the path?
    pub(super) fn is_current(&self) -> bool {
        let opened = *self.opened.lock();
        opened == identity(&self.path)
    }

    /// Is `path` the database, or a file that SQLite keeps beside it? Nobody but SQLite
    /// may open these: closing them would drop its locks.
    pub(super) fn is_sqlites(&self, path: &Path) -> bool {
        ["", "-wal", "-shm", "-journal"].iter().any(|suffix| {
            let own = with_suffix(&self.path, suffix);
            let same_name = std::path::absolute(&own).ok() == std::path::absolute(path).ok();
            same_name || cfg!(unix) && identity(path).is_some_and(|it| identity(&own) == Some(it))
        })
    }

    /// Renames the file and what belongs to it, so that a new one can begin;
    /// what it is called now.
    pub(super) fn move_aside(&self) -> io::Result<PathBuf> {
        const MOST: u32 = 10;
        let numbered = |n: u32| with_suffix(&self.path, &format!(".damaged-{n}"));
        let aside = (1..=MOST).map(numbered).find(|path| !path.exists()).ok_or_else(|| {
            io::Error::other(format!(
                "it was damaged {MOST} times already; remove the `{}.damaged-*` files",
                self.path.display()
            ))
        })?;
        // First what could be mistaken for a new file's; there may be none.
        for suffix in ["-wal", "-shm"] {
            let _ = fs::rename(with_suffix(&self.path, suffix), with_suffix(&aside, suffix));
        }
        fs::rename(&self.path, &aside)?;
        Ok(aside)
    }
}

/// `path` with `suffix` behind its name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;

    fs::metadata(path).ok().map(|found| Identity(found.dev(), found.ino()))
}

/// Elsewhere a file that is open can be neither deleted nor moved.
#[cfg(not(unix))]
fn identity(_path: &Path) -> Option<Identity> {
    Some(Identity(0, 0))
}
