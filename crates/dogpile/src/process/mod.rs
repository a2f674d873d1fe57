//! State that belongs to one process, and is not there any more in a process that was forked
//! from it: threads, connections, locks.
//!
//! A forked process has a copy of the memory and one thread: the one that forked. So it
//! starts afresh with whatever has threads or connections, and never touches its parent's
//! copies: they are leaked on purpose, since to drop them would write to sockets, or free
//! locks, that are the parent's.
//!
//! It is recognized where something is handed to a thread or server, by its [`generation`]. A hit in
//! memory does not ask for that.
//!
//! - [`PerProcess`] has a value for each process, and [`Rebuilt`] knows how it is made;
//! - [`Owned`] is used and dropped by the process that made it only.
//!
//! What remains possible: a mutex that another thread held at the moment of the fork stays
//! locked in the child. Ours are held for a moment only, and those of what is per process
//! are not the child's.

mod generation;
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"),
    target_pointer_width = "64",
    not(miri)
))]
#[expect(unsafe_code, reason = "a page that forks empty saves most of a miss in memory; see there")]
mod page;
/// There is none on other systems.
#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"),
    target_pointer_width = "64",
    not(miri)
)))]
mod page {
    pub(super) fn get(_: u32) -> Option<&'static std::sync::atomic::AtomicU32> {
        None
    }
}

use std::fmt;
use std::mem;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub use generation::announce_forks;
pub(crate) use generation::{begin_generation, first_number, generation, is_forked};

/// A value for each process.
pub(crate) struct PerProcess<T>(Node<T>);

/// The value of one process, and those of the processes that were forked from it.
struct Node<T> {
    /// 0 before it is some process's.
    generation: AtomicU32,
    making: Mutex<()>,
    value: OnceLock<Owned<T>>,
    next: OnceLock<Box<Node<T>>>,
}

impl<T> Node<T> {
    const fn new() -> Self {
        Self {
            generation: AtomicU32::new(0),
            making: Mutex::new(()),
            value: OnceLock::new(),
            next: OnceLock::new(),
        }
    }

    /// Is it this process's, or can it become so?
    fn is_of(&self, generation: u32) -> bool {
        let claimed =
            self.generation.compare_exchange(0, generation, Ordering::AcqRel, Ordering::Acquire);
        claimed.map_or_else(|of| of == generation, |_| true)
    }
}

impl<T> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(Node::new())
    }

    fn node(&self) -> &Node<T> {
        let (mut node, present) = (&self.0, generation());
        while node.generation.load(Ordering::Acquire) != present && !node.is_of(present) {
            node = node.next.get_or_init(|| Box::new(Node::new()));
        }
        node
    }

    /// Returns this process's value, which `make` makes if there is none.
    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        let made: Result<&T, std::convert::Infallible> = self.get_or_try_init(|| Ok(make()));
        match made {
            Ok(value) => value,
        }
    }

    /// Returns this process's value, which `make` makes if there is none.
    ///
    /// # Errors
    ///
    /// If `make` fails. The next call tries again.
    pub(crate) fn get_or_try_init<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        let node = self.node();
        if node.value.get().is_none() {
            let _alone = node.making.lock().unwrap_or_else(PoisonError::into_inner);
            if node.value.get().is_none() {
                let _ = node.value.set(Owned::new(make()?));
            }
        }
        match node.value.get().and_then(Owned::peek) {
            Some(value) => Ok(value),
            None => unreachable!("it was set, and is never taken out"),
        }
    }

    /// Returns the values of the processes that this one was forked from, as they were at
    /// that moment: other threads may have been in the middle of changing them. `own` is
    /// this process's, if there is one.
    #[cfg(feature = "file")]
    pub(crate) fn inherited<'a>(&'a self, own: Option<&'a T>) -> impl Iterator<Item = &'a T> {
        let nodes =
            std::iter::successors(Some(&self.0), |node| node.next.get().map(|next| &**next));
        nodes
            .filter_map(|node| node.value.get().and_then(Owned::peek))
            .filter(move |value| !own.is_some_and(|own| std::ptr::eq(own, *value)))
    }
}

impl<T> fmt::Debug for PerProcess<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PerProcess")
    }
}

/// A value that each process makes for itself when it first needs it. Clones share it.
pub(crate) struct Rebuilt<T>(Arc<Recipe<T>>);

struct Recipe<T> {
    make: Box<dyn Fn() -> T + Send + Sync>,
    made: PerProcess<T>,
}

impl<T> Rebuilt<T> {
    /// The value is made at once in this process.
    pub(crate) fn new(make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        let rebuilt = Self::lazy(make);
        let _: &T = &rebuilt;
        rebuilt
    }

    /// The value is made in this process too when it is first needed.
    pub(crate) fn lazy(make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Self(Arc::new(Recipe { make: Box::new(make), made: PerProcess::new() }))
    }
}

impl<T> Clone for Rebuilt<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// To this process's value.
impl<T> Deref for Rebuilt<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.made.get_or_init(|| (self.0.make)())
    }
}

/// Something that is of use to the process that made it only. A forked one leaks its copy.
pub(crate) struct Owned<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Owned<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { generation: generation(), value: Some(value) }
    }

    fn is_ours(&self) -> bool {
        self.generation == generation()
    }

    /// Returns what is inside, whosever it is.
    fn peek(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// Returns what is inside, in its own process.
    pub(crate) fn get(&self) -> Option<&T> {
        self.value.as_ref().filter(|_| self.is_ours())
    }

    /// Takes out what is inside, in its own process.
    pub(crate) fn take(&mut self) -> Option<T> {
        if self.is_ours() { self.value.take() } else { None }
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if self.value.is_some() && !self.is_ours() {
            mem::forget(self.value.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn a_value_is_made_once_and_again_where_making_failed() {
        let (made, value) = (AtomicUsize::new(0), PerProcess::new());
        assert_eq!(value.get_or_try_init(|| Err::<u32, _>("no")), Err("no"));
        let make = || {
            made.fetch_add(1, Ordering::SeqCst);
            7
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(*value.get_or_init(make), 7));
            }
        });
        assert_eq!(made.load(Ordering::SeqCst), 1);
    }
}
