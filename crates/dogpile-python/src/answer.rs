//! Calls of asyncio's tasks that create nothing: their futures are polled on the loop's thread.

use std::sync::Mutex;
use std::task::{Context, Poll};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::bridge::{Bridge, DONE, Place, Step, lock};
use crate::engine::Work;
use crate::errors;

/// A call that is going on.
///
/// `poll` says `(0, value)`, or `(2, future)`: wait for that and poll again. Whoever stops in between
/// drops it; a change may be made or not then.
#[pyclass(frozen, module = "dogpile_rs._engine")]
pub(crate) struct Answer {
    /// Taken out while it is polled: what it ends with may run Python code.
    call: Mutex<Option<Box<dyn Call>>>,
    place: Place,
}

impl Answer {
    /// Of a call of the crate's, with what its result is to Python.
    pub(crate) fn new<T: Send + 'static>(
        work: Work<T>,
        end: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> Self {
        let call: Box<dyn Call> = Box::new(Going { work, end: Some(end) });
        Self { call: Mutex::new(Some(call)), place: Place::default() }
    }

    /// Of a call whose result is `None` to Python.
    pub(crate) fn nothing(work: Work<()>) -> Self {
        Self::new(work, |py, ()| Ok(py.None()))
    }
}

trait Call: Send {
    /// `None`: it has to wait.
    fn poll(&mut self, py: Python<'_>, context: &mut Context<'_>) -> PyResult<Option<Py<PyAny>>>;
}

struct Going<T, F> {
    work: Work<T>,
    end: Option<F>,
}

impl<T, F> Call for Going<T, F>
where
    T: Send,
    F: FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send,
{
    fn poll(&mut self, py: Python<'_>, context: &mut Context<'_>) -> PyResult<Option<Py<PyAny>>> {
        let Poll::Ready(result) = self.work.as_mut().poll(context) else { return Ok(None) };
        let end = self.end.take().ok_or_else(is_over)?;
        end(py, result.map_err(errors::of_region)?).map(Some)
    }
}

fn is_over() -> PyErr {
    PyRuntimeError::new_err("the call is over")
}

#[pymethods]
impl Answer {
    fn poll(&self, py: Python<'_>, bridge: &Bound<'_, Bridge>) -> PyResult<Step> {
        self.place.poll(py, bridge.get(), |waker| {
            let mut call = lock(&self.call).take().ok_or_else(is_over)?;
            let ended = call.poll(py, &mut Context::from_waker(waker))?;
            if ended.is_none() {
                *lock(&self.call) = Some(call);
            }
            Ok(ended.map(|value| (DONE, value)))
        })
    }
}
