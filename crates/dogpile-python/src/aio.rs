//! asyncio: a creation in two halves, whose creator's coroutine runs in the caller's own task, and
//! what wakes an event loop from any thread.
//!
//! Futures of the crate are polled on the loop's thread. Their wakers know a number, and need no
//! interpreter: they put it into a queue and ring a bell that the loop hears.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::{PyTraverseError, PyVisit};

use crate::bell::Bell;
use crate::clock;
use crate::dict::Noted;
use crate::engine::{Ask, Begun, Engine, Half, Work};
use crate::errors;
use crate::log;
use crate::strings::text;

/// The next step, as `Flight.poll` says it.
const DONE: u8 = 0;
const CREATE: u8 = 1;
const WAIT: u8 = 2;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The stage of a call.
enum Stage {
    Beginning(Work<Begun>),
    /// The value is this call's to create.
    Creating(Box<dyn Half>),
    Ending(Work<()>, Py<PyAny>),
    Over,
}

/// A creating call in two halves.
///
/// `poll` says `(0, value)`; or `(1, None)`: create a value, give it to `finish` and poll again; or
/// `(2, future)`: wait for that and poll again. Who stops in between calls `abandon`.
#[pyclass(frozen, module = "dogpile_rs._engine")]
pub(crate) struct Flight {
    engine: Engine,
    ask: Ask,
    /// Taken out while it is polled: what is polled may run Python code.
    stage: Mutex<Stage>,
    waiting: Mutex<Option<(Arc<Wakes>, u64)>>,
    _noted: Option<Noted>,
}

impl Flight {
    pub(crate) fn new(engine: Engine, ask: Ask, noted: Option<Noted>) -> Self {
        let stage = Mutex::new(Stage::Beginning(engine.begin(ask.clone())));
        Self { engine, ask, stage, waiting: Mutex::default(), _noted: noted }
    }

    fn take(&self) -> Stage {
        std::mem::replace(&mut *lock(&self.stage), Stage::Over)
    }

    fn put(&self, stage: Stage) {
        *lock(&self.stage) = stage;
    }

    /// Goes on as far as that is possible. `None`: it has to wait.
    fn step(&self, py: Python<'_>, waker: &Waker) -> PyResult<Option<(u8, Py<PyAny>)>> {
        let mut context = Context::from_waker(waker);
        match self.take() {
            Stage::Beginning(mut work) => match work.as_mut().poll(&mut context) {
                Poll::Pending => self.put(Stage::Beginning(work)),
                Poll::Ready(begun) => {
                    return self.begun(py, waker, begun.map_err(errors::of_region)?);
                }
            },
            Stage::Ending(mut work, value) => match work.as_mut().poll(&mut context) {
                Poll::Pending => self.put(Stage::Ending(work, value)),
                Poll::Ready(ended) => {
                    ended.map_err(errors::of_region)?;
                    return Ok(Some((DONE, value)));
                }
            },
            Stage::Creating(half) => {
                self.put(Stage::Creating(half));
                return Ok(Some((CREATE, py.None())));
            }
            Stage::Over => return Err(PyRuntimeError::new_err("the call is over")),
        }
        Ok(None)
    }

    fn begun(
        &self,
        py: Python<'_>,
        waker: &Waker,
        begun: Begun,
    ) -> PyResult<Option<(u8, Py<PyAny>)>> {
        match begun {
            Begun::Value(stored) => {
                if let Some(value) = stored.load(py, self.engine.codec())? {
                    return Ok(Some((DONE, value.unbind())));
                }
                // It is a miss.
                self.put(Stage::Beginning(self.engine.begin_without(self.ask.clone())));
                self.step(py, waker)
            }
            Begun::Create(half) => {
                self.put(Stage::Creating(half));
                Ok(Some((CREATE, py.None())))
            }
        }
    }

    /// Nobody waits for this flight any more.
    fn forget_waiting(&self) {
        let waiting = lock(&self.waiting).take();
        if let Some((wakes, number)) = waiting {
            drop(wakes.take(number));
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.forget_waiting();
    }
}

#[pymethods]
impl Flight {
    fn poll(&self, py: Python<'_>, bridge: &Bound<'_, Bridge>) -> PyResult<(u8, Py<PyAny>)> {
        clock::look(py)?;
        self.forget_waiting();
        let bridge = bridge.get();
        let number = bridge.wakes.next.fetch_add(1, Ordering::Relaxed);
        let waker = Arc::new(Wakener { wakes: bridge.wakes.clone(), number });
        if let Some(done) = self.step(py, &Waker::from(waker))? {
            return Ok(done);
        }
        // The loop looks into the queue on this thread, and so not before this is there.
        let future = bridge.create_future.call0(py)?;
        lock(&bridge.wakes.futures).insert(number, future.clone_ref(py));
        *lock(&self.waiting) = Some((bridge.wakes.clone(), number));
        Ok((WAIT, future))
    }

    /// Ends the creation with a value, which is stored unless that is refused; poll again then.
    #[pyo3(signature = (value, stored = true))]
    fn finish(&self, value: Bound<'_, PyAny>, stored: bool) -> PyResult<()> {
        let Stage::Creating(half) = self.take() else {
            return Err(PyRuntimeError::new_err("there is nothing to finish"));
        };
        let work = match self.engine.stored(&value) {
            Ok(created) => half.finish(created.if_stored(stored)),
            Err(error) => {
                log::not_serializable(PyString::new(value.py(), &self.ask.key).as_any(), &error)?;
                let failed = half.fail(error.to_string());
                Box::pin(async move { failed.await.map(drop) })
            }
        };
        self.put(Stage::Ending(work, value.unbind()));
        Ok(())
    }

    /// Ends the call: if it was to create the value, somebody else is.
    fn abandon(&self) {
        self.forget_waiting();
        drop(self.take());
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
        visit.call(&self.create_future)
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
            if !future.call_method0(text!(py, done))?.is_truthy()? {
                future.call_method1(text!(py, set_result), (py.None(),))?;
            }
        }
        Ok(())
    }
}
