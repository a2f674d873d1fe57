//! Writing the keys of decorated functions.

use std::cell::Cell;

use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList, PyString};

thread_local! {
    /// The place where the last key was written: the next one needs no memory of its own.
    static SPARE: Cell<String> = const { Cell::new(String::new()) };
}

/// The part that is kept of a long key.
const MOST_SPARED: usize = 4_096;

/// Returns `prefix` and the texts of the arguments, with spaces between them.
#[inline]
pub(crate) fn write<'py>(
    py: Python<'py>,
    prefix: &str,
    args: &[Bound<'py, PyAny>],
) -> PyResult<Bound<'py, PyString>> {
    let mut text = SPARE.take();
    text.clear();
    text.push_str(prefix);
    let is_written = append(&mut text, args)?;
    let key = is_written.then(|| PyString::new(py, &text));
    if text.capacity() <= MOST_SPARED {
        SPARE.set(text);
    }
    match key {
        Some(key) => Ok(key),
        None => joined(py, prefix, args),
    }
}

/// Are all of them text in UTF-8? Half a character of UTF-16 is not.
#[inline]
fn append(text: &mut String, args: &[Bound<'_, PyAny>]) -> PyResult<bool> {
    for (place, arg) in args.iter().enumerate() {
        if place > 0 {
            text.push(' ');
        }
        if !append_one(text, arg)? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[inline]
fn append_one(text: &mut String, arg: &Bound<'_, PyAny>) -> PyResult<bool> {
    if let Ok(string) = arg.cast_exact::<PyString>() {
        return Ok(append_string(text, string));
    }
    if let Ok(int) = arg.cast_exact::<PyInt>()
        && let Ok(number) = int.extract::<i64>()
    {
        append_number(text, number);
        return Ok(true);
    }
    Ok(append_string(text, &arg.str()?))
}

#[inline]
fn append_string(text: &mut String, string: &Bound<'_, PyString>) -> bool {
    let is_text = string.to_str().map(|string| text.push_str(string));
    is_text.is_ok()
}

#[inline]
fn append_number(text: &mut String, number: i64) {
    if number < 0 {
        text.push('-');
    }
    let (mut digits, mut first, mut rest) = ([b'0'; 20], 20, number.unsigned_abs());
    while first == 20 || rest > 0 {
        first -= 1;
        digits[first] = b"0123456789"[(rest % 10) as usize];
        rest /= 10;
    }
    // Digits are text.
    text.push_str(str::from_utf8(&digits[first..]).unwrap_or_default());
}

/// The same by Python.
#[cold]
fn joined<'py>(
    py: Python<'py>,
    prefix: &str,
    args: &[Bound<'py, PyAny>],
) -> PyResult<Bound<'py, PyString>> {
    let texts = args.iter().map(PyAnyMethods::str).collect::<PyResult<Vec<_>>>()?;
    let arguments = PyString::new(py, " ").call_method1("join", (PyList::new(py, texts)?,))?;
    Ok(PyString::new(py, prefix).add(arguments)?.cast_into()?)
}
