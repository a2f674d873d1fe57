//! `collections`: which collections lie in a store, and away with old versions.

use std::collections::HashMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use dogpile::backend::AnyBackend;
use dogpile::clock::{Clock, SystemClock};
use dogpile::collections::{StoredCollection, list, purge};
use serde_json::{Value, json};

use super::{Cache, json_line, printable};
use crate::cache;
use crate::error::CommandError;
use crate::show;

/// The arguments of `dogpile collections`.
#[derive(clap::Args)]
pub(crate) struct CollectionsOptions {
    #[command(flatten)]
    cache: Cache,
    /// Only collections of this name
    #[arg(long)]
    name: Option<String>,
    /// Remove this version of the collection `--name`; processes of it that still run would load and push
    /// it again
    #[arg(long, value_name = "VERSION", requires = "name")]
    purge: Vec<String>,
    /// Remove all but this many versions of each collection, those pushed last
    #[arg(long, value_name = "COUNT", conflicts_with = "purge")]
    keep: Option<usize>,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// Lists collections, or removes versions of them and lists those.
pub(crate) async fn collections(options: &CollectionsOptions) -> Result<ExitCode, CommandError> {
    let removes = options.keep.is_some() || !options.purge.is_empty();
    let location = &options.cache.cache;
    let backend = if removes { cache::open_existing(location)? } else { cache::look(location)? };
    let mut found = list(&backend).await?;
    if let Some(name) = &options.name {
        found.retain(|found| found.name == *name);
    }
    if let (Some(name), [_, ..]) = (&options.name, &options.purge[..]) {
        found.retain(|found| options.purge.contains(&found.version));
        let missing = |version: &&String| !found.iter().any(|found| found.version == **version);
        if let Some(missing) = options.purge.iter().find(missing) {
            let message = format!("there is no version `{missing}` of `{name}`: nothing removed");
            return Err(message.as_str().into());
        }
        remove(&backend, &found).await?;
    }
    if let Some(keep) = options.keep {
        found = superseded(found, keep);
        remove(&backend, &found).await?;
    }
    write(&mut io::stdout().lock(), &found, removes, options.json)?;
    Ok(ExitCode::SUCCESS)
}

/// All but the `keep` versions of each name that were pushed last, which are at
/// the end.
fn superseded(mut found: Vec<StoredCollection>, keep: usize) -> Vec<StoredCollection> {
    let mut left: HashMap<String, usize> = HashMap::new();
    for found in &found {
        *left.entry(found.name.clone()).or_default() += 1;
    }
    found.retain(|found| {
        let left = left.entry(found.name.clone()).or_default();
        let old = *left > keep;
        *left -= 1;
        old
    });
    found
}

async fn remove(backend: &AnyBackend, versions: &[StoredCollection]) -> Result<(), CommandError> {
    for found in versions {
        purge(backend, &found.name, &found.version).await?;
    }
    Ok(())
}

fn age(found: &StoredCollection) -> Option<Duration> {
    Duration::try_from_secs_f64((SystemClock.now() - found.pushed?).max(0.0)).ok()
}

fn as_json(found: &StoredCollection, removed: bool) -> Value {
    json!({
        "name": found.name,
        "version": found.version,
        "revision": found.revision,
        "entries": found.entries,
        "bytes": found.bytes,
        "codec": found.codec,
        "pushed": found.pushed,
        "removed": removed,
    })
}

fn write(
    out: &mut impl Write,
    found: &[StoredCollection],
    removed: bool,
    json: bool,
) -> io::Result<()> {
    if json {
        return found
            .iter()
            .try_for_each(|found| writeln!(out, "{}", json_line(&as_json(found, removed))?));
    }
    let unknown = || "-".to_owned();
    let rows = found.iter().map(|found| {
        let pushed = age(found).map_or_else(unknown, |age| format!("{} ago", show::duration(age)));
        [
            printable(&found.name),
            printable(&found.version),
            found.revision.to_string(),
            found.entries.map_or_else(unknown, |entries| entries.to_string()),
            found.bytes.map_or_else(unknown, show::bytes),
            found.codec.as_deref().map_or_else(|| "pickle?".to_owned(), printable),
            if removed { "removed".to_owned() } else { pushed },
        ]
    });
    let head = ["name", "version", "revision", "entries", "size", "codec", "pushed"];
    let rows: Vec<[String; 7]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; 7] = std::array::from_fn(|column| width(column).unwrap_or(0));
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}
