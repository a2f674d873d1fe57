//! The kernel's list of locks.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Returns the ids of the processes that hold a POSIX lock on `file`, as SQLite's are.
/// Available on Linux.
///
/// # Panics
///
/// If there is no such file, or the kernel does not list locks.
#[must_use]
pub fn lockers(file: &Path) -> Vec<u32> {
    let inode = fs::metadata(file).expect("the file is there").ino().to_string();
    let locks = fs::read_to_string("/proc/locks").expect("the kernel lists locks");
    // `7: POSIX  ADVISORY  READ 4711 fe:00:1234 1073741826 1073742335`, or with an arrow
    // before the kind where somebody only waits.
    let owner = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "POSIX", _, _, owner, place, ..] = words[..] else { return None };
        let is_it = place.rsplit(':').next() == Some(&inode);
        owner.parse().ok().filter(|_| is_it)
    };
    locks.lines().filter_map(owner).collect()
}
