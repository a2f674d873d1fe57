//! The base class of `CacheRegion`.
//!
//! Hits are answered here, over whatever backend. A miss in memory goes through the crate; others
//! are the Python half's, which is handed what was read.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Guard};
use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use crate::aio::Flight;
use crate::backend::NativeBackend;
use crate::cached;
use crate::calls::Calls as _;
use crate::create::{self, Call};
use crate::direct;
use crate::engine::{Ask, Engine};
use crate::invalidation::{DefaultInvalidation, Moment};
use crate::judge::{self, Terms};
use crate::log;
use crate::look::{self, Seen};
use crate::multi;
use crate::names::no_value;
use crate::plan::Plan;
use crate::reader::Reader;
use crate::several;
use crate::statistics;
use crate::store;
use crate::strings::text;

/// Has somebody replaced a part of `dogpile.lock.Lock`? Then creating calls use that class.
static LOCK_IS_PATCHED: AtomicBool = AtomicBool::new(false);

/// Tells the engine that somebody has replaced a part of `Lock`.
#[pyfunction]
pub(crate) fn lock_is_patched() {
    LOCK_IS_PATCHED.store(true, Ordering::Relaxed);
}

#[inline]
pub(crate) fn patched_lock() -> bool {
    LOCK_IS_PATCHED.load(Ordering::Relaxed)
}

/// A region: its attributes, and its calls.
#[pyclass(frozen, subclass, weakref, module = "dogpile_rs._engine")]
pub(crate) struct Region {
    plan: ArcSwap<Plan>,
}

impl Region {
    #[inline]
    pub(crate) fn plan(&self) -> Guard<Arc<Plan>> {
        self.plan.load()
    }

    fn change<T>(&self, py: Python<'_>, change: impl FnOnce(&mut Plan) -> T) -> T {
        let mut plan = self.plan.load().copy(py);
        let done = change(&mut plan);
        self.plan.store(Arc::new(plan));
        done
    }

