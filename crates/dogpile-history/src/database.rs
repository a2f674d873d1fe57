//! The database of a run: a version for each key, which only grows.
//!
//! It is a file that all processes share. A read is one `pread` of 16 bytes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The file with the versions.
#[derive(Debug)]
pub struct Database(File);

impl Database {
    /// Creates it at `path`, with all of `keys` at version 1.
    pub fn create(path: &Path, keys: usize) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        (0..keys).try_for_each(|key| file.write_all_at(&row(1), offset(key)))
    }

    /// Opens it.
    pub fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).open(path).map(Self)
    }

    /// Returns the version of `key`.
    pub fn version(&self, key: usize) -> io::Result<u64> {
        loop {
            let mut bytes = [0; 16];
            self.0.read_exact_at(&mut bytes, offset(key))?;
            let number = u128::from_le_bytes(bytes);
            let version = u64::try_from(number & u128::from(u64::MAX)).unwrap_or(0);
            // Otherwise the read was in the middle of a write.
            if bytes == row(version) {
                return Ok(version);
            }
        }
    }

    /// Raises the version of `key` and returns the new one. At any time only one caller of
    /// all processes may do so for a key.
    pub fn bump(&self, key: usize) -> io::Result<u64> {
        let version = self.version(key)? + 1;
        self.0.write_all_at(&row(version), offset(key))?;
        Ok(version)
    }
}

fn offset(key: usize) -> u64 {
    16 * key as u64
}

/// A version and its complement, so that half a write is noticed.
fn row(version: u64) -> [u8; 16] {
    (u128::from(version) | u128::from(!version) << 64).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_it_was_bumped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("database");
        Database::create(&path, 3).unwrap();
        let (one, other) = (Database::open(&path).unwrap(), Database::open(&path).unwrap());
        assert_eq!(one.version(2).unwrap(), 1);
        assert_eq!(one.bump(2).unwrap(), 2);
        assert_eq!(other.bump(2).unwrap(), 3);
        assert_eq!((one.version(2).unwrap(), one.version(1).unwrap()), (3, 1));
    }
}
