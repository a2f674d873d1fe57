//! The time, as Python programs have it: who replaces `time.time` moves our clock too.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dogpile::clock::{Clock, SystemClock, Timestamp};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCFunction, PyDict};

use crate::calls::Calls as _;
use crate::strings::text;

/// The coarse clock is off by less than this, in seconds.
const COARSE: f64 = 0.05;

struct TimeModule {
    attributes: Py<PyDict>,
    /// The code of the interpreter's own `time.time`. Zero if another was in its place.
    code: usize,
}

static TIME: PyOnceLock<TimeModule> = PyOnceLock::new();

/// Notes the interpreter's own `time.time`.
pub(crate) fn init(py: Python<'_>) -> PyResult<()> {
    let module = py.import("time")?;
    let time = module.getattr("time")?;
    // Somebody may travel in time already.
    let said: Timestamp = time.call0()?.extract()?;
    let is_now = (said - SystemClock.now()).abs() < 1.0;
    let code = if is_now { code_of(&time) } else { 0 };
    let _ = TIME.set(py, TimeModule { attributes: module.dict().unbind(), code });
    Ok(())
}

/// Returns the address of the code of a built-in function; zero for other objects. `time_machine` leaves the object
/// `time.time` in place, and gives it other code.
#[expect(unsafe_code, reason = "PyO3 has no safe function for it")]
#[inline]
fn code_of(time: &Bound<'_, PyAny>) -> usize {
    if time.cast_exact::<PyCFunction>().is_err() {
        return 0;
    }
    // SAFETY: it is a built-in function, and alive.
    let code = unsafe { pyo3::ffi::PyCFunction_GetFunction(time.as_ptr()) };
    code.map_or(0, |code| code as usize)
}

/// Was `time.time` replaced when a call last looked? The crate asks for the time on threads that
/// should not have to attach to the interpreter.
static IS_REPLACED: AtomicBool = AtomicBool::new(false);

/// Returns what a replaced `time.time` says; `None` while it is the interpreter's own.
#[inline]
fn replaced(py: Python<'_>) -> PyResult<Option<Timestamp>> {
    let Some(module) = TIME.get(py) else { return Ok(None) };
    match module.attributes.bind(py).get_item(text!(py, time))? {
        Some(time) if code_of(&time) != module.code || module.code == 0 => {
            time.run0()?.extract().map(Some)
        }
        _ => Ok(None),
    }
}

/// Looks whether `time.time` is replaced, before a call of the crate's.
pub(crate) fn look(py: Python<'_>) -> PyResult<()> {
    let is_replaced = replaced(py)?.is_some();
    if IS_REPLACED.load(Ordering::Relaxed) != is_replaced {
        IS_REPLACED.store(is_replaced, Ordering::Relaxed);
    }
    Ok(())
}

/// Returns `time.time()`.
#[inline]
pub(crate) fn now(py: Python<'_>) -> PyResult<Timestamp> {
    Ok(replaced(py)?.unwrap_or_else(|| SystemClock.now()))
}

/// A time to compare with: that of a replaced `time.time`, or that of the cheap clock.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    now: Timestamp,
    is_exact: bool,
}

impl Reading {
    #[inline]
    pub(crate) fn take(py: Python<'_>) -> PyResult<Self> {
        Ok(match replaced(py)? {
            Some(now) => Self { now, is_exact: true },
            None => Self { now: SystemClock.coarse_now(), is_exact: false },
        })
    }

    /// Was it created more than `limit` seconds ago? The exact clock is asked if it is close.
    #[inline]
    pub(crate) fn is_older(self, created: Timestamp, limit: f64) -> bool {
        if self.is_exact {
            return self.now - created > limit;
        }
        self.now - created + COARSE > limit && SystemClock.now() - created > limit
    }
}

/// The same time for the crate.
#[derive(Debug)]
pub(crate) struct PythonClock;

impl Clock for PythonClock {
    fn now(&self) -> Timestamp {
        if !IS_REPLACED.load(Ordering::Relaxed) {
            return SystemClock.now();
        }
        // An error of the replacement's reaches its user from other calls.
        Python::attach(now).unwrap_or_else(|_| SystemClock.now())
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        SystemClock.sleep(duration)
    }
}
