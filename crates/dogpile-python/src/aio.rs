//! asyncio: a creation in two halves, whose creator's coroutine runs in the caller's own task, and
//! what wakes an event loop from any thread.
//!
//! Futures of the crate are polled on the loop's thread. Their wakers know a number, and need no
//! interpreter: they put it into a queue and ring a bell that the loop hears.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures_channel::oneshot;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use crate::bell::Bell;
use crate::value::Object;

/// A call of the crate's, to its value.
pub(crate) type Work = Pin<Box<dyn Future<Output = PyResult<Object>> + Send>>;

/// What `Flight.poll` says is to be done.
const DONE: u8 = 0;
const CREATE: u8 = 1;
const WAIT: u8 = 2;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The creator as the crate has it: it waits for what the task creates.
pub(crate) struct Creator {
    is_elected: Arc<AtomicBool>,
    created: oneshot::Receiver<Object>,
}

impl Creator {
    pub(crate) async fn run(self) -> PyResult<Object> {
        self.is_elected.store(true, Ordering::Release);
        let created = self.created.await;
        created.map_err(|_| PyRuntimeError::new_err("the creation was abandoned"))
    }
}

/// A creating call in two halves.
///
/// `poll` says `(0, value)`; or `(1, None)`: create a value, give it to `finish` and poll again; or
/// `(2, future)`: wait for that and poll again. Who stops in between calls `abandon`.
#[pyclass(frozen, module = "dogpile_rs._engine")]
pub(crate) struct Flight {
    /// Taken out while it is polled.
    work: Mutex<Option<Work>>,
    finish: Mutex<Option<oneshot::Sender<Object>>>,
    is_elected: Arc<AtomicBool>,
    is_told: AtomicBool,
    waiting: Mutex<Option<(Arc<Wakes>, u64)>>,
}

impl Flight {
    /// A flight that does what `work` says with the creator that it is given.
    pub(crate) fn new(work: impl FnOnce(Creator) -> Work) -> Self {
        let (finish, created) = oneshot::channel();
        let is_elected = Arc::new(AtomicBool::new(false));
        let creator = Creator { is_elected: is_elected.clone(), created };
        Self {
            work: Mutex::new(Some(work(creator))),
            finish: Mutex::new(Some(finish)),
            is_elected,
            is_told: AtomicBool::new(false),
            waiting: Mutex::default(),
        }
    }

    fn poll_work(&self, waker: &Waker) -> PyResult<Poll<Object>> {
        let Some(mut work) = lock(&self.work).take() else {
            return Err(PyRuntimeError::new_err("the call is over"));
        };
        match work.as_mut().poll(&mut Context::from_waker(waker)) {
            Poll::Ready(value) => value.map(Poll::Ready),
            Poll::Pending => {
                *lock(&self.work) = Some(work);
                Ok(Poll::Pending)
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
        self.forget_waiting();
        let bridge = bridge.get();
        let number = bridge.wakes.next.fetch_add(1, Ordering::Relaxed);
        let waker = Arc::new(Wakener { wakes: bridge.wakes.clone(), number });
        if let Poll::Ready(value) = self.poll_work(&Waker::from(waker))? {
            return Ok((DONE, value.bind(py).unbind()));
        }
        if self.is_elected.load(Ordering::Acquire) && !self.is_told.swap(true, Ordering::AcqRel) {
            return Ok((CREATE, py.None()));
        }
        // The loop looks into the queue on this thread, and so not before this is there.
        let future = bridge.create_future.call0(py)?;
        lock(&bridge.wakes.futures).insert(number, future.clone_ref(py));
        *lock(&self.waiting) = Some((bridge.wakes.clone(), number));
        Ok((WAIT, future))
    }

    /// Hands over the value that was created.
    fn finish(&self, value: Py<PyAny>) {
        if let Some(finish) = lock(&self.finish).take() {
            let _ = finish.send(Object::new(value));
        }
    }

    /// Ends the call: if it was to create the value, somebody else is.
    fn abandon(&self) {
        self.forget_waiting();
        let work = lock(&self.work).take();
        drop(work);
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

/// What an event loop waits with for flights. The loop calls `drain` when there is something to
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
        let drain = slf.getattr(intern!(slf.py(), "drain"))?;
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
            if !future.call_method0(intern!(py, "done"))?.is_truthy()? {
                future.call_method1(intern!(py, "set_result"), (py.None(),))?;
            }
        }
        Ok(())
    }
}
