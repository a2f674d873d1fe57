//! The usual invalidation of a region: a moment in this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dogpile::clock::Timestamp;
use dogpile::invalidation::{Invalidating, Invalidation, Mode};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::clock;

/// The moment of the last invalidation, and its kind. Not a number: there was none. The sign
/// says which kind it was.
#[derive(Debug)]
pub(crate) struct Moment(AtomicU64);

impl Moment {
    fn never() -> Self {
        Self(AtomicU64::new(f64::NAN.to_bits()))
    }

    #[inline]
    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Acquire))
    }

    fn set(&self, mode: Mode, at: Timestamp) {
        let signed = if mode == Mode::Hard { at.abs() } else { -at.abs() };
        self.0.store(signed.to_bits(), Ordering::Release);
    }

    /// Was there any?
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        !self.get().is_nan()
    }

    /// Was a value of that time created before the last invalidation?
    #[inline]
    pub(crate) fn is_after(&self, created: Timestamp) -> bool {
        created < self.get().abs()
    }

    pub(crate) fn mode(&self) -> Option<Mode> {
        let signed = self.get();
        let mode = if signed.is_sign_negative() { Mode::Soft } else { Mode::Hard };
        (!signed.is_nan()).then_some(mode)
    }

    /// Was the last invalidation a soft one?
    pub(crate) fn is_soft(&self) -> bool {
        self.mode() == Some(Mode::Soft)
    }
}

impl Invalidation for Moment {
    fn invalidate(&self, mode: Mode, at: Timestamp) -> Invalidating<'_> {
        self.set(mode, at);
        Box::pin(std::future::ready(Ok(())))
    }

    fn is_hard_invalidated(&self, ct: Timestamp) -> bool {
        self.was_hard_invalidated() && self.is_after(ct)
    }

    fn is_soft_invalidated(&self, ct: Timestamp) -> bool {
        self.was_soft_invalidated() && self.is_after(ct)
    }

    fn was_hard_invalidated(&self) -> bool {
        self.mode() == Some(Mode::Hard)
    }

    fn was_soft_invalidated(&self) -> bool {
        self.is_soft()
    }
}

/// A pickled object: a function, its arguments, and the state that the new object is given.
type Reduced<'py> = (Bound<'py, PyAny>, (Bound<'py, PyType>,), (f64, Bound<'py, PyAny>));

/// The usual strategy: the moment of the last invalidation, in this process.
#[pyclass(frozen, subclass, dict, weakref, module = "dogpile_rs._engine")]
pub(crate) struct DefaultInvalidation(Arc<Moment>);

impl DefaultInvalidation {
    pub(crate) fn moment(&self) -> Arc<Moment> {
        self.0.clone()
    }
}

#[pymethods]
impl DefaultInvalidation {
    /// The arguments are those of a subclass.
    #[new]
    #[pyo3(signature = (*_args, **_named))]
    fn new(_args: &Bound<'_, PyTuple>, _named: Option<&Bound<'_, PyDict>>) -> Self {
        Self(Arc::new(Moment::never()))
    }

    /// A copy has its own moment, and begins with the same.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Reduced<'py>> {
        let new = slf.py().import("copyreg")?.getattr("__newobj__")?;
        let state = (slf.get().0.get(), slf.getattr("__dict__")?);
        Ok((new, (slf.get_type(),), state))
    }

    fn __setstate__(slf: &Bound<'_, Self>, state: (f64, Bound<'_, PyDict>)) -> PyResult<()> {
        let (signed, attributes) = state;
        slf.get().0.0.store(signed.to_bits(), Ordering::Release);
        slf.getattr("__dict__")?.cast::<PyDict>()?.update(attributes.as_mapping())
    }

    #[pyo3(signature = (hard = true))]
    fn invalidate(&self, py: Python<'_>, hard: bool) -> PyResult<()> {
        let mode = if hard { Mode::Hard } else { Mode::Soft };
        self.0.set(mode, clock::now(py)?);
        Ok(())
    }

    fn is_invalidated(&self, timestamp: f64) -> bool {
        self.0.is_after(timestamp)
    }

    fn was_hard_invalidated(&self) -> bool {
        self.0.was_hard_invalidated()
    }

    fn is_hard_invalidated(&self, timestamp: f64) -> bool {
        Invalidation::is_hard_invalidated(&*self.0, timestamp)
    }

    fn was_soft_invalidated(&self) -> bool {
        self.0.was_soft_invalidated()
    }

    fn is_soft_invalidated(&self, timestamp: f64) -> bool {
        Invalidation::is_soft_invalidated(&*self.0, timestamp)
    }
}