    /// Returns the value for `key` if a creating call would not have to create it or to wait, else
    /// `NO_VALUE`.
    #[inline]
    pub(crate) fn peek<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        expiration_time: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        let plan = self.plan();
        let limit = plan.limit(expiration_time, true)?;
        if plan.values.is_some() {
            let hit = plan.hit(key, Terms { limit, creates: true })?;
            return hit.map_or_else(|| no_value(py), Ok);
        }
        if let Some((engine, key)) = direct::engine(&plan, &look::mangled(&plan, key)?)
            && let Some(stored) = engine.peek(Ask { key, limit })
            && let Some(value) = stored.load(py, engine.codec())?
        {
            return Ok(value);
        }
        no_value(py)
    }

    /// The crate's region over the same dict, anew.
    fn rebuild(&self, py: Python<'_>) -> PyResult<()> {
        self.change(py, |plan| {
            plan.engine = match (&plan.values, &plan.moment) {
                (Some(values), Some(moment)) => {
                    let name = plan.shown_name(py)?;
                    Some(Engine::over_dict(name, values, moment.clone())?)
                }
                (None, Some(moment)) => native_engine(py, plan, moment)?,
                _ => None,
            };
            Ok(())
        })
    }

    /// Returns what is stored for `key`; an error if the region is not configured.
    fn look<'py>(
        slf: &Bound<'py, Self>,
        plan: &Plan,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Seen<'py>> {
        match &plan.backend {
            Some(backend) => look::look(plan, backend, key),
            None => Err(Self::not_configured(slf)),
        }
    }

    /// Asks a region without a backend for it: the Python half's property raises its error.
    #[cold]
    pub(crate) fn not_configured(slf: &Bound<'_, Self>) -> PyErr {
        match slf.getattr(text!(slf.py(), backend)) {
            Err(error) => error,
            Ok(_) => PyAttributeError::new_err("the region is not configured"),
        }
    }

    /// A creating call.
    pub(crate) fn create<'py>(
        slf: &Bound<'py, Self>,
        call: &Call<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let plan = slf.get().plan();
        let limit = plan.limit(call.expiration_time, true)?;
        if plan.mangler.is_none()
            && !patched_lock()
            && let Some(hit) = plan.hit(call.key, Terms { limit, creates: true })?
        {
            return Ok(hit);
        }
        if plan.engine.is_some() && plan.values.is_none() && !patched_lock() {
            // The crate reads what is stored.
            let native = create::native(&plan, &look::mangled(&plan, call.key)?, limit);
            if let Some(native) = native {
                drop(plan);
                return create::create(&native, slf.as_any(), None, call, limit);
            }
        }
        let seen = Self::look(slf, &plan, call.key)?;
        let native = if patched_lock() {
            None
        } else {
            if let Some(value) = &seen.value
                && let Some(hit) = judge::fresh(&plan, value, Terms { limit, creates: true })?
            {
                return Ok(hit);
            }
            create::native(&plan, &seen.key, limit)
        };
        drop(plan);
        if let Some(native) = native {
            return create::create(&native, slf.as_any(), seen.value.as_ref(), call, limit);
        }
        let value = seen.value_or_no_value()?;
        let args =
            (call.key, call.creator, call.expiration_time, call.should_cache, call.args, value);
        slf.as_any().run_method1(text!(py, _create), args)
    }

    /// Returns what is there for `key`, and good for a call that creates nothing.
    fn found<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        expiration_time: Option<&Bound<'py, PyAny>>,
        ignore_expiration: bool,
    ) -> PyResult<Option<Found<'py>>> {
        let plan = slf.get().plan();
        if plan.engine.is_some() && plan.values.is_none() {
            let stored = look::mangled(&plan, key)?;
            if let Some(native) = direct::engine(&plan, &stored) {
                let limit = plan.limit(expiration_time, false)?;
                let found = direct::get(slf.py(), native, (!ignore_expiration).then_some(limit));
                return Ok(found?.map(Found::Native));
            }
        }
        let Some(value) = Self::look(slf, &plan, key)?.value else { return Ok(None) };
        if ignore_expiration {
            let payload = cached::payload(&value)?;
            return Ok(Some(Found::Read { value, payload }));
        }
        let limit = plan.limit(expiration_time, false)?;
        let payload = judge::fresh(&plan, &value, Terms { limit, creates: false })?;
        Ok(payload.map(|payload| Found::Read { value, payload }))
    }
}

/// The finding of a call that creates nothing.
enum Found<'py> {
    Native(direct::Found<'py>),
    Read { value: Bound<'py, PyAny>, payload: Bound<'py, PyAny> },
}

impl Plan {
    /// The payload of what is in the dict, if it is fresh.
    #[inline]
    pub(crate) fn hit<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        terms: Terms,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(values) = &self.values else { return Ok(None) };
        let values = values.dict.bind(key.py());
        let found = match &self.mangler {
            None => values.get_item(key)?,
            Some(mangler) => values.get_item(mangler.bind(key.py()).run1((key,))?)?,
        };
        match found {
            Some(value) => judge::fresh(self, &value, terms),
            None => Ok(None),
        }
    }
}

/// The crate's region over a backend of the crate's.
fn native_engine(py: Python<'_>, plan: &Plan, moment: &Arc<Moment>) -> PyResult<Option<Engine>> {
    let Some(backend) = &plan.backend else { return Ok(None) };
    let Ok(native) = backend.bind(py).cast::<NativeBackend>() else { return Ok(None) };
    let (name, native) = (plan.shown_name(py)?, native.get());
    let options = native.options(&plan.options);
    Engine::over(name, native.backend(), plan.codec(py), moment.clone(), &options)
}

/// An attribute that may be `None`.
fn some(value: Bound<'_, PyAny>) -> Option<Py<PyAny>> {
    (!value.is_none()).then(|| value.unbind())
}

fn again(object: Option<&Py<PyAny>>, py: Python<'_>) -> Option<Py<PyAny>> {
    object.map(|object| object.clone_ref(py))
}

