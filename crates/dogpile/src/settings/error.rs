//! The errors of a configuration.

use std::fmt;

use crate::error::ErrorKind;

/// Why settings could not be turned into a configuration. Values appear in
/// messages only where their name does not look like a secret's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The text is no TOML.
    Toml {
        /// The parser's message, with the line.
        message: String,
    },
    /// A location is written wrongly.
    Location {
        /// Its scheme.
        scheme: String,
        /// The reason.
        message: String,
    },
    /// There is no backend of this name.
    UnknownBackend {
        /// The name that was given.
        name: String,
        /// The names that are registered.
        known: Vec<String>,
    },
    /// There is no proxy of this name.
    UnknownProxy {
        /// The name that was given.
        name: String,
        /// The names that are registered.
        known: Vec<String>,
    },
    /// Settings that nobody asked for.
    UnknownArguments {
        /// The owner of the settings: `region`, or the backend's name.
        owner: String,
        /// Their names.
        names: Vec<String>,
        /// The names that are known.
        known: Vec<String>,
    },
    /// There are settings of other regions at most: the prefix of
    /// [`with_prefix`](crate::config::Settings::with_prefix) is misspelled, or lacks its dot at the end.
    NoSettings,
    /// A setting that must be there is not.
    Missing {
        /// The owner of the setting.
        owner: String,
        /// Its name.
        name: String,
    },
    /// A value that is not what it should be.
    Invalid {
        /// The owner of the setting.
        owner: String,
        /// Its name.
        name: String,
        /// A description of valid values.
        expected: String,
        /// The value found; hidden if it may be a secret.
        found: String,
    },
    /// A backend could not be made of its arguments.
    Backend {
        /// The backend's name.
        name: String,
        /// The kind of failure: the settings may be good, and the place not there.
        kind: ErrorKind,
        /// The message.
        message: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Toml { message } => write!(f, "the settings are no TOML: {message}"),
            Self::Location { scheme, message } => {
                write!(f, "invalid `{scheme}:` location: {message}")
            }
            Self::UnknownBackend { name, known } => write!(
                f,
                "there is no backend `{name}`: known are {}; its feature may be switched off, or `register_backend` not called",
                known.join(", ")
            ),
            Self::UnknownProxy { name, known } => {
                write!(f, "there is no proxy `{name}`: known are {}", known.join(", "))
            }
            Self::UnknownArguments { owner, names, known } => write!(
                f,
                "unknown settings for {owner}: {}; known are {}",
                names.join(", "),
                known.join(", ")
            ),
            Self::NoSettings => f.write_str(
                "there are no settings for the region, which needs a `backend` at least: compare the prefix, such as `cache.users.` with its dot at the end, with the names in the file or the environment",
            ),
            Self::Missing { owner, name } => write!(f, "{owner} needs the setting `{name}`"),
            Self::Invalid { owner, name, expected, found } => {
                write!(f, "the setting `{name}` of {owner} must be {expected}, not {found}")
            }
            Self::Backend { name, message, .. } => {
                write!(f, "the backend `{name}` cannot be made: {message}")
            }
        }
    }
}

impl ConfigError {
    /// Returns what the backend called `name` says of its arguments.
    #[cfg(any(feature = "file", feature = "memcached", feature = "memory", feature = "redis"))]
    pub(crate) fn of_backend(name: &str, error: &crate::error::BackendError) -> Self {
        Self::Backend { name: name.to_owned(), kind: error.kind(), message: error.to_string() }
    }
}

impl std::error::Error for ConfigError {}
