//! Which cache a command works on.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dogpile::backend::inspect::Inspect;
use dogpile::backend::{AnyBackend, ErrorKind};
use dogpile::config::{ConfigError, Location};

use crate::error::CommandError;

/// The name that regions of this command go by: the one that `invalidate`
/// speaks of if no other is given.
pub(crate) const REGION: &str = "dogpile";

/// Returns the cache that was asked for, or the user's own file called `name`.
pub(crate) fn location(asked: Option<&str>, name: &str) -> Result<Place, CommandError> {
    if let Some(asked) = asked.filter(|asked| !asked.is_empty()) {
        return Ok(Place::At(Location::parse(asked)?));
    }
    let Some(folder) = user_cache_folder() else {
        let why = "there is no cache directory, since HOME is not set: use --cache FILE";
        return Ok(Place::Nowhere(why.to_owned()));
    };
    let folder = folder.join("dogpile");
    let file = folder.join(name);
    let Some(file) = file.to_str() else {
        let why = "is not UTF-8: use --cache FILE";
        return Ok(Place::Nowhere(format!("`{}` {why}", folder.display())));
    };
    Ok(match make_private(&folder) {
        Ok(()) => Place::At(Location::parse(file)?),
        Err(error) => Place::Nowhere(format!("`{}`: {error}", folder.display())),
    })
}

/// The place of a cache.
pub(crate) enum Place {
    At(Location),
    /// There is no place, for this reason.
    Nowhere(String),
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

/// Opens the cache at `location`, for storing in it: a file that is not there is created.
pub(crate) fn open(location: &str) -> Result<AnyBackend, CommandError> {
    Ok(private(Location::parse(location)?).open()?)
}

/// Opens the cache at `location`, which must be there.
pub(crate) fn open_existing(location: &str) -> Result<AnyBackend, CommandError> {
    Ok(private(existing(location)?).open()?)
}

fn existing(location: &str) -> Result<Location, CommandError> {
    let location = Location::parse(location)?;
    match location.path() {
        Some(path) if !path.exists() => {
            Err(format!("there is no file `{}`", path.display()).into())
        }
        _ => Ok(location),
    }
}

/// Opens the cache at `location` to look into it: nothing is created, locked or changed.
pub(crate) fn look(location: &str) -> Result<AnyBackend, CommandError> {
    Ok(read_only(existing(location)?).open()?)
}

/// A file that was changed within this time may be written to.
const SETTLED: Duration = Duration::from_millis(100);

/// Opens the file at `location` to look into it, if that needs no wait and no part in the work
/// of others: for what is stored and may be served at once. A log that the last process has left
/// is for those to clear up who open the file to write.
pub(crate) fn glance(location: &Location) -> Option<AnyBackend> {
    let path = location.path()?;
    let found = std::fs::symlink_metadata(path).ok()?;
    // Where a link leads to, there is the log.
    let (path, found) = if found.is_symlink() {
        let path = path.canonicalize().ok()?;
        let found = std::fs::metadata(&path).ok()?;
        (path, found)
    } else {
        (path.to_owned(), found)
    };
    let changed = found.modified().ok()?;
    let is_settled = changed.elapsed().is_ok_and(|age| age > SETTLED);
    let mut log = path.into_os_string();
    log.push("-wal");
    let has_log = std::fs::metadata(log).is_ok_and(|log| log.len() > 0);
    if is_settled && !has_log { read_only(location.clone()).open().ok() } else { None }
}

fn read_only(location: Location) -> Location {
    if location.path().is_some() { location.or_setting("read_only", "true") } else { location }
}

/// Output may hold secrets: what this command creates is for its owner alone, or for the group in
/// a folder that the group shares. `?mode=` says otherwise.
fn private(location: Location) -> Location {
    match location.path() {
        Some(path) if is_shared(path) => location.or_setting("mode", "0660"),
        Some(_) => location.or_setting("mode", "0600"),
        None => location,
    }
}

/// May the group write to the folder of `path`, and is that the group of what we create?
#[cfg(unix)]
fn is_shared(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let Ok(folder) = std::fs::metadata(folder.unwrap_or(Path::new("."))) else { return false };
    let has = |bit| folder.mode() & bit != 0;
    let [group_writes, sticky, passes_group_on] = [0o020, 0o1000, 0o2000].map(has);
    let is_ours = passes_group_on || folder.gid() == nix::unistd::getegid().as_raw();
    group_writes && !sticky && is_ours
}

#[cfg(not(unix))]
fn is_shared(_path: &Path) -> bool {
    false
}

/// The extent to which a cache can be used.
pub(crate) enum Access {
    Full(AnyBackend),
    /// To look into it; this is in the way of the rest.
    ReadOnly(AnyBackend, String),
    /// Not at all, since this is in the way.
    None(String),
}

/// Opens the cache at `location` as far as it can be used. That it cannot be reached or
/// written is no error; that it is no cache is one.
pub(crate) fn access(location: &Location) -> Result<Access, CommandError> {
    match private(location.clone()).open() {
        Ok(backend) => Ok(Access::Full(backend)),
        Err(ConfigError::Backend { kind: ErrorKind::Unavailable, message, .. }) => {
            Ok(match location.path().map(|_| read_only(location.clone()).open()) {
                Some(Ok(backend)) => Access::ReadOnly(backend, message),
                _ => Access::None(message),
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns one name of a cache for all processes, whatever their directory.
pub(crate) fn identity(location: &Location) -> String {
    let Some(path) = location.path() else { return location.to_string() };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize().unwrap_or_default();
    folder.join(path.file_name().unwrap_or_default()).display().to_string()
}

/// The way to look into `backend`.
pub(crate) fn inspect(backend: &AnyBackend) -> Result<&dyn Inspect, CommandError> {
    let name = backend.name();
    backend
        .inspect()
        .ok_or_else(|| format!("the backend `{name}` cannot list what it holds").into())
}