#[pymethods]
impl Region {
    #[new]
    #[pyo3(signature = (*args, **_kwargs))]
    fn new(args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        log::prepare(args.py());
        Self { plan: ArcSwap::from_pointee(Plan::empty()) }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.plan.load().traverse(&visit)
    }

    fn __clear__(&self) {
        self.plan.store(Arc::new(Plan::empty()));
    }

    /// The user's name of the region.
    #[getter]
    fn name(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        again(self.plan().name.as_ref(), py)
    }

    #[setter]
    fn set_name(&self, value: Bound<'_, PyAny>) -> PyResult<()> {
        self.change(value.py(), |plan| plan.name = some(value.clone()));
        self.rebuild(value.py())
    }

    /// Turns keys of callers into those that values are stored under.
    #[getter]
    fn key_mangler(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        again(self.plan().mangler.as_ref(), py)
    }

    #[setter]
    fn set_key_mangler(&self, value: Bound<'_, PyAny>) {
        self.change(value.py(), |plan| plan.mangler = some(value.clone()));
    }

    /// Turns payloads into bytes.
    #[getter]
    fn serializer(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        again(self.plan().serializer.as_ref(), py)
    }

    #[setter]
    fn set_serializer(&self, value: Bound<'_, PyAny>) -> PyResult<()> {
        self.change(value.py(), |plan| plan.serializer = some(value.clone()));
        self.rebuild(value.py())
    }

    /// Turns bytes into payloads.
    #[getter]
    fn deserializer(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        again(self.plan().deserializer.as_ref(), py)
    }

    #[setter]
    fn set_deserializer(&self, value: Bound<'_, PyAny>) -> PyResult<()> {
        self.change(value.py(), |plan| {
            plan.deserializer = some(value.clone());
            plan.reader = None;
        });
        self.rebuild(value.py())
    }

    /// Runs creations elsewhere, where there is a stale value to return meanwhile.
    #[getter]
    fn async_creation_runner(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        again(self.plan().runner.as_ref(), py)
    }

    #[setter]
    fn set_async_creation_runner(&self, value: Bound<'_, PyAny>) {
        self.change(value.py(), |plan| plan.runner = some(value.clone()));
    }

    /// The age in seconds from which a value is created again.
    #[getter]
    fn expiration_time(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        again(self.plan().expiration.as_ref(), py)
    }

    #[setter]
    fn set_expiration_time(&self, value: Bound<'_, PyAny>) -> PyResult<()> {
        let max_age = if value.is_none() { f64::NAN } else { value.extract()? };
        self.change(value.py(), |plan| {
            plan.max_age = max_age;
            plan.expiration = some(value.clone());
        });
        Ok(())
    }

    /// The strategy that `invalidate` uses.
    #[getter]
    fn region_invalidator(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let plan = self.plan();
        let strategy = again(plan.invalidator.as_ref(), py);
        strategy.ok_or_else(|| PyAttributeError::new_err("region_invalidator"))
    }

    #[setter]
    fn set_region_invalidator(&self, value: Bound<'_, PyAny>) -> PyResult<()> {
        let py = value.py();
        let usual = value.cast_exact::<DefaultInvalidation>().ok();
        let moment = usual.map(|usual| usual.get().moment());
        self.change(py, |plan| {
            plan.moment = moment;
            plan.invalidator = Some(value.clone().unbind());
        });
        self.rebuild(py)
    }

    #[deleter]
    fn delete_region_invalidator(&self, py: Python<'_>) -> PyResult<()> {
        self.change(py, |plan| {
            plan.moment = None;
            plan.invalidator = None;
        });
        self.rebuild(py)
    }

    /// The backend within its proxies; `None` before the region is configured.
    #[getter(_backend)]
    fn backend_or_none(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        again(self.plan().backend.as_ref(), py)
    }

    #[setter(_backend)]
    fn set_backend(&self, value: Bound<'_, PyAny>) -> PyResult<()> {
        self.change(value.py(), |plan| {
            plan.backend = some(value.clone());
            plan.values = None;
            plan.reader = None;
        });
        self.rebuild(value.py())
    }

