//! The data of readers: one revision of a collection, or of a view of it.

use std::any::{Any, TypeId};
use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use arc_swap::Guard;

/// The data of one revision, whatever happens meanwhile: it dereferences to
/// them.
///
/// It costs what a load of an `ArcSwap` does. Where old revisions must not pile
/// up, don't keep one for longer than its data are needed.
pub struct Snapshot<D>(Guard<Arc<Revision<D>>>);

/// One revision: its data, and what has been derived of them.
pub(super) struct Revision<D> {
    number: u64,
    data: D,
    views: Views,
}

impl<D> Revision<D> {
    pub(super) fn new(number: u64, data: D) -> Arc<Self> {
        Arc::new(Self { number, data, views: Views::default() })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn data(&self) -> &D {
        &self.data
    }

    /// Has nobody but the caller got it, or any of its views?
    pub(super) fn is_unused(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && self.views.are_unused()
    }
}

impl<D> Snapshot<D> {
    pub(super) fn new(revision: Guard<Arc<Revision<D>>>) -> Self {
        Self(revision)
    }

    /// The number of the revision. Zero for data that this process loaded while
    /// the store was away, and that no other process has.
    pub fn revision(&self) -> u64 {
        self.0.number
    }

    /// Returns what the function `make` derives of the data. It is called once per
    /// revision, by the first who asks; others who ask meanwhile wait for it.
    ///
    /// The function is what names the view, so it is the name of a `fn`, or a closure that
    /// captures nothing: a program with another does not build. What it makes owns its data: it
    /// cannot borrow from the table. A view of a view is a call on the outcome. If it panics, so
    /// does this call, and the next one tries again.
    ///
    /// ```
    /// # use std::collections::HashMap;
    /// use dogpile::collections::Snapshot;
    ///
    /// fn by_initial(names: &HashMap<u32, String>) -> HashMap<char, Vec<u32>> {
    ///     let mut found: HashMap<char, Vec<u32>> = HashMap::new();
    ///     for (id, name) in names {
    ///         found.entry(name.chars().next().unwrap_or('?')).or_default().push(*id);
    ///     }
    ///     found
    /// }
    ///
    /// fn initials(groups: &HashMap<char, Vec<u32>>) -> Vec<char> {
    ///     let mut initials: Vec<char> = groups.keys().copied().collect();
    ///     initials.sort_unstable();
    ///     initials
    /// }
    ///
    /// fn show(names: &Snapshot<HashMap<u32, String>>) {
    ///     let groups = names.view(by_initial);
    ///     println!("{:?} begin with an A", groups.get(&'A'));
    ///     println!("{:?} are in use", *groups.view(initials));
    /// }
    /// # show(&Snapshot::of(HashMap::new()));
    /// ```
    #[doc(alias = "mapping_view")]
    #[doc(alias = "sequence_view")]
    pub fn view<A, U, F>(&self, make: F) -> Snapshot<U>
    where
        A: ?Sized,
        D: Borrow<A>,
        U: Send + Sync + 'static,
        F: Fn(&A) -> U + 'static,
    {
        const { assert!(size_of::<F>() == 0, "a view is a function, or a closure without captures") };
        let made = self.0.views.find(TypeId::of::<F>()).made.get_or_init(|| {
            let data = make(self.0.data.borrow());
            Revision::new(self.0.number, data)
        });
        let made: Arc<dyn Any + Send + Sync> = made.clone();
        match made.downcast::<Revision<U>>() {
            Ok(revision) => Snapshot(Guard::from_inner(revision)),
            Err(_) => unreachable!("one function makes one type"),
        }
    }

    /// A snapshot of data that belong to no collection: for tests of what takes
    /// one. Its revision is zero.
    pub fn of(data: D) -> Self {
        Self(Guard::from_inner(Revision::new(0, data)))
    }
}

impl<D> Clone for Snapshot<D> {
    fn clone(&self) -> Self {
        Self(Guard::from_inner(Arc::clone(&self.0)))
    }
}

impl<D> Deref for Snapshot<D> {
    type Target = D;

