//! Misses of a region in memory, through the crate: one creation for each key, whatever asks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dogpile::backend::MapBackend;
use dogpile::{Config, Expiration, Region};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::aio::Flight;
use crate::clock::{self, PythonClock};
use crate::errors;
use crate::invalidation::Moment;
use crate::log;
use crate::look::Seen;
use crate::plan::{Engine, Plan, Values};
use crate::value::{DictMap, Object};
use crate::wait;

/// Returns the crate's region over a dict, invalidated by `moment`.
pub(crate) fn engine(values: &Arc<Values>, moment: Arc<Moment>) -> PyResult<Engine> {
    let region = Region::in_memory("python");
    let backend = MapBackend::over(DictMap(Arc::downgrade(values)));
    let config = Config::new(backend).no_key_mangler().shared_keys();
    let config = config.clock(PythonClock).invalidation(moment);
    region.configure(config).map_err(errors::of_region)?;
    Ok(Arc::new(region))
}

/// What a creating call was given.
pub(crate) struct Call<'a, 'py> {
    pub(crate) key: &'a Bound<'py, PyAny>,
    pub(crate) creator: &'a Bound<'py, PyAny>,
    pub(crate) expiration_time: Option<&'a Bound<'py, PyAny>>,
    pub(crate) should_cache: Option<&'a Bound<'py, PyAny>>,
    pub(crate) args: Option<&'a Bound<'py, PyTuple>>,
}

/// A key, and the crate's region for it.
pub(crate) struct Native {
    values: Arc<Values>,
    engine: Engine,
    key: String,
}

/// Returns how the crate does a call on a key, if it can: others are the Python half's. All calls
/// of a region with the same key go the same way.
pub(crate) fn native(plan: &Plan, key: &Bound<'_, PyAny>, limit: f64) -> Option<Native> {
    let (values, engine) = (plan.values.as_ref()?, plan.engine.as_ref()?);
    let moment = plan.moment.as_ref()?;
    // It is an error there.
    if plan.runner.is_some() || (moment.is_soft() && limit.is_nan()) {
        return None;
    }
    let key = key.cast_exact::<PyString>().ok()?.to_str().ok()?.to_owned();
    Some(Native { values: values.clone(), engine: engine.clone(), key })
}

/// Is a value for that key being created?
pub(crate) fn is_creating(py: Python<'_>, native: &Native) -> PyResult<bool> {
    wait::run(py, native.engine.key_is_locked(&native.key))?.map_err(errors::of_region)
}

/// Creates a value, or waits for the caller that does.
pub(crate) fn create<'py>(
    native: Native,
    region: &Bound<'py, PyAny>,
    seen: &Seen<'py>,
    call: &Call<'_, 'py>,
    limit: f64,
) -> PyResult<Bound<'py, PyAny>> {
    let py = region.py();
    let log = log::region(py)?;
    if log.is_some() {
        let value = seen.value_or_no_value()?;
        region.call_method1(intern!(py, "_is_cache_miss"), (value, call.key))?;
    }
    let creator = Creator::new(call, log.as_ref());
    let veto = call.should_cache.map(Veto::new).unwrap_or_default();
    let Native { values, engine, key } = native;
    let _begun = values.begin();
    let entry = engine.entry(key).strict().expiration(expiration(limit));
    let entry = entry.should_cache(|value: &Object| veto.allows(value));
    let made = wait::run(py, entry.try_get_or_create(|| std::future::ready(creator.run())))?;
    veto.into_error()?;
    made.map(|value| value.bind(py)).map_err(errors::of_creation)
}

/// Begins a creating call of a task's.
pub(crate) fn begin(native: Native, should_cache: Option<&Bound<'_, PyAny>>, limit: f64) -> Flight {
    let veto = should_cache.map(Veto::new).unwrap_or_default();
    Flight::new(|creator| {
        Box::pin(async move {
            let Native { values, engine, key } = native;
            let _begun = values.begin();
            let entry = engine.entry(key).strict().expiration(expiration(limit));
            let entry = entry.should_cache(|value: &Object| veto.allows(value));
            let made = entry.try_get_or_create(|| creator.run()).await;
            veto.into_error()?;
            made.map_err(errors::of_creation)
        })
    })
}

/// A limit of ages, as the crate has it.
fn expiration(limit: f64) -> Expiration {
    if limit.is_nan() {
        return Expiration::Never;
    }
    match Duration::try_from_secs_f64(limit.max(0.0)) {
        Ok(limit) => Expiration::After(limit),
        Err(_) => Expiration::Never,
    }
}

/// The caller's function, for whatever thread polls it.
struct Creator {
    function: Py<PyAny>,
    args: Option<Py<PyTuple>>,
    /// The logger and the key that is told to it.
    told: Option<(Py<PyAny>, Py<PyAny>)>,
}

impl Creator {
    fn new(call: &Call<'_, '_>, log: Option<&Bound<'_, PyAny>>) -> Self {
        Self {
            function: call.creator.clone().unbind(),
            args: call.args.map(|args| args.clone().unbind()),
            told: log.map(|log| (log.clone().unbind(), call.key.clone().unbind())),
        }
    }

    fn run(self) -> PyResult<Object> {
        Python::attach(|py| {
            let began = if self.told.is_some() { clock::now(py)? } else { 0.0 };
            let function = self.function.bind(py);
            let value = match &self.args {
                None => function.call0()?,
                Some(args) => call_with(function, args.bind(py))?,
            };
            if let Some((log, key)) = &self.told {
                log::created(log.bind(py), key.bind(py), began)?;
            }
            Ok(Object::new(value.unbind()))
        })
    }
}

/// Calls with `(positional, named)`.
fn call_with<'py>(
    function: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let positional = args.get_item(0)?;
    let named = args.get_item(1)?;
    let positional = positional.cast::<PyTuple>()?;
    match named.cast::<PyDict>() {
        Ok(named) if named.is_empty() => function.call1(positional.clone()),
        Ok(named) => function.call(positional.clone(), Some(named)),
        Err(_) => {
            let copy = PyDict::new(function.py());
            copy.update(named.cast()?)?;
            function.call(positional.clone(), Some(&copy))
        }
    }
}

/// `should_cache_fn`. An exception of its is raised once the call is over.
#[derive(Default)]
struct Veto {
    function: Option<Py<PyAny>>,
    raised: Mutex<Option<PyErr>>,
}

impl Veto {
    fn new(function: &Bound<'_, PyAny>) -> Self {
        Self { function: Some(function.clone().unbind()), raised: Mutex::default() }
    }

    fn allows(&self, value: &Object) -> bool {
        let Some(function) = &self.function else { return true };
        Python::attach(|py| {
            let allowed = function.bind(py).call1((value.bind(py),));
            allowed.and_then(|allowed| allowed.is_truthy()).unwrap_or_else(|error| {
                *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                false
            })
        })
    }

    fn into_error(self) -> PyResult<()> {
        match self.raised.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}
