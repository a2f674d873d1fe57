//! Byte-range locks of open file descriptions: one byte of the lock file for
//! each key, at an offset hashed from it, far after the file's end; and one for
//! many keys, where they are listed.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::bytes::{LockFile, byte_of, is_taken};
use super::together::{self, Place, Together};
use super::{Hash, Kernel};

/// The lock file.
#[derive(Debug)]
pub(crate) struct System {
    file: Arc<LockFile>,
    together: Arc<Together>,
}

impl System {
    fn over(file: File, path: &Path) -> Self {
        let file = Arc::new(LockFile::new(file, path));
        let together = Arc::new(Together::new(file.clone()));
        Self { file, together }
    }
}

impl Kernel for System {
    type Together = Place;

    fn open(path: &Path, mode: Option<u32>) -> io::Result<Self> {
        Ok(Self::over(super::open_file(path, mode)?, path))
    }

    fn look(path: &Path) -> io::Result<Self> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => File::open("/dev/null"),
            opened => opened,
        };
        Ok(Self::over(file?, path))
    }

    fn try_lock(&self, key: Hash) -> io::Result<bool> {
        let byte = byte_of(key).0;
        if !self.file.try_lock_byte(byte)? {
            return Ok(false);
        }
        match together::holder(&*self.file.file()?, key) {
            Ok(None) => Ok(true),
            other => {
                self.file.unlock_byte(byte);
                other.map(|_| false)
            }
        }
    }

    fn unlock(&self, key: Hash) {
        self.file.unlock_byte(byte_of(key).0);
    }

    fn try_lock_all(&self, keys: &[Hash]) -> io::Result<Option<(Place, Vec<bool>)>> {
        self.together.lock(keys)
    }

    fn is_locked_elsewhere(&self, key: Hash) -> io::Result<bool> {
        let file = self.file.file()?;
        Ok(is_taken(&file, byte_of(key))? || together::holder(&file, key)?.is_some())
    }

    fn wait(&self, key: Hash) -> io::Result<()> {
        self.file.wait_for_byte(byte_of(key).0)?;
        match together::holder(&*self.file.file()?, key)? {
            Some(place) => self.file.wait_for_byte(place),
            None => Ok(()),
        }
    }

    fn notes(&self) -> Option<Arc<File>> {
        self.file.get()
    }

    fn leave(&self) {
        self.file.leave();
    }
}
