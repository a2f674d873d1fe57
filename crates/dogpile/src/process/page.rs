//! A page of memory that the kernel empties in a process that is forked.
//!
//! So a number that is stored here is 0 in such a process, however it was forked. To ask the system for
//! the number of the process costs as much as a good part of a read from a file.
//!
//! The standard library does not offer it, and a crate that does takes longer to compile than most of what
//! this one needs. So the three functions are declared here, for systems on which these numbers are known.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// `PROT_READ | PROT_WRITE`.
const READ_AND_WRITE: c_int = 1 | 2;

/// `MAP_PRIVATE | MAP_ANONYMOUS`.
const PRIVATE_MEMORY: c_int = 0x02 | 0x20;

/// `MADV_WIPEONFORK`.
const WIPE_ON_FORK: c_int = 18;

/// `MAP_FAILED`, as a number.
const FAILED: usize = usize::MAX;

unsafe extern "C" {
    fn mmap(
        at: *mut c_void,
        length: usize,
        access: c_int,
        flags: c_int,
        file: c_int,
        offset: i64,
    ) -> *mut c_void;
    fn madvise(at: *mut c_void, length: usize, advice: c_int) -> c_int;
    fn munmap(at: *mut c_void, length: usize) -> c_int;
}

/// `None` where the system cannot do this.
static PAGE: OnceLock<Option<&'static AtomicU32>> = OnceLock::new();

/// Returns the number on the page: `first` from the start, and 0 in a process that was forked and has
/// stored nothing there.
#[inline]
pub(super) fn get(first: u32) -> Option<&'static AtomicU32> {
    match PAGE.get() {
        Some(page) => *page,
        None => make(first),
    }
}

/// Threads may ask for the first time at once. So the page has its number before it is offered: they must
/// not take themselves for a forked process's. They are held up for a moment only, in which a fork could
/// not go on. Some of them may have made a page in vain.
#[cold]
fn make(first: u32) -> Option<&'static AtomicU32> {
    let _ = PAGE.set(new(first));
    PAGE.get().copied().flatten()
}

/// The system makes whole pages of it.
const SIZE: usize = size_of::<AtomicU32>();

fn new(first: u32) -> Option<&'static AtomicU32> {
    // SAFETY: it maps memory that was nobody's, wherever the kernel likes. The standard library links the
    // same function, whose offset is of 64 bits on these systems.
    let page = unsafe { mmap(ptr::null_mut(), SIZE, READ_AND_WRITE, PRIVATE_MEMORY, -1, 0) };
    if page.addr() == FAILED {
        return None;
    }
    // SAFETY: it is advice on memory that was just mapped, and nobody has a reference to yet.
    // Emulators that take any advice, and do nothing, take one that does not exist as well.
    let forks_empty =
        unsafe { madvise(page, SIZE, -1) != 0 && madvise(page, SIZE, WIPE_ON_FORK) == 0 };
    if forks_empty {
        // SAFETY: the memory stays mapped as long as the process lives, is aligned to a page, and all
        // its bits are 0, which are a number. All access to it is atomic, and what the kernel empties is
        // another process's copy.
        let page = unsafe { page.cast::<AtomicU32>().as_ref() };
        page.inspect(|page| page.store(first, Ordering::Release))
    } else {
        // SAFETY: nobody has a reference to it.
        unsafe { munmap(page, SIZE) };
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Run it under a sanitizer, too: `cargo xtask sanitizer`.
    #[test]
    fn a_page_keeps_a_number_for_all_threads() {
        let page = new(1).expect("Linux can do that");
        assert_eq!(page.load(Ordering::Acquire), 1);
        std::thread::spawn(|| page.store(7, Ordering::Release)).join().unwrap();
        assert_eq!(page.load(Ordering::Acquire), 7);
        assert_eq!(new(1).expect("another one").load(Ordering::Acquire), 1);
        assert!(ptr::eq(get(1).unwrap(), get(1).unwrap()));
    }
}
