//! The generation of a process: a number that tells it from those that it was forked from.
//!
//! A page that the kernel empties in each forked process has it, where the system can do that: then it
//! costs a load, and every fork is noticed. Elsewhere the system is asked for the number of the process,
//! or the runtime says that it forks.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::page;

/// The generation of this process, and its number below that; where there is no page.
static PRESENT: AtomicU64 = AtomicU64::new(0);

/// The generation of the process that makes the page.
const FIRST: u32 = 1;

/// The greatest generation that was begun so far on the page.
static LAST: AtomicU32 = AtomicU32::new(FIRST);

/// Is [`after_fork`](crate::after_fork) called in every process that is forked?
static ARE_FORKS_ANNOUNCED: AtomicBool = AtomicBool::new(false);

/// Says that this process calls [`after_fork`](crate::after_fork) in each process that it forks. For runtimes with a hook
/// for that, such as Python's `os.register_at_fork`.
///
/// Without it, a fork is recognized by itself: by a page of memory that the kernel empties in a forked
/// process (on Linux), or else by the number of the process, for which the
/// system is asked several times in a miss.
pub fn announce_forks() {
    generation();
    ARE_FORKS_ANNOUNCED.store(true, Ordering::Release);
}

/// This process was just forked.
pub(crate) fn begin_generation() {
    if let Some(page) = page::get(FIRST) {
        return page.store(next(), Ordering::Release);
    }
    let generation = PRESENT.load(Ordering::Acquire) >> 32;
    let present = (generation + 1) << 32 | u64::from(std::process::id());
    PRESENT.store(present, Ordering::Release);
}

/// Returns the generation of this process: 1, and one more at least in a process that was forked
/// after its parent had asked.
#[inline]
pub(crate) fn generation() -> u32 {
    let Some(page) = page::get(FIRST) else { return by_number() };
    match page.load(Ordering::Acquire) {
        0 => begin(page),
        generation => generation,
    }
}

/// Begins one in a process that was forked, if no other thread just did. It may be more than one greater.
#[cold]
fn begin(page: &AtomicU32) -> u32 {
    let next = next();
    page.compare_exchange(0, next, Ordering::AcqRel, Ordering::Acquire)
        .map_or_else(|it| it, |_| next)
}

/// Taken before it is on the page: a fork between the two leads to a number of its own.
fn next() -> u32 {
    LAST.fetch_add(1, Ordering::AcqRel) + 1
}

/// The same without a page.
fn by_number() -> u32 {
    let mut present = PRESENT.load(Ordering::Acquire);
    if ARE_FORKS_ANNOUNCED.load(Ordering::Acquire) {
        return u32::try_from(present >> 32).unwrap_or(u32::MAX);
    }
    let process = u64::from(std::process::id());
    loop {
        let generation = present >> 32;
        if present & u64::from(u32::MAX) == process && generation > 0 {
            return u32::try_from(generation).unwrap_or(u32::MAX);
        }
        let next = (generation + 1) << 32 | process;
        match PRESENT.compare_exchange(present, next, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => present = next,
            Err(other) => present = other,
        }
    }
}

/// Was this process forked from one that had used this crate?
pub(crate) fn is_forked() -> bool {
    generation() > 1
}

/// Returns where numbers begin that are never used twice, also not by a parent.
pub(crate) fn first_number() -> u64 {
    u64::from(generation()) << 48
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_of_a_forked_process_begin_the_same_generation() {
        for _ in 0..100 {
            let page = AtomicU32::new(0);
            let begun = std::thread::scope(|scope| {
                let threads = [(); 4].map(|()| scope.spawn(|| begin(&page)));
                threads.map(|thread| thread.join().unwrap())
            });
            assert!(begun[0] > FIRST);
            assert_eq!(begun, [page.load(Ordering::Acquire); 4]);
        }
    }

    #[test]
    fn the_generation_stays_within_a_process() {
        for ask in [generation, by_number] {
            let here = ask();
            assert!(here > 0);
            assert_eq!(std::thread::spawn(ask).join().unwrap(), here);
        }
        assert!(!is_forked());
    }
}
