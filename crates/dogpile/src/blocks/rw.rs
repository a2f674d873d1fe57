//! A read/write mutex for async and blocking callers alike.

use std::fmt;
use std::future::poll_fn;
use std::task::{Poll, Waker};

use crate::bridge::block_on;
use crate::sync::{Arc, Mutex};

/// Many readers or one writer. It guards no data of its own: what it protects
/// may be a file, or lie in another process. Clones are the same mutex.
///
/// A writer that waits keeps new readers out, so it gets its turn. All waits
/// are cancel safe: a dropped future has taken nothing and lost nothing.
///
/// ```
/// # pollster::block_on(async {
/// use dogpile::lock::ReadWriteMutex;
///
/// let mutex = ReadWriteMutex::new();
/// let one = mutex.read().await;
/// let two = mutex.read().await;
/// assert!(mutex.try_write().is_none());
/// drop((one, two));
/// assert!(mutex.try_write().is_some());
/// # });
/// ```
#[derive(Clone)]
pub struct ReadWriteMutex(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    readers: usize,
    writing: bool,
    writers_waiting: usize,
    wakers: Vec<Waker>,
}

/// Holding a [`ReadWriteMutex`]; dropping it gives it up.
#[must_use = "the mutex is given up when the guard is dropped"]
pub struct ReadWriteGuard {
    mutex: ReadWriteMutex,
    writes: bool,
}

impl ReadWriteMutex {
    /// A mutex that nobody holds.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State::default())))
    }

    /// Takes it for reading, if no writer has it or waits for it.
    pub fn try_read(&self) -> Option<ReadWriteGuard> {
        let mut state = self.0.lock();
        if state.writing || state.writers_waiting > 0 {
            return None;
        }
        state.readers += 1;
        Some(self.guard(false))
    }

    /// Takes it for writing, if nobody has it.
    pub fn try_write(&self) -> Option<ReadWriteGuard> {
        let mut state = self.0.lock();
        state.try_write().then(|| self.guard(true))
    }

    /// Waits until it can be read.
    pub async fn read(&self) -> ReadWriteGuard {
        poll_fn(|cx| match self.try_read() {
            Some(guard) => Poll::Ready(guard),
            None => self.queue(cx.waker(), Self::try_read),
        })
        .await
    }

    /// Waits until it can be written.
    pub async fn write(&self) -> ReadWriteGuard {
        self.0.lock().writers_waiting += 1;
        let waiting = WaitingWriter(self);
        let guard = poll_fn(|cx| match self.try_write() {
            Some(guard) => Poll::Ready(guard),
            None => self.queue(cx.waker(), Self::try_write),
        });
        let guard = guard.await;
        drop(waiting);
        guard
    }

    /// As [`read`](Self::read), for code that is not async.
    ///
    /// # Panics
    ///
    /// Inside a current-thread runtime, if it would have to wait: nothing
    /// could go on there meanwhile.
    pub fn read_blocking(&self) -> ReadWriteGuard {
        block_on(self.read()).expect("waiting here would starve the runtime")
    }

    /// As [`write`](Self::write), for code that is not async.
    ///
    /// # Panics
    ///
    /// Inside a current-thread runtime, if it would have to wait.
    pub fn write_blocking(&self) -> ReadWriteGuard {
        block_on(self.write()).expect("waiting here would starve the runtime")
    }

    fn guard(&self, writes: bool) -> ReadWriteGuard {
        ReadWriteGuard { mutex: self.clone(), writes }
    }

    /// Leaves a waker and tries once more, since the mutex may have come free
    /// between the first try and this.
    fn queue(
        &self,
        waker: &Waker,
        try_again: impl FnOnce(&Self) -> Option<ReadWriteGuard>,
    ) -> Poll<ReadWriteGuard> {
        let mut state = self.0.lock();
        if !state.wakers.iter().any(|queued| queued.will_wake(waker)) {
            state.wakers.push(waker.clone());
        }
        drop(state);
        try_again(self).map_or(Poll::Pending, Poll::Ready)
    }

    /// Changes the state and wakes all who wait: they look for themselves.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let wakers = {
            let mut state = self.0.lock();
            change(&mut state);
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl State {
    fn try_write(&mut self) -> bool {
        let free = !self.writing && self.readers == 0;
        self.writing |= free;
        free
    }
}

/// A writer in the queue; counted until it has its turn or gives up.
struct WaitingWriter<'m>(&'m ReadWriteMutex);

impl Drop for WaitingWriter<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.writers_waiting -= 1);
    }
}

impl Drop for ReadWriteGuard {
    fn drop(&mut self) {
        let writes = self.writes;
        self.mutex.change(|state| {
            if writes {
                state.writing = false;
            } else {
                state.readers -= 1;
            }
        });
    }
}

impl Default for ReadWriteMutex {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ReadWriteMutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        f.debug_struct("ReadWriteMutex")
            .field("readers", &state.readers)
            .field("writing", &state.writing)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ReadWriteGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadWriteGuard").field("writes", &self.writes).finish_non_exhaustive()
    }
}
