//! A page of memory that the kernel empties in a process that is forked.
//!
//! So a number that is stored here is 0 in such a process, however it was forked. To ask the system for
//! the number of the process costs as much as a good part of a read from a file.

use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;

use nix::libc;

/// `None` where the system cannot do this.
static PAGE: OnceLock<Option<&'static AtomicU32>> = OnceLock::new();

/// Returns the number on the page: 0 in a process that has stored nothing there.
#[inline]
pub(super) fn get() -> Option<&'static AtomicU32> {
    match PAGE.get() {
        Some(page) => *page,
        None => first(),
    }
}

/// The page is made before it is offered, so that others are held up for a moment only: a fork in this
/// moment could not go on. Threads that are here at once make some more.
#[cold]
fn first() -> Option<&'static AtomicU32> {
    let _ = PAGE.set(new());
    PAGE.get().copied().flatten()
}

/// The system makes whole pages of it.
const SIZE: libc::size_t = size_of::<AtomicU32>();

fn new() -> Option<&'static AtomicU32> {
    // SAFETY: it maps memory that was nobody's, wherever the kernel likes.
    let page = unsafe {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        libc::mmap(ptr::null_mut(), SIZE, access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: it is advice on memory that was just mapped, and nobody has a reference to yet.
    // Emulators that take any advice, and do nothing, take one that does not exist as well.
    let forks_empty = unsafe {
        libc::madvise(page, SIZE, -1) != 0 && libc::madvise(page, SIZE, libc::MADV_WIPEONFORK) == 0
    };
    if forks_empty {
        // SAFETY: the memory stays mapped as long as the process lives, is aligned to a page, and all
        // its bits are 0, which are a number. All access to it is atomic, and what the kernel empties is
        // another process's copy.
        unsafe { page.cast::<AtomicU32>().as_ref() }
    } else {
        // SAFETY: nobody has a reference to it.
        unsafe { libc::munmap(page, SIZE) };
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    /// Run it under a sanitizer, too: `cargo xtask sanitizer`.
    #[test]
    fn a_page_keeps_a_number_for_all_threads() {
        let page = new().expect("Linux can do that");
        assert_eq!(page.load(Ordering::Acquire), 0);
        std::thread::spawn(|| page.store(7, Ordering::Release)).join().unwrap();
        assert_eq!(page.load(Ordering::Acquire), 7);
        assert_eq!(new().expect("another one").load(Ordering::Acquire), 0);
        assert!(ptr::eq(get().unwrap(), get().unwrap()));
    }
}
