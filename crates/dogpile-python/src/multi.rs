//! Creating calls for several keys, through the crate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PySet, PyString, PyTuple};

use crate::clock;
use crate::create::{self, Creating};
use crate::dict::Values;
use crate::engine::{Engine, MultiCreator};
use crate::errors;
use crate::log;
use crate::look::mangled;
use crate::plan::Plan;
use crate::value::Stored;
use crate::wait;

/// What a call was given.
pub(crate) struct Call<'a, 'py> {
    pub(crate) keys: &'a [Bound<'py, PyAny>],
    pub(crate) creator: &'a Bound<'py, PyAny>,
    pub(crate) should_cache: Option<&'a Bound<'py, PyAny>>,
    pub(crate) limit: f64,
}

/// Returns the values of all keys; none if it is the Python half that can do this call.
pub(crate) fn create<'py>(
    plan: &Plan,
    call: &Call<'_, 'py>,
) -> PyResult<Option<Bound<'py, PyList>>> {
    let Some(first) = call.keys.first() else { return Ok(None) };
    let py = first.py();
    let Some(keys) = Keys::of(plan, call)? else { return Ok(None) };
    let Some(engine) = plan.engine.clone() else { return Ok(None) };
    clock::look(py)?;
    let _noted = plan.values.as_ref().map(Values::note_creation);
    let own = Arc::new(Mutex::new(HashMap::new()));
    let creator = creator(call, &engine, &keys, own.clone());
    let work = engine.create_multi(keys.stored.clone(), call.limit, creator);
    let check = || Creating::check(&engine, &keys.stored);
    let values = wait::run_unless(py, work, check)?.map_err(errors::of_creation)?;
    let own = own.lock().unwrap_or_else(PoisonError::into_inner);
    let mut found = HashMap::with_capacity(values.len());
    let mut unreadable = Vec::new();
    for (key, value) in keys.stored.iter().zip(values) {
        let value = match own.get(key) {
            Some(own) => Some(own.bind(py).clone()),
            None => value.load(py, engine.codec())?,
        };
        match value {
            Some(value) => drop(found.insert(key.as_str(), value)),
            None => unreadable.push(key.clone()),
        }
    }
    if !unreadable.is_empty() {
        // Each is a miss, which the second call creates.
        wait::run(py, engine.delete_multi(unreadable))?.map_err(errors::of_region)?;
        return create(plan, call);
    }
    let ordered = keys.asked.iter().filter_map(|key| found.get(key.as_str()));
    PyList::new(py, ordered.collect::<Vec<_>>()).map(Some)
}

/// The stored keys of a call.
struct Keys<'py> {
    /// Each once, in the order of the caller's keys when these are sorted.
    stored: Vec<String>,
    /// All, as the caller has them.
    asked: Vec<String>,
    /// The caller's keys, by those that are stored.
    own: HashMap<String, Bound<'py, PyAny>>,
}

impl<'py> Keys<'py> {
    /// None if one of them cannot be a key of the crate's.
    fn of(plan: &Plan, call: &Call<'_, 'py>) -> PyResult<Option<Self>> {
        let mut asked = Vec::with_capacity(call.keys.len());
        let mut own = HashMap::with_capacity(call.keys.len());
        for key in call.keys {
            let stored = mangled(plan, key)?;
            if create::native(plan, &stored, call.limit).is_none() {
                return Ok(None);
            }
            let stored = stored.cast::<PyString>()?.to_str()?.to_owned();
            own.insert(stored.clone(), key.clone());
            asked.push(stored);
        }
        let stored = sorted(call.keys)?
            .iter()
            .map(|key| Ok(mangled(plan, &key)?.cast::<PyString>()?.to_str()?.to_owned()))
            .collect::<PyResult<_>>()?;
        Ok(Some(Self { stored, asked, own }))
    }
}

/// The keys in their order, each once.
fn sorted<'py>(keys: &[Bound<'py, PyAny>]) -> PyResult<Bound<'py, PyList>> {
    let py = keys[0].py();
    let unique = PyList::new(py, PySet::new(py, keys)?.iter())?;
    unique.sort()?;
    Ok(unique)
}

/// The caller's function for the crate. What it returns is noted in `own`: its caller gets these
/// very objects.
fn creator(
    call: &Call<'_, '_>,
    engine: &Engine,
    keys: &Keys<'_>,
    own: Arc<Mutex<HashMap<String, Py<PyAny>>>>,
) -> MultiCreator {
    let function = call.creator.clone().unbind();
    let should_cache = call.should_cache.map(|it| it.clone().unbind());
    let engine = engine.clone();
    let names: HashMap<String, Py<PyAny>> =
        keys.own.iter().map(|(stored, key)| (stored.clone(), key.clone().unbind())).collect();
    Box::new(move |stored| {
        Python::attach(|py| {
            let asked = stored.iter().filter_map(|key| names.get(key)).map(|key| key.bind(py));
            let asked = asked.collect::<Vec<_>>();
            let asked = PyTuple::new(py, asked)?;
            let values = {
                let _creating = Creating::enter(&engine, &stored);
                created(function.bind(py), &asked)?
            };
            if values.len() < stored.len() {
                return Err(PyValueError::new_err("the creator returned too few values"));
            }
            let mut created = Vec::with_capacity(stored.len());
            for (key, value) in stored.into_iter().zip(values) {
                let is_stored = match &should_cache {
                    Some(should_cache) => should_cache.bind(py).call1((&value,))?.is_truthy()?,
                    None => true,
                };
                created.push(Stored::of(engine.codec(), &value)?.if_stored(is_stored));
                let mut own = own.lock().unwrap_or_else(PoisonError::into_inner);
                own.insert(key, value.unbind());
            }
            Ok(created)
        })
    })
}

/// Calls the creator, with its log record.
fn created<'py>(
    function: &Bound<'py, PyAny>,
    asked: &Bound<'py, PyTuple>,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let py = function.py();
    let log = log::region(py)?;
    let began = if log.is_some() { clock::now(py)? } else { 0.0 };
    let values = function.call1(asked)?.try_iter()?.collect::<PyResult<Vec<_>>>()?;
    if let Some(log) = log {
        let keys = asked.call_method0(intern!(py, "__iter__"))?;
        let keys = PyList::new(py, keys.try_iter()?.collect::<PyResult<Vec<_>>>()?)?;
        log::created(&log, keys.as_any(), began)?;
    }
    Ok(values)
}
