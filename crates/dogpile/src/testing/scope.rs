//! A cache of its own for each test.

use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use super::{ManualClock, used};
use crate::bridge::block_on;
use crate::clock::Clock;
use crate::tally::Tally;

/// A set of caches: in it, every region is another one than outside.
///
/// There, a region begins empty, in memory without a bound, with a clock that stands still until
/// [`advance`](Self::advance) is called. Nothing expires unless a call or an attribute says when.
/// It can be [configured](crate::Region::configure) once, as in a process; the clock of the scope
/// holds then too, unless the configuration names another. What was configured outside does not
/// count inside.
///
/// All of a region is in the scope: its values, locks, invalidations, proxies and statistics.
///
/// Code is in the scope:
///
/// - on the thread that has [entered](Self::enter) it, until the guard is dropped. That holds for
///   blocking code and for a test's body; also for all its tasks if the runtime has one thread,
///   as that of `#[tokio::test]` has;
/// - in a future that is [run](Self::run) in it, on whatever thread;
/// - in a background creation of a call in the scope.
///
/// Other threads and tasks are not. A `Scope` is cloned into those that belong to the test:
///
/// ```
/// use dogpile::{Region, testing::Scope};
///
/// static USERS: Region = Region::new("users");
///
/// # #[tokio::main(flavor = "multi_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = Scope::new().enter();
/// USERS.set("42", &"Ada".to_owned()).await?;
///
/// // A task on a runtime of several threads.
/// let task = tokio::spawn(cache.run(async { USERS.get::<String>("42").await }));
/// assert_eq!(task.await??, Some("Ada".to_owned()));
///
/// // A thread.
/// let scope = cache.clone();
/// let thread = std::thread::spawn(move || {
///     let _cache = scope.enter();
///     USERS.blocking().get::<String>("42")
/// });
/// assert_eq!(thread.join().unwrap()?, Some("Ada".to_owned()));
/// # Ok(()) }
/// ```
///
/// Clones are the same scope. With the last of them, and the last background creation, all its
/// values are gone. Of scopes within scopes the innermost one counts; it is as empty as any.
#[derive(Clone)]
pub struct Scope(Arc<Inner>);

struct Inner {
    clock: ManualClock,
    kept: Mutex<HashMap<usize, Kept>>,
    others: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    background: Tally,
}

/// Stands in the scope for something of the process's.
struct Kept {
    /// Keeps the address, by which it is found, from being used again.
    _identity: Arc<dyn Any + Send + Sync>,
    state: Arc<dyn Any + Send + Sync>,
}

thread_local! {
    /// The scopes that this thread is in, the innermost last.
    static ENTERED: RefCell<Vec<(u64, Scope)>> = const { RefCell::new(Vec::new()) };
    static NEXT: Cell<u64> = const { Cell::new(0) };
}

