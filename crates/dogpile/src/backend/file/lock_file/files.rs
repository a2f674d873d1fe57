//! One small file per key that is being created, locked as a whole: for
//! systems without locks of byte ranges that belong to an open file.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Hash, Kernel};
use crate::sync::Mutex;

#[derive(Debug)]
pub(crate) struct Files {
    directory: PathBuf,
    held: Mutex<HashMap<Hash, File>>,
}

impl Files {
    fn path(&self, key: Hash) -> PathBuf {
        self.directory.join(format!("{:016x}", key.0))
    }
}

impl Kernel for Files {
    type Together = std::convert::Infallible;

    fn look(path: &Path) -> io::Result<Self> {
        let mut directory = path.as_os_str().to_owned();
        directory.push("s");
        Ok(Self { directory: directory.into(), held: Mutex::default() })
    }

    fn open(path: &Path, _mode: Option<u32>) -> io::Result<Self> {
        let mut directory = path.as_os_str().to_owned();
        directory.push("s");
        fs::create_dir_all(&directory)?;
        Ok(Self { directory: directory.into(), held: Mutex::default() })
    }

    fn try_lock(&self, key: Hash) -> io::Result<bool> {
        let path = self.path(key);
        loop {
            let file = super::open_file(&path, None)?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => return Ok(false),
                Err(TryLockError::Error(error)) => return Err(error),
                // Its last holder may have removed it since it was opened.
                Ok(()) if !is_still(&path, &file)? => {}
                Ok(()) => {
                    self.held.lock().insert(key, file);
                    return Ok(true);
                }
            }
        }
    }

    fn unlock(&self, key: Hash) {
        let file = self.held.lock().remove(&key);
        // A file that stays behind is locked again next time.
        let _ = fs::remove_file(self.path(key));
        drop(file);
    }

    /// Each has a file.
    fn try_lock_all(&self, _keys: &[Hash]) -> io::Result<Option<(Self::Together, Vec<bool>)>> {
        Ok(None)
    }

    fn is_locked_elsewhere(&self, key: Hash) -> io::Result<bool> {
        let file = match File::open(self.path(key)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn wait(&self, key: Hash) -> io::Result<()> {
        match File::open(self.path(key)) {
            Ok(file) => file.lock_shared(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn notes(&self) -> Option<Arc<File>> {
        None
    }

    fn leave(&self) {
        self.held.lock().clear();
    }
}

#[cfg(unix)]
fn is_still(path: &Path, file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;

    let held = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Elsewhere a file that is open cannot be replaced.
#[cfg(not(unix))]
fn is_still(_path: &Path, _file: &File) -> io::Result<bool> {
    Ok(true)
}
