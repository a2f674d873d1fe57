//! Decorated functions with the usual keys.
//!
//! The Python half makes a function of the same signature for each, whose body calls one of
//! these: so the interpreter itself binds names and defaults.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use crate::calls::Calls as _;
use crate::create::Call;
use crate::judge::Terms;
use crate::keys;
use crate::names::no_value;
use crate::region::{Region, patched_lock};

/// A decorated function: how its keys are written, and what its calls are about.
#[pyclass(frozen, weakref, module = "dogpile_rs._engine")]
pub(crate) struct Site {
    region: Py<Region>,
    function: Py<PyAny>,
    prefix: String,
    /// The number of arguments that are no part of the key: `self` or `cls`.
    skip: usize,
    expiration: Expiration,
    should_cache: Option<Py<PyAny>>,
}

enum Expiration {
    OfRegion,
    Fixed(Py<PyAny>),
    Computed(Py<PyAny>),
}

impl Expiration {
    fn now<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self {
            Self::OfRegion => Ok(None),
            Self::Fixed(time) => Ok(Some(time.bind(py).clone())),
            Self::Computed(time) => {
                let time = time.bind(py).run0()?;
                Ok((!time.is_none()).then_some(time))
            }
        }
    }
}

impl Site {
    #[inline]
    fn key_of<'py>(
        &self,
        py: Python<'py>,
        args: &[Bound<'py, PyAny>],
    ) -> PyResult<Bound<'py, PyString>> {
        keys::write(py, &self.prefix, args.get(self.skip..).unwrap_or_default())
    }

    #[inline]
    fn call<'py>(
        &self,
        py: Python<'py>,
        args: &[Bound<'py, PyAny>],
    ) -> PyResult<Bound<'py, PyAny>> {
        let key = self.key_of(py, args)?.into_any();
        let expiration = self.expiration.now(py)?;
        let region = self.region.bind(py);
        // A hit needs no tuple of arguments.
        if let Some(hit) = hit(region, &key, expiration.as_ref())? {
            return Ok(hit);
        }
        self.create(region, &key, expiration.as_ref(), args)
    }

    /// The value of a hit in memory, or `NO_VALUE`.
    #[inline]
    fn peek<'py>(
        &self,
        py: Python<'py>,
        args: &[Bound<'py, PyAny>],
    ) -> PyResult<Bound<'py, PyAny>> {
        let key = self.key_of(py, args)?.into_any();
        let expiration = self.expiration.now(py)?;
        match hit(self.region.bind(py), &key, expiration.as_ref())? {
            Some(hit) => Ok(hit),
            None => no_value(py),
        }
    }

    #[cold]
    fn create<'py>(
        &self,
        region: &Bound<'py, Region>,
        key: &Bound<'py, PyAny>,
        expiration_time: Option<&Bound<'py, PyAny>>,
        args: &[Bound<'py, PyAny>],
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = region.py();
        let positional = PyTuple::new(py, args)?;
        let args = PyTuple::new(py, [positional.into_any(), PyDict::new(py).into_any()])?;
        let call = Call {
            key,
            creator: self.function.bind(py),
            expiration_time,
            should_cache: self.should_cache.as_ref().map(|function| function.bind(py)),
            args: Some(&args),
        };
        Region::create(region, &call)
    }
}

#[inline]
fn hit<'py>(
    region: &Bound<'py, Region>,
    key: &Bound<'py, PyAny>,
    expiration_time: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let plan = region.get().plan();
    if plan.values.is_none() || patched_lock() {
        return Ok(None);
    }
    let limit = plan.limit(expiration_time, true)?;
    plan.hit(key, Terms { limit, creates: true })
}

#[pymethods]
impl Site {
    #[new]
    #[pyo3(signature = (region, function, prefix, skip = 0, expiration_time = None, should_cache_fn = None))]
    fn new(
        region: Py<Region>,
        function: Py<PyAny>,
        prefix: String,
        skip: usize,
        expiration_time: Option<&Bound<'_, PyAny>>,
        should_cache_fn: Option<Py<PyAny>>,
    ) -> Self {
        let expiration = match expiration_time {
            None => Expiration::OfRegion,
            Some(time) if time.is_callable() => Expiration::Computed(time.clone().unbind()),
            Some(time) => Expiration::Fixed(time.clone().unbind()),
        };
        Self { region, function, prefix, skip, expiration, should_cache: should_cache_fn }
    }

    /// A region that is reachable from its own functions is collected by its own means.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.region)?;
        visit.call(&self.function)?;
        visit.call(&self.should_cache)?;
        match &self.expiration {
            Expiration::OfRegion => Ok(()),
            Expiration::Fixed(time) | Expiration::Computed(time) => visit.call(time),
        }
    }

    /// Calls a function without arguments.
    fn call0<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.call(py, &[])
    }

    /// Calls a function of one argument.
    fn call1<'py>(&self, a: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = a.py();
        self.call(py, &[a])
    }

    /// Calls a function of two arguments.
    fn call2<'py>(
        &self,
        a: Bound<'py, PyAny>,
        b: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = a.py();
        self.call(py, &[a, b])
    }

    /// Calls a function of three arguments.
    fn call3<'py>(
        &self,
        a: Bound<'py, PyAny>,
        b: Bound<'py, PyAny>,
        c: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = a.py();
        self.call(py, &[a, b, c])
    }

    /// Calls a function of any number of arguments.
    #[pyo3(signature = (*args))]
    fn calln<'py>(&self, args: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        self.call(args.py(), &args.iter().collect::<Vec<_>>())
    }

    /// As `call0`, but `NO_VALUE` where the value is not at hand.
    fn peek0<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.peek(py, &[])
    }

    /// As `call1`, but `NO_VALUE` where the value is not at hand.
    fn peek1<'py>(&self, a: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = a.py();
        self.peek(py, &[a])
    }

    /// As `call2`, but `NO_VALUE` where the value is not at hand.
    fn peek2<'py>(
        &self,
        a: Bound<'py, PyAny>,
        b: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = a.py();
        self.peek(py, &[a, b])
    }

    /// As `call3`, but `NO_VALUE` where the value is not at hand.
    fn peek3<'py>(
        &self,
        a: Bound<'py, PyAny>,
        b: Bound<'py, PyAny>,
        c: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = a.py();
        self.peek(py, &[a, b, c])
    }

    /// As `calln`, but `NO_VALUE` where the value is not at hand.
    #[pyo3(signature = (*args))]
    fn peekn<'py>(&self, args: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        self.peek(args.py(), &args.iter().collect::<Vec<_>>())
    }

    /// Returns the key of a call with these arguments.
    #[pyo3(signature = (*args))]
    fn key<'py>(&self, args: &Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyString>> {
        self.key_of(args.py(), &args.iter().collect::<Vec<_>>())
    }
}