    /// Options of the engine over a backend of its own, by the names of the crate's settings.
    #[getter(_options)]
    fn options(&self) -> HashMap<String, String> {
        self.plan().options.iter().cloned().collect()
    }

    #[setter(_options)]
    fn set_options(&self, py: Python<'_>, options: HashMap<String, String>) -> PyResult<()> {
        self.change(py, |plan| plan.options = Arc::new(options.into_iter().collect()));
        self.rebuild(py)
    }

    /// Returns the engine's counters by name. `None`: the engine does not work here.
    fn _statistics<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let plan = self.plan();
        let Some(engine) = &plan.engine else { return Ok(None) };
        let counters = statistics::counters(py, &engine.statistics())?;
        if plan.values.is_some() {
            // Those that are read from the dict pass the engine by.
            counters.del_item("hits")?;
            counters.del_item("misses")?;
        }
        Ok(Some(counters))
    }

    /// Says that values are kept as `CachedValue` in this dict, and that no proxy stands between;
    /// `None` that they are not. It follows an assignment of `_backend`, which says `None`.
    #[pyo3(signature = (values))]
    fn _use_dict(&self, py: Python<'_>, values: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        // A subclass may do other things.
        let dict = values.and_then(|values| values.cast_exact::<PyDict>().ok());
        self.change(py, |plan| plan.use_dict(dict));
        self.rebuild(py)
    }

    /// Says that the backend is one of Python's, from which the generators that `begin` returns read;
    /// `None` that it is not. It follows an assignment of `_backend` or `deserializer`, which says
    /// `None`.
    #[pyo3(signature = (begin))]
    fn _read_by(&self, py: Python<'_>, begin: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let reader = begin.map(Reader::new).transpose()?.map(Arc::new);
        self.change(py, |plan| plan.reader = reader);
        Ok(())
    }

    /// Returns the value for `key`, or `NO_VALUE`.
    #[pyo3(signature = (key, expiration_time = None, ignore_expiration = false))]
    fn get<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        expiration_time: Option<&Bound<'py, PyAny>>,
        ignore_expiration: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        match Self::found(slf, key, expiration_time, ignore_expiration)? {
            Some(Found::Native(found)) => Ok(found.payload),
            Some(Found::Read { payload, .. }) => Ok(payload),
            None => no_value(slf.py()),
        }
    }

    /// Returns the `CachedValue` for `key`, or `None`.
    #[pyo3(signature = (key, expiration_time = None, ignore_expiration = false))]
    fn get_value_metadata<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        expiration_time: Option<&Bound<'py, PyAny>>,
        ignore_expiration: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match Self::found(slf, key, expiration_time, ignore_expiration)? {
            Some(Found::Native(found)) => found.cached_value().map(Some),
            Some(Found::Read { value, .. }) => Ok(Some(value)),
            None => Ok(None),
        }
    }

    /// Returns the values for `keys`, with `NO_VALUE` where there is none.
    #[pyo3(signature = (keys, expiration_time = None, ignore_expiration = false))]
    fn get_multi<'py>(
        slf: &Bound<'py, Self>,
        keys: &Bound<'py, PyAny>,
        expiration_time: Option<&Bound<'py, PyAny>>,
        ignore_expiration: bool,
    ) -> PyResult<Bound<'py, PyList>> {
        let py = slf.py();
        if !keys.is_truthy()? {
            return Ok(PyList::empty(py));
        }
        let plan = slf.get().plan();
        let Some(backend) = &plan.backend else { return Err(Self::not_configured(slf)) };
        let terms = Terms { limit: plan.limit(expiration_time, false)?, creates: false };
        several::get(&plan, backend, keys, (!ignore_expiration).then_some(terms))
    }

    /// Returns the value for `key`, which `creator` creates if there is none that is fresh.
    #[pyo3(signature = (key, creator, expiration_time = None, should_cache_fn = None, creator_args = None))]
    fn get_or_create<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        creator: &Bound<'py, PyAny>,
        expiration_time: Option<&Bound<'py, PyAny>>,
        should_cache_fn: Option<&Bound<'py, PyAny>>,
        creator_args: Option<&Bound<'py, PyTuple>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let args = creator_args.filter(|args| !args.is_empty());
        Self::create(
            slf,
            &Call { key, creator, expiration_time, should_cache: should_cache_fn, args },
        )
    }

    /// Returns the values for `keys`, of which `creator` creates those that are not fresh.
    #[pyo3(signature = (keys, creator, expiration_time = None, should_cache_fn = None))]
    fn get_or_create_multi<'py>(
        slf: &Bound<'py, Self>,
        keys: &Bound<'py, PyAny>,
        creator: &Bound<'py, PyAny>,
        expiration_time: Option<&Bound<'py, PyAny>>,
        should_cache_fn: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let keys: Vec<_> = keys.try_iter()?.collect::<PyResult<_>>()?;
        let plan = slf.get().plan();
        if !patched_lock() && plan.engine.is_some() {
            let limit = plan.limit(expiration_time, true)?;
            let terms = Terms { limit, creates: true };
            let hits = keys.iter().map(|key| plan.hit(key, terms));
            if let Some(hits) = hits.collect::<PyResult<Option<Vec<_>>>>()? {
                return Ok(PyList::new(py, hits)?.into_any());
            }
            let (region, should_cache) = (slf.as_any(), should_cache_fn);
            let call = multi::Call { region, keys: &keys, creator, should_cache, limit };
            if let Some(values) = multi::create(&plan, &call)? {
                return Ok(values.into_any());
            }
        }
        drop(plan);
        let args = (PyList::new(py, keys)?, creator, expiration_time, should_cache_fn);
        slf.as_any().run_method1(text!(py, _create_multi), args)
    }

    /// Stores `value` for `key`.
    fn set<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let plan = slf.get().plan();
        match &plan.backend {
            Some(backend) => store::set(&plan, backend, key, value),
            None => Err(Self::not_configured(slf)),
        }
    }

    /// Stores the values of a mapping for its keys.
    fn set_multi<'py>(slf: &Bound<'py, Self>, mapping: &Bound<'py, PyAny>) -> PyResult<()> {
        if !mapping.is_truthy()? {
            return Ok(());
        }
        let plan = slf.get().plan();
        match &plan.backend {
            Some(backend) => store::set_multi(&plan, backend, mapping),
            None => Err(Self::not_configured(slf)),
        }
    }

    /// Deletes what is stored for `key`.
    fn delete<'py>(slf: &Bound<'py, Self>, key: &Bound<'py, PyAny>) -> PyResult<()> {
        let plan = slf.get().plan();
        match &plan.backend {
            Some(backend) => store::delete(&plan, backend, key),
            None => Err(Self::not_configured(slf)),
        }
    }

    /// Deletes what is stored for `keys`.
    fn delete_multi<'py>(slf: &Bound<'py, Self>, keys: &Bound<'py, PyAny>) -> PyResult<()> {
        let plan = slf.get().plan();
        match &plan.backend {
            Some(backend) => store::delete_multi(&plan, backend, keys),
            None => Err(Self::not_configured(slf)),
        }
    }

    /// Returns the value for `key` if a creating call would not have to create it or to wait, else
    /// `NO_VALUE`.
    fn _peek<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        expiration_time: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.peek(key, Some(expiration_time))
    }

    /// Begins a creating call of a task's. `None`: the crate cannot do it.
    #[pyo3(signature = (key, expiration_time = None))]
    fn _begin<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        expiration_time: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Flight>> {
        let plan = slf.get().plan();
        let limit = plan.limit(expiration_time, true)?;
        let native = create::native(&plan, &look::mangled(&plan, key)?, limit);
        Ok(native.map(|native| native.flight(limit)))
    }

    /// Is a value for the stored key `key` being created here? `None`: the Python half knows.
    fn _is_creating(slf: &Bound<'_, Self>, key: &Bound<'_, PyAny>) -> PyResult<Option<bool>> {
        let plan = slf.get().plan();
        let native = create::native(&plan, key, 0.0);
        native.map(|native| native.into_is_creating(slf.py())).transpose()
    }
}
