//! The errors of cached queries.

use std::convert::Infallible;
use std::fmt;

/// A `Result` of a cached query over a library with errors of type `E`.
pub type Result<T, E> = std::result::Result<T, Error<E>>;

/// Why a cached query has no result.
///
/// It turns into the library's own error by `?`, for functions that return that.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error<E> {
    /// The database said so. Nothing is cached.
    Database(E),
    /// The query may only be answered by the cache, which has no answer.
    NotCached {
        /// The region's name.
        region: String,
        /// The key that was looked for.
        key: String,
    },
    /// Rows of this type would not come out of the cache as they went in. Nothing is
    /// cached.
    LostField {
        /// The row's type.
        row: &'static str,
        /// The field that serde writes and does not read, or reads and does not write.
        field: String,
    },
    /// The call is a refresh, and its connection is within a transaction or may be: its rows
    /// could be those of a snapshot that others have changed since, or never be committed. The
    /// query did not run.
    RefreshInTransaction {
        /// The region's name.
        region: String,
    },
    /// The statement is more than a read: it locks rows, writes, or is none that a cache
    /// can answer. It did not run. Run it without `from_cache`.
    NotARead {
        /// The words that say so: `FOR UPDATE`.
        effect: String,
    },
    /// No region of this name is registered.
    UnknownRegion {
        /// The name.
        name: String,
        /// The names that are.
        known: Vec<String>,
    },
    /// The settings of a region for queries are not understood.
    Settings {
        /// The region.
        region: String,
        /// The cause.
        source: dogpile::config::ConfigError,
    },
    /// The cache failed where that is not survived: in calls that are about the
    /// cache alone.
    Cache(dogpile::Error),
}

impl Error<Infallible> {
    /// The same, where there could have been an error of a database.
    pub(crate) fn widen<E>(self) -> Error<E> {
        match self {
            Self::Database(never) => match never {},
            Self::NotCached { region, key } => Error::NotCached { region, key },
            Self::LostField { row, field } => Error::LostField { row, field },
            Self::RefreshInTransaction { region } => Error::RefreshInTransaction { region },
            Self::NotARead { effect } => Error::NotARead { effect },
            Self::UnknownRegion { name, known } => Error::UnknownRegion { name, known },
            Self::Settings { region, source } => Error::Settings { region, source },
            Self::Cache(fault) => Error::Cache(fault),
        }
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(error) => error.fmt(f),
            Self::NotCached { region, key } => {
                write!(
                    f,
                    "region `{region}` has nothing under `{key}`, and the call is `cache_only`"
                )
            }
            Self::LostField { row, field } => write!(
                f,
                "rows of the type `{row}` lose their field `{field}` in a cache, because serde skips it \
                 when writing or when reading: remove `#[serde(skip_..)]` from it, or cache a type of your own"
            ),
            Self::RefreshInTransaction { region } => write!(
                f,
                "a refresh of region `{region}` on a connection that is or may be within a transaction, \
                 whose rows are not for others: refresh after the commit, by the pool or another connection"
            ),
            Self::NotARead { effect } => write!(
                f,
                "the statement is more than a read (`{effect}`), so a cache must not answer it: \
                 run it without `from_cache`"
            ),
            Self::UnknownRegion { name, known } => write!(
                f,
                "there is no region `{name}` for queries: known are {}; register it, or name it in the settings",
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            ),
            Self::Settings { region, source } => {
                write!(f, "settings of the region `{region}` for queries: {source}")
            }
            Self::Cache(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Error<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Database(error) => error.source(),
            Self::Settings { source, .. } => source.source(),
            Self::Cache(error) => error.source(),
            Self::NotCached { .. }
            | Self::LostField { .. }
            | Self::RefreshInTransaction { .. }
            | Self::NotARead { .. }
            | Self::UnknownRegion { .. } => None,
        }
    }
}

/// A region that is not configured, as in unit tests, has nothing to forget.
pub(crate) fn forgotten<E>(done: dogpile::Result<()>) -> Result<(), E> {
    match done {
        Ok(()) | Err(dogpile::Error::NotConfigured { .. }) => Ok(()),
        Err(fault) => Err(Error::Cache(fault)),
    }
}
