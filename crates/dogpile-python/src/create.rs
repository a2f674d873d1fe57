//! Creating calls through the crate: one creation for each key, whatever asks.

use std::sync::Arc;

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::aio::Flight;
use crate::calls::Calls as _;
use crate::clock;
use crate::creating::{Creating, refuse_own};
use crate::dict::Values;
use crate::engine::{Ask, Begun, Engine, Half};
use crate::errors;
use crate::log;
use crate::names::{names, no_value};
use crate::plan::Plan;
use crate::strings::text;
use crate::wait;

/// The arguments of a creating call.
pub(crate) struct Call<'a, 'py> {
    pub(crate) key: &'a Bound<'py, PyAny>,
    pub(crate) creator: &'a Bound<'py, PyAny>,
    pub(crate) expiration_time: Option<&'a Bound<'py, PyAny>>,
    pub(crate) should_cache: Option<&'a Bound<'py, PyAny>>,
    pub(crate) args: Option<&'a Bound<'py, PyTuple>>,
}

/// A stored key, and the crate's region for it.
pub(crate) struct Native {
    pub(crate) engine: Engine,
    pub(crate) values: Option<Arc<Values>>,
    pub(crate) key: String,
}

/// Returns how the crate does a creating call on a stored key, if it can: others are the Python
/// half's. All calls of a region with the same key go the same way.
pub(crate) fn native(plan: &Plan, key: &Bound<'_, PyAny>, limit: f64) -> Option<Native> {
    let (engine, moment) = (plan.engine.as_ref()?, plan.moment.as_ref()?);
    // Soft invalidation without an expiration is an error there.
    if plan.runner.is_some() || (moment.is_soft() && limit.is_nan()) {
        return None;
    }
    let key = key.cast_exact::<PyString>().ok()?.to_str().ok()?.to_owned();
    Some(Native { engine: engine.clone(), values: plan.values.clone(), key })
}

impl Native {
    fn ask(&self, limit: f64) -> Ask {
        Ask { key: self.key.clone(), limit }
    }

    /// Is a value being created?
    pub(crate) fn into_is_creating(self, py: Python<'_>) -> PyResult<bool> {
        wait::run(py, self.engine.is_locked(self.key))?.map_err(errors::of_region)
    }

    /// Begins a creating call of a task's.
    pub(crate) fn flight(self, limit: f64) -> Flight {
        let noted = self.values.as_ref().map(Values::note_creation);
        Flight::new(self.engine, Ask { key: self.key, limit }, noted)
    }
}

/// Creates a value, or waits for the caller that does.
pub(crate) fn create<'py>(
    native: &Native,
    region: &Bound<'py, PyAny>,
    seen: Option<&Bound<'py, PyAny>>,
    call: &Call<'_, 'py>,
    limit: f64,
) -> PyResult<Bound<'py, PyAny>> {
    let py = region.py();
    clock::look(py)?;
    let _noted = native.values.as_ref().map(Values::note_creation);
    let keys = std::slice::from_ref(&native.key);
    let asked = region.clone().unbind();
    let own = || refuse_own(&native.engine, &asked, keys);
    let mut work = native.engine.begin(native.ask(limit));
    loop {
        let begun = wait::run_at(py, native.engine.is_remote(), work, own)?;
        match begun.map_err(errors::of_region)? {
            Begun::Value(stored) => match stored.load(py, native.engine.codec())? {
                Some(value) => return Ok(value),
                None => work = native.engine.begin_without(native.ask(limit)),
            },
            Begun::Create(half) => return run(native, region, seen, call, half),
        }
    }
}

/// Runs the creator and ends the creation.
fn run<'py>(
    native: &Native,
    region: &Bound<'py, PyAny>,
    seen: Option<&Bound<'py, PyAny>>,
    call: &Call<'_, 'py>,
    half: Box<dyn Half>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = region.py();
    let created = {
        let _creating = Creating::enter(&native.engine, std::slice::from_ref(&native.key));
        created(region, seen, call)
    };
    let (value, is_stored) = match created {
        Ok(created) => created,
        Err(error) => return fail(py, native, half, error),
    };
    match native.engine.stored(&value) {
        Ok(stored) => {
            let work = half.finish(stored.if_stored(is_stored));
            let finished = wait::run_at(py, native.engine.is_remote(), work, || Ok(()))?;
            finished.map_err(errors::of_region)?;
            Ok(value)
        }
        // Another caller creates the value.
        Err(error) if !names(py)?.is_of_codec(py, &error) => Err(error),
        Err(error) => {
            log::not_serializable(call.key, &error)?;
            wait::run(py, half.fail(error.to_string()))?.map_err(errors::of_region)?;
            Ok(value)
        }
    }
}

/// The creator has raised `error`: another value may stand in.
#[cold]
fn fail<'py>(
    py: Python<'py>,
    native: &Native,
    half: Box<dyn Half>,
    error: PyErr,
) -> PyResult<Bound<'py, PyAny>> {
    let why = error.get_type(py).to_string();
    let stand_in = wait::run(py, half.fail(why))?.map_err(errors::of_region)?;
    // An interrupt does not count as a failure.
    match stand_in.filter(|_| error.is_instance_of::<PyException>(py)) {
        Some(stored) => stored.load(py, native.engine.codec())?.ok_or(error),
        None => Err(error),
    }
}

/// The creator's value, and whether it is to be stored.
fn created<'py>(
    region: &Bound<'py, PyAny>,
    seen: Option<&Bound<'py, PyAny>>,
    call: &Call<'_, 'py>,
) -> PyResult<(Bound<'py, PyAny>, bool)> {
    let py = region.py();
    let log = log::region(py)?;
    let mut began = 0.0;
    if log.is_some() {
        let value = seen.map_or_else(|| no_value(py), |seen| Ok(seen.clone()))?;
        region.run_method1(text!(py, _is_cache_miss), (value, call.key))?;
        began = clock::now(py)?;
    }
    let value = match call.args {
        None => call.creator.run0()?,
        Some(args) => call_with(call.creator, args)?,
    };
    if let Some(log) = log {
        log::created(&log, call.key, began)?;
    }
    let is_stored = match call.should_cache {
        None => true,
        Some(should_cache) => should_cache.run1((&value,))?.is_truthy()?,
    };
    Ok((value, is_stored))
}

/// Calls with `(positional, named)`.
fn call_with<'py>(
    function: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let positional = args.get_item(0)?;
    let positional = match positional.cast::<PyTuple>() {
        Ok(positional) => positional.clone(),
        Err(_) => PyTuple::new(args.py(), positional.try_iter()?.collect::<PyResult<Vec<_>>>()?)?,
    };
    let named = args.get_item(1)?;
    match named.cast::<PyDict>() {
        Ok(named) if named.is_empty() => function.run(&positional, None),
        Ok(named) => function.run(&positional, Some(named)),
        Err(_) => {
            let copy = PyDict::new(function.py());
            copy.update(named.cast()?)?;
            function.run(&positional, Some(&copy))
        }
    }
}
