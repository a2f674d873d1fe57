//! Named tuples, created by the code of `tuple.__new__` without the call around it, which needs two more tuples for
//! its arguments: a tenth of the time of a `set` in memory.

use std::ptr;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

/// The constructor of tuples.
pub(crate) struct NewTuple(ffi::newfunc);

impl NewTuple {
    pub(crate) fn find(py: Python<'_>) -> PyResult<Self> {
        let tuple = py.get_type::<PyTuple>();
        // SAFETY: it is a type, and alive.
        let slot = unsafe { ffi::PyType_GetSlot(tuple.as_type_ptr(), ffi::Py_tp_new) };
        // SAFETY: what is in this slot is such a function, or null, which is `None`.
        let new =
            unsafe { std::mem::transmute::<*mut std::ffi::c_void, Option<ffi::newfunc>>(slot) };
        new.map(Self).ok_or_else(|| PyRuntimeError::new_err("`tuple` has no constructor"))
    }

    /// Returns a tuple of two, of a class that is derived from `tuple` and has no fields of its own.
    pub(crate) fn of_two<'py>(
        &self,
        class: &Bound<'py, PyType>,
        items: (&Bound<'py, PyAny>, &Bound<'py, PyAny>),
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = class.py();
        let args = (items,).into_pyobject(py)?;
        // SAFETY: `tuple.__new__` calls it so: with a class derived from `tuple`, a tuple of the arguments and no
        // named ones, all alive. It returns a new reference, or null with an exception set.
        unsafe {
            let made = (self.0)(class.as_type_ptr(), args.as_ptr(), ptr::null_mut());
            Bound::from_owned_ptr_or_err(py, made)
        }
    }
}
