//! Names of Python's that calls use, made when the module is imported: a fork while one of them was being
//! made by another thread would leave the child waiting for that.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyInt, PyString};

macro_rules! strings {
    ($($name:ident)*) => {
        #[expect(non_snake_case, reason = "they are Python's names")]
        pub(crate) struct Strings {
            $(pub(crate) $name: Py<PyString>,)*
            /// The number of the format of values.
            pub(crate) version: Py<PyAny>,
        }

        impl Strings {
            fn new(py: Python<'_>) -> Self {
                let version = PyInt::new(py, dogpile::value::VERSION).into_any().unbind();
                Self { $($name: PyString::intern(py, stringify!($name)).unbind(),)* version }
            }
        }
    };
}

strings! {
    _create
    _create_multi
    _is_cache_miss
    backend
    ct
    delete
    delete_multi
    done
    drain
    get
    get_multi
    get_serialized
    get_serialized_multi
    isEnabledFor
    is_hard_invalidated
    is_invalidated
    is_soft_invalidated
    items
    json
    loads
    log
    logging
    metadata
    payload
    set
    set_multi
    set_result
    set_serialized
    set_serialized_multi
    time
    v
}

static STRINGS: PyOnceLock<Strings> = PyOnceLock::new();

/// Makes them.
pub(crate) fn init(py: Python<'_>) {
    let _ = strings(py);
}

#[inline]
pub(crate) fn strings(py: Python<'_>) -> &Strings {
    STRINGS.get_or_init(py, || Strings::new(py))
}

/// A name, as an object.
macro_rules! text {
    ($py:expr, $name:ident) => {
        $crate::strings::strings($py).$name.bind($py)
    };
}

pub(crate) use text;
