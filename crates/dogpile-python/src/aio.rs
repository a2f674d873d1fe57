//! asyncio: a creation in two halves, whose creator's coroutine runs in the caller's own task.

use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::bridge::{Bridge, CREATE, DONE, Place, Step, lock};
use crate::creating::{Creating, OfTask};
use crate::dict::Noted;
use crate::engine::{Ask, Begun, Engine, Half, Work};
use crate::errors;
use crate::log;
use crate::names::names;
use crate::value::Stored;

/// The stage of a call.
enum Stage {
    Beginning(Work<Begun>),
    /// The value is this call's to create.
    Creating(Box<dyn Half>, OfTask),
    Ending(Work<()>, Py<PyAny>),
    /// The creator has raised an exception, for which another value may stand in.
    Failing(Work<Option<Stored>>, PyErr),
    Over,
}

/// A creating call in two halves.
///
/// `poll` says `(0, value)`; or `(1, None)`: create a value, give it to `finish`, or the exception to
/// `fail`, and poll again; or `(2, future)`: wait for that and poll again. Who stops in between calls
/// `abandon`.
#[pyclass(frozen, module = "dogpile_rs._engine")]
pub(crate) struct Flight {
    engine: Engine,
    ask: Ask,
    /// Taken out while it is polled: what is polled may run Python code.
    stage: Mutex<Stage>,
    place: Place,
    _noted: Option<Noted>,
}

impl Flight {
    pub(crate) fn new(engine: Engine, ask: Ask, noted: Option<Noted>) -> Self {
        let stage = Mutex::new(Stage::Beginning(engine.begin(ask.clone())));
        Self { engine, ask, stage, place: Place::default(), _noted: noted }
    }

    fn take(&self) -> Stage {
        std::mem::replace(&mut *lock(&self.stage), Stage::Over)
    }

    fn put(&self, stage: Stage) {
        *lock(&self.stage) = stage;
    }

    /// Goes on as far as that is possible. `None`: it has to wait.
    fn step(&self, py: Python<'_>, waker: &Waker) -> PyResult<Option<Step>> {
        let mut context = Context::from_waker(waker);
        match self.take() {
            Stage::Beginning(mut work) => match work.as_mut().poll(&mut context) {
                Poll::Pending => {
                    // A creator on this thread would wait for itself.
                    Creating::check(&self.engine, std::slice::from_ref(&self.ask.key))?;
                    self.put(Stage::Beginning(work));
                }
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
            Stage::Failing(mut work, error) => match work.as_mut().poll(&mut context) {
                Poll::Pending => self.put(Stage::Failing(work, error)),
                Poll::Ready(failed) => {
                    let stand_in = failed.map_err(errors::of_region)?;
                    let loaded = stand_in.map(|stored| stored.load(py, self.engine.codec()));
                    let value = loaded.transpose()?.flatten().ok_or(error)?;
                    return Ok(Some((DONE, value.unbind())));
                }
            },
            Stage::Creating(half, noted) => {
                self.put(Stage::Creating(half, noted));
                return Ok(Some((CREATE, py.None())));
            }
            Stage::Over => return Err(PyRuntimeError::new_err("the call is over")),
        }
        Ok(None)
    }

    fn begun(&self, py: Python<'_>, waker: &Waker, begun: Begun) -> PyResult<Option<Step>> {
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
                self.put(Stage::Creating(half, OfTask::begin()));
                Ok(Some((CREATE, py.None())))
            }
        }
    }

    /// The half that is this call's to end.
    fn half(&self) -> PyResult<Box<dyn Half>> {
        match self.take() {
            Stage::Creating(half, _) => Ok(half),
            _ => Err(PyRuntimeError::new_err("there is nothing to finish")),
        }
    }
}

#[pymethods]
impl Flight {
    fn poll(&self, py: Python<'_>, bridge: &Bound<'_, Bridge>) -> PyResult<Step> {
        self.place.poll(py, bridge.get(), |waker| self.step(py, waker))
    }

    /// Ends the creation with a value, which is stored unless that is refused; poll again then.
    #[pyo3(signature = (value, stored = true))]
    fn finish(&self, value: Bound<'_, PyAny>, stored: bool) -> PyResult<()> {
        let half = self.half()?;
        let work = match self.engine.stored(&value) {
            Ok(created) => half.finish(created.if_stored(stored)),
            // Another caller creates the value.
            Err(error) if !names(value.py())?.is_of_codec(value.py(), &error) => return Err(error),
            Err(error) => {
                log::not_serializable(PyString::new(value.py(), &self.ask.key).as_any(), &error)?;
                let failed = half.fail(error.to_string());
                Box::pin(async move { failed.await.map(drop) })
            }
        };
        self.put(Stage::Ending(work, value.unbind()));
        Ok(())
    }

    /// Says that the creator has raised an exception; poll again then, for the value that stands in
    /// for it or the exception itself.
    fn fail(&self, error: &Bound<'_, PyException>) -> PyResult<()> {
        let half = self.half()?;
        let work = half.fail(error.get_type().to_string());
        self.put(Stage::Failing(work, PyErr::from_value(error.clone().into_any())));
        Ok(())
    }

    /// Ends the call: if it was to create the value, somebody else is.
    fn abandon(&self) {
        self.place.leave();
        drop(self.take());
    }
}
