//! Errors of the crate as exceptions: the classes of `dogpile_rs.cache.exception`.

use dogpile::backend::BackendError;
use dogpile::{CreateError, Error};
use pyo3::prelude::*;
use pyo3::types::PyType;

const MODULE: &str = "dogpile_rs.cache.exception";

macro_rules! class {
    ($(#[$doc:meta])* $name:ident, $class:literal) => {
        $(#[$doc])*
        fn $name(message: String) -> PyErr {
            Python::attach(|py| {
                let class = py.import(MODULE).and_then(|module| module.getattr($class));
                match class.and_then(|class| Ok(class.cast_into::<PyType>()?)) {
                    Ok(class) => PyErr::from_type(class, message),
                    Err(error) => error,
                }
            })
        }
    };
}

class!(backend_error, "BackendError");
class!(wait_timeout, "WaitTimeout");
class!(recursive_creation, "RecursiveCreation");
class!(other_error, "DogpileCacheException");

/// An error of a region.
pub(crate) fn of_region(error: Error) -> PyErr {
    let message = with_cause(&error);
    match error {
        Error::Backend { .. } => backend_error(message),
        Error::WaitTimeout { .. } => wait_timeout(message),
        Error::RecursiveCreation { .. } => recursive_creation(message),
        _ => other_error(message),
    }
}

/// An error of a creating call: the creator's own, or the region's.
pub(crate) fn of_creation(error: CreateError<PyErr>) -> PyErr {
    match error {
        CreateError::Creator(error) => error,
        CreateError::Cache(error) => of_region(error),
    }
}

/// A creator has asked for its own key.
pub(crate) fn recursive(key: &str) -> PyErr {
    recursive_creation(format!("a creator asked for the key that it is creating: {key:?}"))
}

/// An error of a backend's.
pub(crate) fn of_backend(error: BackendError) -> PyErr {
    backend_error(with_cause(&error))
}

/// A message names its immediate cause; these are the causes below that.
fn with_cause(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        message.push_str(": ");
        message.push_str(&next.to_string());
        cause = next.source();
    }
    message
}
