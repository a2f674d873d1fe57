//! The commands that change: `set`, `delete`, `invalidate`, `clear`.

use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use dogpile::backend::AnyBackend;
use dogpile::backend::inspect::{Clear, Key};
use dogpile::clock::{Clock, SystemClock};
use dogpile::invalidation::Mode;
use dogpile::invalidation::{Invalidation, SharedInvalidation};
use dogpile::value::Entry;
use dogpile::{Config, Region};
use serde::de::IgnoredAny;

use super::{Cache, printable};
use crate::cache;
use crate::error::CommandError;

/// The arguments of `dogpile set`.
#[derive(clap::Args)]
pub(crate) struct SetOptions {
    #[command(flatten)]
    cache: Cache,
    /// The key, as it is shown
    key: String,
    /// The value as JSON; from standard input if it is absent or `-`
    value: Option<String>,
    /// The value is a text, not JSON
    #[arg(long)]
    string: bool,
    /// Store the bytes as they are, in whatever format they are
    #[arg(long, conflicts_with = "string")]
    raw: bool,
}

/// Stores a value, as created now.
pub(crate) async fn set(options: &SetOptions) -> Result<ExitCode, CommandError> {
    let given = match options.value.as_deref() {
        None | Some("-") => {
            let mut bytes = Vec::new();
            io::stdin().read_to_end(&mut bytes)?;
            bytes
        }
        Some(value) => value.as_bytes().to_vec(),
    };
    let payload = if options.raw {
        given
    } else if options.string {
        let text = String::from_utf8(given).map_err(|_| "the text is not UTF-8: use --raw")?;
        serde_json::to_vec(&text)?
    } else {
        // Stored byte for byte: a number may have more digits than ours.
        serde_json::from_slice::<IgnoredAny>(&given).map_err(|error| {
            CommandError::usage(&format!(
                "the value is not JSON ({error}): for a text use --string"
            ))
        })?;
        given
    };
    let backend = cache::open(&options.cache.cache)?;
    let key = Key::from_escaped(&options.key);
    let key = key.to_str().ok_or_else(|| CommandError::usage("a new key must be UTF-8"))?;
    backend.set(key, Entry::bytes(payload, SystemClock.now())).await?;
    Ok(ExitCode::SUCCESS)
}

/// The arguments of `dogpile delete`.
#[derive(clap::Args)]
pub(crate) struct DeleteOptions {
    #[command(flatten)]
    cache: Cache,
    /// The keys, as they are shown; that there is none is fine
    #[arg(required = true)]
    keys: Vec<String>,
}

/// Removes values.
pub(crate) async fn delete(options: &DeleteOptions) -> Result<ExitCode, CommandError> {
    let backend = cache::open_existing(&options.cache.cache)?;
    let keys: Vec<Key> = options.keys.iter().map(|key| Key::from_escaped(key)).collect();
    match backend.inspect() {
        Some(inspect) => inspect.delete(&keys).await?,
        None => {
            backend.delete_multi(&keys.iter().filter_map(Key::to_str).collect::<Vec<_>>()).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The arguments of `dogpile invalidate`.
#[derive(clap::Args)]
pub(crate) struct InvalidateOptions {
    #[command(flatten)]
    cache: Cache,
    /// The name that the regions' shared invalidation goes by; the default is
    /// that of `dogpile exec`
    #[arg(long, value_name = "NAME", default_value = cache::REGION)]
    region: String,
    /// Old values are served while they are created again
    #[arg(long)]
    soft: bool,
}

/// Invalidates all that was created up to now, for all processes whose
/// regions share their invalidation. Says so where no value there bears the region's name.
pub(crate) async fn invalidate(options: &InvalidateOptions) -> Result<ExitCode, CommandError> {
    let backend = cache::open_existing(&options.cache.cache)?;
    let mode = if options.soft { Mode::Soft } else { Mode::Hard };
    let moments = SharedInvalidation::new(backend.clone(), &options.region, Duration::ZERO);
    moments.invalidate(mode, SystemClock.now()).await?;
    // The outputs of `exec` have no region before their keys.
    if options.region != cache::REGION
        && has_values(&backend, &options.region).await? == Some(false)
    {
        let region = printable(&options.region);
        let line = format!(
            "dogpile: nothing was reached: no value there is of a region `{region}` (one with \
             `region_prefix = false` is invalidated all the same)"
        );
        writeln!(io::stderr(), "{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Is anything stored under keys of the region `name`? Nothing is known where keys cannot be
/// listed, or do not begin with the region's name.
async fn has_values(backend: &AnyBackend, name: &str) -> Result<Option<bool>, CommandError> {
    let region = Region::named(name);
    region.configure(Config::over(backend.clone()).local_invalidation())?;
    // An empty key may be mangled.
    let stored = region.stored_key("k")?;
    let (Some(prefix), Some(inspect)) = (stored.strip_suffix('k'), backend.inspect()) else {
        return Ok(None);
    };
    if !prefix.ends_with(':') {
        return Ok(None);
    }
    let mut after = None;
    loop {
        let page = inspect.keys(prefix.as_bytes(), after.as_deref(), 1).await?;
        if !page.keys.is_empty() {
            return Ok(Some(true));
        }
        let Some(next) = page.next else { return Ok(Some(false)) };
        after = Some(next);
    }
}

/// The arguments of `dogpile clear`.
#[derive(clap::Args)]
pub(crate) struct ClearOptions {
    #[command(flatten)]
    cache: Cache,
    /// Only keys that begin so, as they are shown
    #[arg(long, default_value = "")]
    prefix: String,
    /// Also what other programs have stored there
    #[arg(long)]
    all: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Removes values, after a question.
pub(crate) async fn clear(options: &ClearOptions) -> Result<ExitCode, CommandError> {
    let backend = cache::open_existing(&options.cache.cache)?;
    let inspect = cache::inspect(&backend)?;
    if !options.yes && !is_wanted(options)? {
        return Ok(ExitCode::FAILURE);
    }
    let prefix = Key::from_escaped(&options.prefix);
    let left = inspect.clear(Clear { prefix: prefix.as_bytes(), all: options.all }).await?;
    if left > 0 {
        let is = if left == 1 { "key is" } else { "keys are" };
        let line = format!("dogpile: {left} {is} not a cache's and left: `--all` removes them too");
        writeln!(io::stderr(), "{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn is_wanted(options: &ClearOptions) -> Result<bool, CommandError> {
    if !io::stdin().is_terminal() {
        return Err(CommandError::usage("nobody can be asked: confirm with --yes"));
    }
    let cache = dogpile::config::Location::parse(&options.cache.cache)?;
    let what = match (options.all, options.prefix.as_str()) {
        (false, "") => "all values".to_owned(),
        (true, "") => "everything, also what other programs have stored,".to_owned(),
        (false, prefix) => format!("all values whose keys begin with `{}`", printable(prefix)),
        (true, prefix) => format!("everything whose key begins with `{}`", printable(prefix)),
    };
    write!(io::stderr(), "Remove {what} from {cache}? [y/N] ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
