//! Telling whether a stored value is fresh.

use pyo3::prelude::*;

use crate::cached::Parts;
use crate::calls::Calls as _;
use crate::clock::Reading;
use crate::plan::Plan;
use crate::strings::text;

/// The demands of a call on a value.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    /// In seconds; not a number: there is none.
    pub(crate) limit: f64,
    /// Is it for a call that creates values? For others, every version is good.
    pub(crate) creates: bool,
}

/// Returns the payload of `value`, which is not `NO_VALUE`, if it is fresh.
#[inline]
pub(crate) fn fresh<'py>(
    plan: &Plan,
    value: &Bound<'py, PyAny>,
    terms: Terms,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    fresh_at(plan, value, terms, || Reading::take(value.py()))
}

/// The same at a time that is asked for where it matters.
#[inline]
pub(crate) fn fresh_at<'py>(
    plan: &Plan,
    value: &Bound<'py, PyAny>,
    terms: Terms,
    now: impl FnOnce() -> PyResult<Reading>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let parts = Parts::of(value)?;
    let created = parts.written_here();
    if created.is_none() && terms.creates && !parts.is_of_this_version()? {
        return Ok(None);
    }
    let may_be_invalid = plan.moment.as_ref().is_none_or(|moment| moment.is_set());
    if terms.limit.is_nan() && !may_be_invalid {
        return parts.payload().map(Some);
    }
    let created = created.map_or_else(|| parts.created(), Ok)?;
    if !terms.limit.is_nan() && now()?.is_older(created, terms.limit) {
        return Ok(None);
    }
    if may_be_invalid && is_invalidated(value.py(), plan, created, terms.creates)? {
        return Ok(None);
    }
    parts.payload().map(Some)
}

fn is_invalidated(py: Python<'_>, plan: &Plan, created: f64, creates: bool) -> PyResult<bool> {
    if let Some(moment) = &plan.moment {
        return Ok(moment.is_after(created));
    }
    let Some(strategy) = &plan.invalidator else { return Ok(false) };
    let strategy = strategy.bind(py);
    let says = |question| strategy.run_method1(question, (created,))?.is_truthy();
    if creates {
        Ok(says(text!(py, is_hard_invalidated))? || says(text!(py, is_soft_invalidated))?)
    } else {
        says(text!(py, is_invalidated))
    }
}
