//! Which cache a command works on.

use std::env;
use std::path::{Path, PathBuf};

use dogpile::backend::AnyBackend;
use dogpile::backend::inspect::Inspect;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::failure::Failure;

/// The name that regions of this command go by: the one that `invalidate`
/// speaks of if no other is given.
pub(crate) const REGION: &str = "dogpile";

/// Returns the cache that was asked for, or the user's own file called `name`; an error if
/// there is no place for that.
pub(crate) fn location(asked: Option<&str>, name: &str) -> Result<String, Failure> {
    if let Some(asked) = asked.filter(|asked| !asked.is_empty()) {
        return Ok(asked.to_owned());
    }
    let folder = user_cache_folder()
        .ok_or("there is no cache directory, since HOME is not set: use --cache FILE")?
        .join("dogpile");
    make_private(&folder).map_err(|error| format!("`{}`: {error}", folder.display()))?;
    Ok(folder.join(name).display().to_string())
}

fn user_cache_folder() -> Option<PathBuf> {
    // A relative one means another place in each directory, and counts as absent.
    let set = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .or_else(|| set("LOCALAPPDATA"))
}

/// Outputs may be secrets: the folder is its owner's.
fn make_private(folder: &std::path::Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// The backend at `location`, for storing in it: a file that is not there is made, one that is
/// no cache is left as it is.
pub(crate) fn open(location: &str) -> Result<AnyBackend, Failure> {
    // The library would move it aside, as a cache that was damaged.
    if let Some(path) = file_at(location) {
        check_is_database(Path::new(path))?;
    }
    Ok(dogpile::config::backend_at(location)?)
}

/// How far a cache can be used.
pub(crate) enum Access {
    Full(AnyBackend),
    /// Not at all, since this is in the way.
    None(String),
}

/// Opens the cache at `location` as far as it can be used. That it cannot be reached or
/// written is no error; that it is no cache is one.
pub(crate) fn access(location: &str) -> Result<Access, Failure> {
    use dogpile::backend::FaultKind;
    use dogpile::config::{ConfigError, backend_at};

    match backend_at(location) {
        Ok(backend) => Ok(Access::Full(backend)),
        Err(ConfigError::Backend { kind: FaultKind::Unavailable, message, .. }) => {
            Ok(Access::None(message))
        }
        Err(error) => Err(error.into()),
    }
}

/// The backend at `location`, which must be there: looking into a file makes none.
pub(crate) fn open_existing(location: &str) -> Result<AnyBackend, Failure> {
    match file_at(location) {
        Some(path) if !Path::new(path).exists() => Err(format!("there is no file `{path}`").into()),
        _ => open(location),
    }
}

/// The path, if the location is one.
fn file_at(location: &str) -> Option<&str> {
    let named = ["file:", "dbm:"].iter().find_map(|scheme| location.strip_prefix(scheme));
    match named {
        Some(rest) => rest.strip_prefix("//").unwrap_or(rest).split('?').next(),
        // Any other scheme is for a server, or an error.
        None if Path::new(location).exists() || !location.contains(':') => Some(location),
        None => None,
    }
}

/// Returns an error for a file that SQLite does not know. An empty one is a cache in which
/// nothing was stored yet.
///
/// SQLite itself is asked: if anybody else opened and closed the file, the process would lose
/// the locks that it holds on it.
fn check_is_database(path: &Path) -> Result<(), Failure> {
    if std::fs::metadata(path).is_ok_and(|found| found.len() > 0) {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let read = Connection::open_with_flags(path, flags)
            .and_then(|file| file.query_row("PRAGMA application_id", [], |_| Ok(())));
        if read.is_err_and(|error| error.sqlite_error_code() == Some(ErrorCode::NotADatabase)) {
            return Err(format!("`{}`: this is not a cache file", path.display()).into());
        }
    }
    // The library says what else is wrong.
    Ok(())
}

/// The way to look into `backend`.
pub(crate) fn inspect(backend: &AnyBackend) -> Result<&dyn Inspect, Failure> {
    let name = backend.name();
    backend
        .inspect()
        .ok_or_else(|| format!("the backend `{name}` cannot list what it holds").into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_look_at_a_file_leaves_its_locks() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("cache.db").display().to_string();
        let cache = open(&path).unwrap();
        pollster::block_on(cache.get("key")).unwrap();
        let lockers = || dogpile_testkit::lockers(Path::new(&path));
        assert!(!lockers().is_empty());
        check_is_database(Path::new(&path)).unwrap();
        assert!(!lockers().is_empty());
    }
}
