//! Forks that a runtime tells of, and work that they must not interrupt.
//!
//! Such work goes on in foreign code with locks of its own: a process that is forked in the middle of it
//! has those as they are at that moment. So a fork waits for its end, and holds up what would begin.

use crate::process;

/// Says that this process is about to fork. Waits until no thread works on a cache file, and lets none
/// begin that before [`after_fork`] or [`after_fork_in_parent`] is called: so the child can use
/// these files. Takes a second at most.
///
/// For runtimes with a hook for that; see [`announce_forks`](crate::announce_forks).
pub fn before_fork() {
    #[cfg(feature = "file")]
    work::hold();
}

/// Says that this process has just forked, after [`before_fork`].
pub fn after_fork_in_parent() {
    #[cfg(feature = "file")]
    work::release();
}

/// Says that this process was just forked, and has done nothing else with this crate. See
/// [`announce_forks`](crate::announce_forks).
pub fn after_fork() {
    process::begin_generation();
    after_fork_in_parent();
}

#[cfg(feature = "file")]
pub(crate) use work::{Permission, Uninterrupted};

#[cfg(feature = "file")]
mod work {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    use crate::process::PerProcess;

    /// The number of works that are going on now, in this process.
    static UNDER_WAY: PerProcess<AtomicUsize> = PerProcess::new();

    /// Is this process about to fork?
    static IS_HELD: AtomicBool = AtomicBool::new(false);

    /// For so long a fork waits for work, and work for a fork.
    const PATIENCE: Duration = Duration::from_secs(1);
    /// Nobody is woken: a lock for that could be copied while it is locked.
    const PAUSE: Duration = Duration::from_micros(50);

    pub(super) fn hold() {
        IS_HELD.store(true, Ordering::SeqCst);
        let count = UNDER_WAY.get_or_init(AtomicUsize::default);
        wait_until(|| count.load(Ordering::SeqCst) == 0);
    }

    pub(super) fn release() {
        IS_HELD.store(false, Ordering::SeqCst);
    }

    /// Returns false if it was given up.
    fn wait_until(is_over: impl Fn() -> bool) -> bool {
        let end = Instant::now() + PATIENCE;
        loop {
            match is_over() {
                false if Instant::now() < end => thread::sleep(PAUSE),
                is_over => return is_over,
            }
        }
    }

    /// The permission of a process to do such work.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Permission(&'static AtomicUsize);

    impl Permission {
        /// Returns that of this process. `None` if it was forked in the middle of some.
        pub(crate) fn of_process() -> Option<Self> {
            let count = UNDER_WAY.get_or_init(AtomicUsize::default);
            let is_broken =
                UNDER_WAY.inherited(Some(count)).any(|count| count.load(Ordering::Acquire) > 0);
            (!is_broken).then_some(Self(count))
        }

        /// Begins what may be a part of other such work, in the process that this is of.
        pub(crate) fn begin(self) -> Uninterrupted {
            self.0.fetch_add(1, Ordering::SeqCst);
            Uninterrupted(self.0)
        }

        /// The same for work that is no part of other work: where the process is about to fork, it begins
        /// afterwards.
        pub(crate) fn begin_alone(self) -> Uninterrupted {
            loop {
                let work = self.begin();
                if !IS_HELD.load(Ordering::SeqCst) {
                    return work;
                }
                drop(work);
                if !wait_until(|| !IS_HELD.load(Ordering::SeqCst)) {
                    return self.begin();
                }
            }
        }
    }

    /// Stands for work that a fork must not interrupt, until it is dropped.
    pub(crate) struct Uninterrupted(&'static AtomicUsize);

    impl Drop for Uninterrupted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[cfg(test)]
    mod tests {
        use std::sync::mpsc;

        use super::*;

        #[test]
        fn a_fork_waits_for_work_and_work_for_a_fork() {
            let (say, said) = mpsc::channel();
            let permission = Permission::of_process().unwrap();
            let first = permission.begin_alone();
            thread::scope(|scope| {
                let (say_held, other) = (say.clone(), say.clone());
                scope.spawn(move || {
                    hold();
                    say_held.send("held").unwrap();
                });
                wait_until(|| IS_HELD.load(Ordering::SeqCst));
                scope.spawn(move || {
                    let _second = permission.begin_alone();
                    other.send("begun").unwrap();
                });
                // A part of other work goes on.
                drop(permission.begin());
                assert!(said.try_recv().is_err());
                drop(first);
                assert_eq!(said.recv().unwrap(), "held");
                assert!(said.try_recv().is_err());
                release();
                assert_eq!(said.recv().unwrap(), "begun");
            });
        }
    }
}
