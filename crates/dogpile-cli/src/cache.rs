//! Which cache a command works on.

use std::env;
use std::path::PathBuf;

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

/// The backend at `location`.
pub(crate) fn open(location: &str) -> Result<AnyBackend, Failure> {
    Ok(dogpile::config::backend_at(location)?)
}

/// The way to look into `backend`.
pub(crate) fn inspect(backend: &AnyBackend) -> Result<&dyn Inspect, Failure> {
    let name = backend.name();
    backend
        .inspect()
        .ok_or_else(|| format!("the backend `{name}` cannot list what it holds").into())
}