    fn deref(&self) -> &D {
        &self.0.data
    }
}

#[expect(clippy::into_iter_without_iter, reason = "`iter` is the data's own")]
impl<'s, D> IntoIterator for &'s Snapshot<D>
where
    &'s D: IntoIterator,
{
    type Item = <&'s D as IntoIterator>::Item;
    type IntoIter = <&'s D as IntoIterator>::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        self.0.data.into_iter()
    }
}

/// Shows the revision, not the data, which may be large or secret.
impl<D> fmt::Debug for Snapshot<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("revision", &self.revision()).finish_non_exhaustive()
    }
}

/// The views of one revision: a list that only grows, at its end, and is read
/// without a lock.
#[derive(Default)]
struct Views(OnceLock<Box<View>>);

struct View {
    /// The type of the function.
    by: TypeId,
    made: OnceLock<Arc<dyn Derived>>,
    next: Views,
}

/// A revision of any type.
trait Derived: Any + Send + Sync {
    fn views(&self) -> &Views;
}

impl<U: Send + Sync + 'static> Derived for Revision<U> {
    fn views(&self) -> &Views {
        &self.views
    }
}

impl Views {
    fn find(&self, by: TypeId) -> &View {
        let mut views = self;
        loop {
            let empty = || Box::new(View { by, made: OnceLock::new(), next: Self::default() });
            let view = views.0.get_or_init(empty);
            if view.by == by {
                return view;
            }
            views = &view.next;
        }
    }

    fn are_unused(&self) -> bool {
        let mut views = self;
        while let Some(view) = views.0.get() {
            let used =
                |made: &Arc<dyn Derived>| Arc::strong_count(made) > 1 || !made.views().are_unused();
            if view.made.get().is_some_and(used) {
                return false;
            }
            views = &view.next;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn sum(numbers: &[u32]) -> u32 {
        numbers.iter().sum()
    }

    fn doubled(numbers: &[u32]) -> Vec<u32> {
        numbers.iter().map(|n| 2 * n).collect()
    }

    #[test]
    fn each_view_is_made_once_by_whoever_comes_first() {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        fn slow(numbers: &[u32]) -> usize {
            std::thread::sleep(std::time::Duration::from_millis(20));
            MADE.fetch_add(1, Ordering::Relaxed);
            numbers.len()
        }
        let snapshot = Snapshot::of(vec![1, 2, 3]);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(*snapshot.view(slow), 3));
            }
        });
        assert_eq!(MADE.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn views_are_told_apart_by_their_functions() {
        let snapshot = Snapshot::of(vec![1, 2, 3]);
        assert_eq!(*snapshot.view(sum), 6);
        assert_eq!(*snapshot.view(|numbers: &[u32]| numbers.len()), 3);
        assert_eq!(*snapshot.view(|numbers: &Vec<u32>| numbers.len() + 1), 4);
        assert_eq!(*snapshot.view(doubled).view(sum), 12);
        assert_eq!(*snapshot.view(doubled).view(doubled).view(sum), 24);
        let (one, other) = (snapshot.view(doubled), snapshot.clone().view(doubled));
        let (one, other) = (one.as_ptr(), other.as_ptr());
        assert_eq!(one, other, "it is the same one");
    }

    #[test]
    fn a_panic_of_a_view_is_not_for_ever() {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        fn moody(numbers: &[u32]) -> u32 {
            assert!(CALLS.fetch_add(1, Ordering::Relaxed) > 0, "not the first time");
            numbers[0]
        }
        let snapshot = Snapshot::of(vec![7]);
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            snapshot.view(moody);
        }));
        assert!(failed.is_err());
        assert_eq!(*snapshot.view(moody), 7);
    }

    #[test]
    fn who_holds_a_view_of_a_view_holds_the_revision() {
        let revision = Revision::new(1, vec![1, 2]);
        let held = Snapshot(Guard::from_inner(revision.clone()));
        assert!(!revision.is_unused());
        let view = held.view(doubled).view(doubled);
        drop(held);
        assert!(!revision.is_unused());
        drop(view);
        assert!(revision.is_unused());
    }
}
