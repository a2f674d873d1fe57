//! A registry of named things that live as long as somebody uses them: users of one name share one object, and the last one to leave
//! takes it along.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// One live object per name.
///
/// ```
/// use std::sync::Arc;
/// use dogpile::lock::{KeyedMutex, NameRegistry};
///
/// static LOCKS: NameRegistry<KeyedMutex> = NameRegistry::new();
///
/// let one = LOCKS.get("reports", KeyedMutex::new);
/// let two = LOCKS.get("reports", KeyedMutex::new);
/// assert!(Arc::ptr_eq(&one, &two));
/// ```
pub struct NameRegistry<T> {
    names: Mutex<Names<T>>,
}

struct Names<T> {
    live: BTreeMap<String, Weak<T>>,
    /// At how many names those whose objects have died are swept out.
    sweep_at: usize,
}

const FIRST_SWEEP: usize = 32;

impl<T> NameRegistry<T> {
    /// A registry of no names.
    pub const fn new() -> Self {
        let names = Names { live: BTreeMap::new(), sweep_at: FIRST_SWEEP };
        Self { names: Mutex::new(names) }
    }

    /// The object called `name`; made by `create` if nobody has one. `create`
    /// should be quick: other names wait for it. It must not ask this
    /// registry for anything.
    pub fn get(&self, name: &str, create: impl FnOnce() -> T) -> Arc<T> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(object) = names.live.get(name).and_then(Weak::upgrade) {
            return object;
        }
        let object = Arc::new(create());
        names.live.insert(name.to_owned(), Arc::downgrade(&object));
        names.sweep_if_grown();
        object
    }

    /// Returns the number of names with a live object.
    pub fn len(&self) -> usize {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.live.values().filter(|object| object.strong_count() > 0).count()
    }

    /// Has no name a live object?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Names<T> {
    fn sweep_if_grown(&mut self) {
        if self.live.len() >= self.sweep_at {
            self.live.retain(|_, object| object.strong_count() > 0);
            self.sweep_at = (2 * self.live.len()).max(FIRST_SWEEP);
        }
    }
}

impl<T> Default for NameRegistry<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for NameRegistry<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameRegistry").field("len", &self.len()).finish()
    }
}
