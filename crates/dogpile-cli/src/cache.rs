//! Which cache a command works on.

use std::env;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use dogpile::backend::AnyBackend;
use dogpile::backend::inspect::Inspect;

use crate::failure::Failure;

/// The name that regions of this command go by: the one that `invalidate`
/// speaks of if no other is given.
pub(crate) const REGION: &str = "dogpile";

/// The cache that was asked for, or the user's own file called `name`.
pub(crate) fn location(asked: Option<&str>, name: &str) -> Result<String, Failure> {
    if let Some(asked) = asked {
        return Ok(asked.to_owned());
    }
    let folder = user_cache_folder()
        .ok_or("there is no cache directory, since HOME is not set: use --cache FILE")?
        .join("dogpile");
    make_private(&folder).map_err(|error| format!("`{}`: {error}", folder.display()))?;
    Ok(folder.join(name).display().to_string())
}

fn user_cache_folder() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
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
    match file_at(location).map(|path| (path, check_is_database(Path::new(path)))) {
        Some((path, Err(error))) if error.kind() != ErrorKind::NotFound => {
            Err(format!("`{path}`: {error}").into())
        }
        _ => Ok(dogpile::config::backend_at(location)?),
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

/// An error for what does not begin as SQLite's files do. An empty one is a cache in which
/// nothing was stored yet.
fn check_is_database(path: &Path) -> std::io::Result<()> {
    const MAGIC: &[u8] = b"SQLite format 3\0";
    let mut begin = Vec::new();
    std::fs::File::open(path)?.take(MAGIC.len() as u64).read_to_end(&mut begin)?;
    if begin.is_empty() || begin == MAGIC {
        return Ok(());
    }
    Err(std::io::Error::other("this is no cache file"))
}

/// The way to look into `backend`.
pub(crate) fn inspect(backend: &AnyBackend) -> Result<&dyn Inspect, Failure> {
    let name = backend.name();
    backend
        .inspect()
        .ok_or_else(|| format!("the backend `{name}` cannot list what it holds").into())
}
