//! Waking an event loop from any thread.
//!
//! Futures of the crate are polled on the loop's thread. Their wakers know a number, and need no
//! interpreter: they put it into a queue and ring a bell that the loop hears.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use crate::bell::Bell;
use crate::calls::Calls as _;
use crate::clock;
use crate::strings::text;
use crate::{grave, trace};

/// The next step of what a task waits for, as `poll` says it.
pub(crate) const DONE: u8 = 0;
pub(crate) const CREATE: u8 = 1;
const WAIT: u8 = 2;

/// A step, and what belongs to it.
pub(crate) type Step = (u8, Py<PyAny>);

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A task's place among those that wait, while it does.
#[derive(Default)]
pub(crate) struct Place(Mutex<Option<(Arc<Wakes>, u64)>>);

impl Place {
    /// Goes a step. `None` from `step`: it has to wait, and its waker wakes the loop.
    pub(crate) fn poll(
        &self,
        py: Python<'_>,
        bridge: &Bridge,
        step: impl FnOnce(&Waker) -> PyResult<Option<Step>>,
    ) -> PyResult<Step> {
        clock::look(py)?;
        self.leave();
        let number = bridge.wakes.next.fetch_add(1, Ordering::Relaxed);
        let waker = Arc::new(Wakener { wakes: bridge.wakes.clone(), number });
        let done = step(&Waker::from(waker));
        grave::clear(py);
        if let Some(done) = trace::flush(py, done)? {
            return Ok(done);
        }
        // The loop looks into the queue on this thread, and so not before this is there.
        let future = bridge.create_future.bind(py).run0()?.unbind();
        lock(&bridge.wakes.futures).insert(number, future.clone_ref(py));
        *lock(&self.0) = Some((bridge.wakes.clone(), number));
        Ok((WAIT, future))
    }

    /// Nobody waits here any more.
    pub(crate) fn leave(&self) {
        let waiting = lock(&self.0).take();
        if let Some((wakes, number)) = waiting {
            drop(wakes.take(number));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The numbers that were woken, and the futures of all that wait.
struct Wakes {
    next: AtomicU64,
    woken: Mutex<Vec<u64>>,
    futures: Mutex<HashMap<u64, Py<PyAny>>>,
    bell: Bell,
}

impl Wakes {
    fn take(&self, number: u64) -> Option<Py<PyAny>> {
        lock(&self.futures).remove(&number)
    }
}

struct Wakener {
    wakes: Arc<Wakes>,
    number: u64,
}

impl Wake for Wakener {
    fn wake(self: Arc<Self>) {
        let mut woken = lock(&self.wakes.woken);
        let is_first = woken.is_empty();
        woken.push(self.number);
        drop(woken);
        if is_first {
            self.wakes.bell.ring();
        }
    }
}

/// The means by which an event loop waits for flights. The loop calls `drain` when there is something to
/// read from `fileno()`; a loop that cannot wait for that gives its `call_soon_threadsafe`.
#[pyclass(frozen, weakref, module = "dogpile_rs._engine")]
pub(crate) struct Bridge {
    wakes: Arc<Wakes>,
    create_future: Py<PyAny>,
}

#[pymethods]
impl Bridge {
    #[new]
    #[pyo3(signature = (create_future, call_soon_threadsafe = None))]
    fn new(create_future: Py<PyAny>, call_soon_threadsafe: Option<Py<PyAny>>) -> PyResult<Self> {
        let bell = match call_soon_threadsafe {
            Some(call) => Bell::calling(call)?,
            None => Bell::socket()?,
        };
        let (woken, futures) = (Mutex::default(), Mutex::default());
        let wakes = Wakes { next: AtomicU64::new(0), woken, futures, bell };
        Ok(Self { wakes: Arc::new(wakes), create_future })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.create_future)?;
        // Not while it is locked: then nothing of it can be collected anyway.
        match self.wakes.futures.try_lock() {
            Ok(futures) => futures.values().try_for_each(|future| visit.call(future)),
            Err(_) => Ok(()),
        }
    }

    /// The file descriptor to wait for; -1 where there is none.
    fn fileno(&self) -> i32 {
        self.wakes.bell.fileno()
    }

    /// With a loop's `call_soon_threadsafe`: says what it is to call.
    fn start(slf: &Bound<'_, Self>) -> PyResult<()> {
        let drain = slf.getattr(text!(slf.py(), drain))?;
        slf.get().wakes.bell.start(drain.unbind());
        Ok(())
    }

    /// Sets the futures of those who can go on.
    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        self.wakes.bell.hush();
        let woken = std::mem::take(&mut *lock(&self.wakes.woken));
        for number in woken {
            let Some(future) = self.wakes.take(number) else { continue };
            let future = future.bind(py);
            if !future.run_method1(text!(py, done), ())?.is_truthy()? {
                future.run_method1(text!(py, set_result), (py.None(),))?;
            }
        }
        Ok(())
    }
}
