//! The crate's own warnings, on their way to Python's `logging`: a server is away, a value cannot be stored.
//!
//! They may be given on any thread, also where it must not attach to the interpreter. So they wait in a
//! queue for the next call that ends.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::calls::Calls as _;
use crate::strings::text;

/// More are dropped.
const MOST: usize = 1_000;

static WAITING: Mutex<Vec<(bool, String)>> = Mutex::new(Vec::new());
static ARE_ANY: AtomicBool = AtomicBool::new(false);

/// From now on, warnings are queued.
pub(crate) fn init() {
    // Whoever has set another one, in this library alone, gets them.
    let _ = tracing::subscriber::set_global_default(Queue);
}

/// Logs what has been queued, on the logger `dogpile.cache.engine`, at the end of a call with this result.
///
/// An exception of logging, such as one of a signal's handler, ends the call unless it ends with another already.
#[inline]
pub(crate) fn flush<T>(py: Python<'_>, result: PyResult<T>) -> PyResult<T> {
    if ARE_ANY.load(Ordering::Acquire) {
        match (log_all(py), &result) {
            (Err(raised), Ok(_)) => return Err(raised),
            (Err(raised), Err(_)) if !raised.is_instance_of::<PyException>(py) => {
                return Err(raised);
            }
            _ => {}
        }
    }
    result
}

#[cold]
fn log_all(py: Python<'_>) -> PyResult<()> {
    // At the end of the interpreter there is none.
    let Ok(logging) = py.import(text!(py, logging)) else { return Ok(()) };
    let logger = logging.getattr("getLogger")?.run1(("dogpile.cache.engine",))?;
    ARE_ANY.store(false, Ordering::Release);
    let waiting = std::mem::take(&mut *WAITING.lock().unwrap_or_else(PoisonError::into_inner));
    let mut waiting = waiting.into_iter();
    while let Some((is_warning, message)) = waiting.next() {
        let level = if is_warning { "warning" } else { "debug" };
        if let Err(raised) = logger.getattr(level)?.run1(("%s", message)) {
            put_back(waiting);
            return Err(raised);
        }
    }
    Ok(())
}

/// Leaves messages for the next call.
fn put_back(messages: impl Iterator<Item = (bool, String)>) {
    let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.splice(..0, messages);
    waiting.truncate(MOST);
    ARE_ANY.store(!waiting.is_empty(), Ordering::Release);
}

struct Queue;

impl Subscriber for Queue {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        // The creator's exception reaches its caller.
        let is_warning = !text.message.starts_with("the creator failed");
        let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MOST {
            waiting.push((is_warning, text.message + &text.fields));
        }
        drop(waiting);
        ARE_ANY.store(true, Ordering::Release);
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// The message of an event, and its fields as they are shown after it.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to memory does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, ", {name}: {value:?}"),
        };
    }
}
