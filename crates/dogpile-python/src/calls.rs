//! Calls of code in Python, from which a thread may not come back.
//!
//! A thread that asks for the interpreter back while that ends is ended by `CPython` before 3.14, wherever it
//! is: its stack is unwound, through the frames of this crate too, and that ends the process by a signal.
//! Such a thread stays here, and sleeps until the process is over. `PyO3` does the same where a thread
//! attaches itself, and `CPython` does since 3.14.

use std::ptr;
use std::thread;

use pyo3::exceptions::PyStopIteration;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

#[cfg_attr(windows, link(name = "python3", kind = "raw-dylib"))]
unsafe extern "C-unwind" {
    fn PyObject_Call(
        callable: *mut ffi::PyObject,
        args: *mut ffi::PyObject,
        named: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
    fn PyIter_Send(
        generator: *mut ffi::PyObject,
        value: *mut ffi::PyObject,
        result: *mut *mut ffi::PyObject,
    ) -> ffi::PySendResult;
}

/// Dropped while a stack is unwound, it stops that for ever.
struct Stay;

impl Drop for Stay {
    fn drop(&mut self) {
        loop {
            thread::park();
        }
    }
}

/// Calls of code in Python.
pub(crate) trait Calls<'py> {
    fn run(
        &self,
        args: &Bound<'py, PyTuple>,
        named: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>>;

    fn run0(&self) -> PyResult<Bound<'py, PyAny>>;

    fn run1(
        &self,
        args: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>>,
    ) -> PyResult<Bound<'py, PyAny>>;

    fn run_method1(
        &self,
        name: &Bound<'py, PyString>,
        args: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>>,
    ) -> PyResult<Bound<'py, PyAny>>;

    /// Resumes a generator with a value. `None`: it has ended.
    fn resume(&self, value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>>;
}

impl<'py> Calls<'py> for Bound<'py, PyAny> {
    fn run(
        &self,
        args: &Bound<'py, PyTuple>,
        named: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let named = named.map_or(ptr::null_mut(), Bound::as_ptr);
        let stay = Stay;
        // SAFETY: the objects live as long as their borrows, and this thread is attached, as `Bound` says.
        let result = unsafe { PyObject_Call(self.as_ptr(), args.as_ptr(), named) };
        std::mem::forget(stay);
        // SAFETY: it is a reference of ours, or null with an exception set.
        unsafe { Bound::from_owned_ptr_or_err(self.py(), result) }
    }

    fn run0(&self) -> PyResult<Bound<'py, PyAny>> {
        self.run(&PyTuple::empty(self.py()), None)
    }

    fn run1(
        &self,
        args: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let args = args.into_pyobject(self.py()).map_err(Into::into)?;
        self.run(&args, None)
    }

    fn run_method1(
        &self,
        name: &Bound<'py, PyString>,
        args: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.getattr(name)?.run1(args)
    }

    fn resume(&self, value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut result = ptr::null_mut();
        let stay = Stay;
        // SAFETY: as in `run`; what is returned is put into `result`.
        let resumed = unsafe { PyIter_Send(self.as_ptr(), value.as_ptr(), &raw mut result) };
        std::mem::forget(stay);
        // SAFETY: as in `run`.
        let result = unsafe { Bound::from_owned_ptr_or_opt(self.py(), result) };
        match (resumed, result) {
            (ffi::PySendResult::PYGEN_NEXT, Some(next)) => Ok(Some(next)),
            (ffi::PySendResult::PYGEN_RETURN, _) => Ok(None),
            _ => Err(PyErr::take(self.py())
                .unwrap_or_else(|| PyStopIteration::new_err("the generator says nothing"))),
        }
    }
}