impl Scope {
    /// Returns a scope with nothing in it, with a [`ManualClock::new`].
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            clock: ManualClock::new(),
            kept: Mutex::default(),
            others: Mutex::default(),
            background: Tally::new(),
        }))
    }

    /// Returns the innermost scope that the caller is in.
    pub fn current() -> Option<Self> {
        if !used::was_used() {
            return None;
        }
        // None on a thread that is ending.
        let innermost = ENTERED.try_with(|entered| {
            let entered = entered.borrow();
            entered.last().map(|(_, scope)| scope.clone())
        });
        innermost.ok().flatten()
    }

    /// Puts this thread into the scope until the guard is dropped, also by a panic.
    ///
    /// Bind it to a name: `let _ = scope.enter()` drops it at once. In an async test it may be
    /// held over awaits: the body of a test stays on its thread. For other futures, which may
    /// move between threads or take turns on one, there is [`run`](Self::run).
    ///
    /// ```
    /// use dogpile::{Region, testing::Scope};
    ///
    /// static USERS: Region = Region::new("users");
    ///
    /// let cache = Scope::new().enter();
    /// USERS.blocking().set("42", &"Ada".to_owned())?;
    ///
    /// drop(cache);
    /// assert!(USERS.blocking().get::<String>("42").is_err(), "it is not configured");
    /// # Ok::<(), dogpile::Error>(())
    /// ```
    pub fn enter(&self) -> Entered {
        used::note();
        let id = NEXT.replace(NEXT.get() + 1);
        ENTERED.with_borrow_mut(|entered| entered.push((id, self.clone())));
        Entered { scope: self.clone(), id, stays_on_its_thread: PhantomData }
    }

    /// Returns `future` in the scope: each time it is polled, whoever polls it.
    ///
    /// Cancel safe if `future` is.
    pub fn run<F: Future>(&self, future: F) -> InScope<F> {
        InScope { future: Box::pin(future), scope: self.clone(), ongoing: None }
    }

    /// Returns the clock of the scope's regions.
    pub fn clock(&self) -> &ManualClock {
        &self.0.clock
    }

    /// Moves the clock of the scope's regions forward.
    pub fn advance(&self, by: Duration) {
        self.0.clock.advance(by);
    }

    /// Waits until no background creation of the scope is going on: what they created is stored.
    ///
    /// Cancel safe.
    ///
    /// ```
    /// use std::time::Duration;
    /// use dogpile::{Region, testing::Scope};
    ///
    /// static USERS: Region = Region::new("users");
    ///
    /// async fn visits(now: u32) -> u32 {
    ///     let entry = USERS.entry("visits").expiration(Duration::from_secs(60));
    ///     entry.get_or_create_in_background(async move || now).await
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let cache = Scope::new().enter();
    /// assert_eq!(visits(1).await, 1);
    ///
    /// cache.advance(Duration::from_secs(61));
    /// assert_eq!(visits(2).await, 1); // stale, while another is created in the background
    /// cache.settled().await;
    /// assert_eq!(visits(3).await, 2);
    /// # }
    /// ```
    pub async fn settled(&self) {
        self.0.background.zero().await;
    }

    /// The same for code that is not async.
    ///
    /// # Panics
    ///
    /// On the thread of a runtime with one thread, where what it waits for could not go on.
    pub fn blocking_settled(&self) {
        let waited = block_on(self.settled());
        waited.expect("background creations cannot go on while their runtime's thread waits");
    }

    /// Returns what `T` is in this scope.
    pub(crate) fn other<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut others = self.0.others.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || -> Arc<dyn Any + Send + Sync> { Arc::new(T::default()) };
        let other = others.entry(TypeId::of::<T>()).or_insert_with(new).clone();
        drop(others);
        other.downcast().unwrap_or_default()
    }

    /// Stands for background work until it is dropped.
    pub(crate) fn begin(&self) -> Ongoing {
        self.0.background.begin();
        Ongoing(self.clone())
    }

    /// Returns `work` in the scope, which waits for it to be settled.
    pub(crate) fn carry<F: Future>(&self, work: F) -> InScope<F> {
        InScope { ongoing: Some(self.begin()), ..self.run(work) }
    }

    /// Returns what stands in this scope for the thing that `identity` belongs to, which
    /// `create` makes of the scope's clock.
    pub(crate) fn kept<I, S>(
        &self,
        identity: &Arc<I>,
        create: impl FnOnce(Arc<dyn Clock>) -> S,
    ) -> Arc<S>
    where
        I: Send + Sync + 'static,
        S: Send + Sync + 'static,
    {
        let address = Arc::as_ptr(identity) as usize;
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.entry(address).or_insert_with(|| Kept {
            _identity: identity.clone(),
            state: Arc::new(create(Arc::new(self.0.clock.clone()))),
        });
        kept.state.clone().downcast().expect("an address has one type as long as it is held")
    }
}

impl Default for Scope {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("clock", &self.0.clock).finish_non_exhaustive()
    }
}

/// A thread's stay in a [`Scope`], which it dereferences to.
#[derive(Debug)]
#[must_use = "the thread leaves the scope when this is dropped"]
pub struct Entered {
    scope: Scope,
    id: u64,
    stays_on_its_thread: PhantomData<*const ()>,
}

impl Deref for Entered {
    type Target = Scope;

    fn deref(&self) -> &Scope {
        &self.scope
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // Guards may be dropped in any order. What is left is dropped after the borrow.
        let _left = ENTERED.try_with(|entered| {
            let mut entered = entered.borrow_mut();
            let place = entered.iter().rposition(|(id, _)| *id == self.id);
            place.map(|place| entered.remove(place))
        });
    }
}

/// A future in a [`Scope`].
#[must_use = "a future does nothing until it is polled"]
pub struct InScope<F> {
    // Is dropped before the work counts as ended.
    future: Pin<Box<F>>,
    scope: Scope,
    ongoing: Option<Ongoing>,
}

/// Background work of a scope until it is dropped.
pub(crate) struct Ongoing(Scope);

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.0.0.background.end();
    }
}

impl<F: Future> Future for InScope<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _entered = self.scope.enter();
        self.future.as_mut().poll(cx)
    }
}

impl<F> fmt::Debug for InScope<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InScope")
            .field("scope", &self.scope)
            .field("is_background", &self.ongoing.is_some())
            .finish_non_exhaustive()
    }
}
