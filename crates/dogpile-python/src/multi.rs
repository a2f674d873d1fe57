//! Creating calls for several keys, through the crate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PySet, PyString, PyTuple};

use crate::calls::Calls as _;
use crate::clock;
use crate::create;
use crate::creating::{Creating, refuse_own};
use crate::dict::Values;
use crate::engine::Engine;
use crate::errors;
use crate::log;
use crate::look::mangled;
use crate::names::no_value;
use crate::plan::Plan;
use crate::strings::text;
use crate::value::Stored;
use crate::wait;

/// The arguments of a call.
pub(crate) struct Call<'a, 'py> {
    pub(crate) region: &'a Bound<'py, PyAny>,
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
    let own = Own::default();
    let (stored, asked) = (keys.stored.clone(), keys.asked.clone());
    let creator = Creator::new(plan, call, &engine, keys, own.clone());
    let creator = move |stored| Python::attach(|py| creator.run(py, stored));
    let work = engine.create_multi(stored.clone(), call.limit, Box::new(creator));
    let region = call.region.clone().unbind();
    let check = || refuse_own(&engine, &region, &stored);
    let values = wait::run_unless(py, work, check)?.map_err(errors::of_creation)?;
    let own = own.lock().unwrap_or_else(PoisonError::into_inner);
    let mut found = HashMap::with_capacity(values.len());
    let mut unreadable = Vec::new();
    for (key, value) in stored.iter().zip(values) {
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
    let ordered = asked.iter().filter_map(|key| found.get(key.as_str()));
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

/// The created values, by stored keys: the caller of the creator gets these very objects.
type Own = Arc<Mutex<HashMap<String, Py<PyAny>>>>;

/// The caller's function for the crate.
struct Creator {
    region: Py<PyAny>,
    function: Py<PyAny>,
    should_cache: Option<Py<PyAny>>,
    engine: Engine,
    values: Option<Arc<Values>>,
    /// The caller's keys, by those that are stored.
    names: HashMap<String, Py<PyAny>>,
    own: Own,
}

impl Creator {
    fn new(plan: &Plan, call: &Call<'_, '_>, engine: &Engine, keys: Keys<'_>, own: Own) -> Self {
        Self {
            region: call.region.clone().unbind(),
            function: call.creator.clone().unbind(),
            should_cache: call.should_cache.map(|it| it.clone().unbind()),
            engine: engine.clone(),
            values: plan.values.clone(),
            names: keys.own.into_iter().map(|(stored, key)| (stored, key.unbind())).collect(),
            own,
        }
    }

    fn run(&self, py: Python<'_>, stored: Vec<String>) -> PyResult<Vec<Stored>> {
        let values = {
            let _creating = Creating::enter(&self.engine, &stored);
            self.create(py, &stored)?
        };
        if values.len() != stored.len() {
            let (values, keys) = (values.len(), stored.len());
            let message = format!("the creator returned {values} values for {keys} keys");
            return Err(PyValueError::new_err(message));
        }
        let mut created = Vec::with_capacity(stored.len());
        for (key, value) in stored.into_iter().zip(values) {
            let is_stored = match &self.should_cache {
                Some(should_cache) => should_cache.bind(py).run1((&value,))?.is_truthy()?,
                None => true,
            };
            created.push(self.engine.stored(&value)?.if_stored(is_stored));
            let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
            own.insert(key, value.unbind());
        }
        Ok(created)
    }

    /// Calls the function, with the log records of that.
    fn create<'py>(&self, py: Python<'py>, stored: &[String]) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let asked = stored.iter().filter_map(|key| self.names.get(key));
        let asked: Vec<_> = asked.map(|key| key.bind(py).clone()).collect();
        let log = log::region(py)?;
        let mut began = 0.0;
        if log.is_some() {
            for (stored, key) in stored.iter().zip(&asked) {
                self.log_miss(py, stored, key)?;
            }
            began = clock::now(py)?;
        }
        let created = self.function.bind(py).run(&PyTuple::new(py, &asked)?, None)?;
        // It may be a generator, whose code runs only now.
        let created = py.get_type::<PyList>().as_any().run1((created,))?;
        let created = created.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        if let Some(log) = log {
            log::created(&log, PyList::new(py, asked)?.as_any(), began)?;
        }
        Ok(created)
    }

    #[cold]
    fn log_miss(&self, py: Python<'_>, stored: &str, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let found = match &self.values {
            Some(values) => values.dict.bind(py).get_item(stored)?,
            None => None,
        };
        let value = found.map_or_else(|| no_value(py), Ok)?;
        self.region.bind(py).run_method1(text!(py, _is_cache_miss), (value, key))?;
        Ok(())
    }
}
