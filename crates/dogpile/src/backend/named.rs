//! Backends that settings can name.

use super::Backend;
use crate::settings::{Arguments, ConfigError};

/// A backend that settings can name. Its folder says the names and takes the arguments; one line of
/// the registry in `config` makes both known.
pub(crate) trait Named: Backend + Sized {
    /// All names: those of the backend, those of Python's that mean it, and schemes of URLs.
    const NAMES: &'static [&'static str];

    /// Opens the backend that is called `name`, with its arguments.
    fn from_arguments(name: &str, arguments: &mut Arguments) -> Result<Self, ConfigError>;
}
