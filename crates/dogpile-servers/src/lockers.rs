//! The kernel's list of locks.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The kernel's list is only as of one moment within a read of this many bytes.
const PAGE: usize = 4096;

/// Between two of its reads the list may have moved on, past a lock that stands.
const LOOKS: usize = 8;

/// Returns the ids of the processes that hold a POSIX lock on `file`, as SQLite's are.
/// Available on Linux.
///
/// # Panics
///
/// If there is no such file, or the kernel does not list locks.
#[must_use]
pub fn lockers(file: &Path) -> BTreeSet<u32> {
    let inode = fs::metadata(file).expect("the file is there").ino().to_string();
    (0..LOOKS).flat_map(|_| owners(&locks(), &inode)).collect()
}

/// The list as text, in reads as large as the kernel answers at once.
fn locks() -> String {
    let mut list = fs::File::open("/proc/locks").expect("the kernel lists locks");
    let mut read = Vec::new();
    let mut page = [0; PAGE];
    loop {
        let length = list.read(&mut page).expect("the kernel lists locks");
        if length == 0 {
            return String::from_utf8(read).expect("the list is ASCII");
        }
        read.extend_from_slice(&page[..length]);
    }
}

/// The processes that hold a lock on the file with the number `inode`.
fn owners(locks: &str, inode: &str) -> Vec<u32> {
    // `7: POSIX  ADVISORY  READ 4711 fe:00:1234 1073741826 1073742335`, or with an arrow
    // before the kind where somebody only waits.
    let owner = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "POSIX", _, _, owner, place, ..] = words[..] else { return None };
        let is_it = place.rsplit(':').next() == Some(inode);
        owner.parse().ok().filter(|_| is_it)
    };
    locks.lines().filter_map(owner).collect()
}
