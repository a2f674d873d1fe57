//! `dogpile_rs._engine`: the native half of the Python package.
//!
//! ```text
//!   region   the base class of CacheRegion: its attributes and calls
//!   plan     the attributes in force
//!   look     reading a value: a dict, a backend, a backend of bytes; reader, from Python's quickly
//!   several  reading several keys
//!   judge    telling whether it is fresh; clock, the time
//!   create   creating calls through the crate; multi, for several keys; engine, its region;
//!            creating, the creators that run now
//!   store    storing and deleting; direct, over a backend of the crate's
//!   aio      creations of asyncio's tasks; fresh, what they look at first; tasks, answer, their other calls;
//!            bridge, bell, waking their loop
//!   site     decorated functions; keys, writing their keys
//!   backend  backends of the crate's; mutex, their locks
//!   wait     futures of the crate on a Python thread
//!   calls    calls of code in Python, which a thread may not come back from
//!   value    what the crate stores for Python; dict, the dict of a region; cached, `CachedValue`;
//!            tuples, making one
//!   errors   exceptions; statistics, counters; log, trace, records
//!   grave    objects that were evicted
//!   names    what the Python half has registered here; strings, Python's names
//! ```
//!
//! One rule for all of it: nothing of the crate is locked while this thread is attached to the
//! interpreter, if another thread can have that locked while it attaches.

mod aio;
mod answer;
mod backend;
mod bell;
mod bridge;
mod cached;
#[expect(unsafe_code, reason = "a thread that the interpreter ends must not be unwound; see there")]
mod calls;
mod clock;
mod create;
mod creating;
mod dict;
mod direct;
mod engine;
mod errors;
mod fresh;
mod grave;
mod invalidation;
mod judge;
mod keys;
mod log;
mod look;
mod multi;
mod mutex;
mod names;
mod plan;
mod reader;
mod region;
mod several;
mod site;
mod statistics;
mod store;
mod strings;
mod tasks;
mod trace;
#[expect(unsafe_code, reason = "PyO3 has no safe function for it; see there")]
mod tuples;
mod value;
mod wait;

use pyo3::prelude::*;

/// The native half of `dogpile_rs`.
#[pymodule(gil_used = false)]
mod _engine {
    use super::{Bound, PyModule, PyResult};

    #[pymodule_export]
    use super::aio::Flight;
    #[pymodule_export]
    use super::answer::Answer;
    #[pymodule_export]
    use super::backend::NativeBackend;
    #[pymodule_export]
    use super::bridge::Bridge;
    #[pymodule_export]
    use super::fresh::Fresh;
    #[pymodule_export]
    use super::invalidation::DefaultInvalidation;
    #[pymodule_export]
    use super::mutex::NativeMutex;
    #[pymodule_export]
    use super::names::register;
    #[pymodule_export]
    use super::region::{Region, lock_is_patched};
    #[pymodule_export]
    use super::site::Site;
    #[pymodule_export]
    use super::tasks::{begin_delete, begin_get, begin_get_multi, begin_is_creating, begin_set};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::strings::init(module.py());
        super::trace::init();
        super::clock::init(module.py())?;
        super::wait::init(module.py())
    }
}
