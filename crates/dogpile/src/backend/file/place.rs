//! The place of the cache file, and a check that it is still the one that was opened:
//! it may have been deleted, or moved aside by another process.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::FileError;
use crate::sync::Mutex;

/// A file's identity, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

    /// Opens the file at the path with `open`, and notes which one it was.
    ///
    /// The path can come to lead to another file at any moment, so what was opened is known
    /// only if the same file was there before and after it. A file that `open` has just made
    /// is therefore opened a second time.
    pub(super) fn open<T>(
        &self,
        mut open: impl FnMut(&Path) -> Result<T, FileError>,
    ) -> Result<T, FileError> {
        // Held until the file is opened again: SQLite clears up after its last connection.
        let mut made = None;
        let found = if let Some(found) = identity(&self.path) {
            found
        } else {
            made = Some(open(&self.path)?);
            identity(&self.path).ok_or(FileError::Replaced)?
        };
        let opened = open(&self.path);
        drop(made);
        match opened {
            Ok(_) if identity(&self.path) != Some(found) => Err(FileError::Replaced),
            // Who is to move a damaged file aside must know which one it is.
            Ok(_) | Err(FileError::Damaged(_)) => {
                *self.opened.lock() = Some(found);
                self.generation.fetch_add(1, Ordering::AcqRel);
                opened
            }
            Err(_) => opened,
        }
    }

    /// Is the file that was opened still at the path?
    pub(super) fn is_current(&self) -> bool {
        let opened = *self.opened.lock();
        opened.is_some() && opened == identity(&self.path)
    }

    /// Is `path` the database, or a file that SQLite keeps beside it? Nobody but SQLite
    /// may open these: closing them would drop its locks.
    pub(super) fn is_sqlites(&self, path: &Path) -> bool {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_default();
        let (database, name, file) = (absolute(&self.path), absolute(path), identity(path));
        ["", "-wal", "-shm", "-journal"].iter().any(|suffix| {
            let own = with_suffix(&database, suffix);
            own == name || cfg!(unix) && file.is_some() && identity(&own) == file
        })
    }

    /// See [`number_of`].
    pub(super) fn number(&self) -> u64 {
        number_of(&self.path)
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

/// The number by which its file system knows the file at `path`; 0 if there is none.
pub(super) fn number_of(path: &Path) -> u64 {
    identity(path).map_or(0, |Identity(_, number)| number)
}

/// Creates an empty file at `path` unless there is one, with exactly `mode`, or as the umask
/// has it. SQLite gives its log and its index the mode of the database.
///
/// It is created under another name first: whoever closed a descriptor of the database
/// itself would drop the locks that this process may hold on it.
pub(super) fn create(path: &Path, mode: Option<u32>) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let path = &target_of(path);
    if fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let new = with_suffix(path, &format!(".new-{}-{count}", std::process::id()));
    drop(create_file(&new, mode)?);
    let linked = fs::hard_link(&new, path);
    // Where there are no links, SQLite creates the file, and its mode is the umask's.
    let _ = fs::remove_file(&new);
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if mode.is_some() => Err(error),
        _ => Ok(()),
    }
}

/// Returns the path that links at `path` lead to, whether there is a file or not. SQLite keeps its
/// log beside that.
pub(super) fn target_of(path: &Path) -> PathBuf {
    // As many as the system follows.
    const MOST_LINKS: usize = 40;
    let mut target = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(next) = fs::read_link(&target) else { return target };
        // One that begins at the root replaces all before it.
        target = target.parent().map_or(next.clone(), |folder| folder.join(&next));
    }
    path.to_owned()
}

/// Creates a file that is not there yet, with exactly `mode`, or as the umask has it.
pub(super) fn create_file(path: &Path, mode: Option<u32>) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

        let Some(mode) = mode else { return options.open(path) };
        let file = options.mode(mode).open(path)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        Ok(file)
    }
    #[cfg(not(unix))]
    {
        let _ = mode;
        options.open(path)
    }
}

/// The mode of the file at `path`, without its kind.
pub(super) fn mode_of(path: &Path) -> Option<u32> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        fs::metadata(path).ok().map(|found| found.permissions().mode() & 0o666)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// `path` with `suffix` behind its name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(unix)]
pub(super) fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;

    fs::metadata(path).ok().map(|found| Identity(found.dev(), found.ino()))
}

/// Elsewhere a file that is open can be neither deleted nor moved.
#[cfg(not(unix))]
pub(super) fn identity(_path: &Path) -> Option<Identity> {
    Some(Identity(0, 0))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, Place) {
        let directory = tempfile::TempDir::new().unwrap();
        let place = Place::new(&directory.path().join("cache.db"));
        (directory, place)
    }

    /// As another process does that moves a damaged file aside and begins a new one.
    fn replace(path: &Path) {
        // The one before is kept: a file system may give its number to the next.
        fs::rename(path, with_suffix(path, ".before")).unwrap();
        fs::write(path, "").unwrap();
    }

    #[test]
    fn a_file_that_is_replaced_while_it_is_opened_is_not_taken_for_the_new_one() {
        let (_directory, place) = place();
        fs::write(&place.path, "").unwrap();
        let opened = place.open(|path| {
            replace(path);
            Ok(())
        });
        assert!(matches!(opened, Err(FileError::Replaced)), "{opened:?}");
        assert!(!place.is_current());
        place.open(|_| Ok(())).unwrap();
        assert!(place.is_current());
    }

    #[test]
    fn a_file_that_was_just_made_is_looked_at_twice() {
        let (_directory, place) = place();
        let mut before = Vec::new();
        place
            .open(|path| {
                before.push(identity(path));
                if before.len() == 1 {
                    fs::write(path, "").unwrap();
                    replace(path);
                }
                Ok(())
            })
            .unwrap();
        assert_eq!(before, [None, identity(&place.path)]);
        assert!(place.is_current());
    }

    #[test]
    fn a_file_that_cannot_be_opened_changes_nothing() {
        let (_directory, place) = place();
        fs::write(&place.path, "").unwrap();
        place.open(|_| Ok(())).unwrap();
        let generation = place.generation();
        replace(&place.path);
        place.open(|_| Err::<(), _>(FileError::Busy)).unwrap_err();
        assert!(!place.is_current(), "what was opened before is not at the path any more");
        place.open(|_| Err::<(), _>(FileError::Damaged("so".to_owned()))).unwrap_err();
        assert!(place.is_current(), "the damaged one may be moved aside");
        assert!(place.generation() > generation);
    }
}
