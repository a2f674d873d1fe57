//! The commands that look: `get`, `keys`, `info`, `stats`, `locks`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use dogpile::backend::AnyBackend;
use dogpile::backend::inspect::{Key, KeyInfo};
use dogpile::clock::{Clock, SystemClock, system_time};
use dogpile::value::{Entry, Payload};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::payload::{self, Decoded};
use super::{Cache, json_line, lines, printable};
use crate::cache;
use crate::error::CommandError;
use crate::show;

/// The arguments of `dogpile get`.
#[derive(clap::Args)]
pub(crate) struct GetOptions {
    #[command(flatten)]
    cache: Cache,
    /// The key, as it is shown
    key: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print the payload's bytes and nothing else
    #[arg(long, conflicts_with = "json")]
    raw: bool,
}

/// The exit code of `get` if there is no such key.
const NOT_FOUND: u8 = 1;

/// Shows a stored value.
pub(crate) async fn get(options: &GetOptions) -> Result<ExitCode, CommandError> {
    let backend = cache::look(&options.cache.cache)?;
    let key = Key::from_escaped(&options.key);
    let entry = match (backend.inspect(), key.to_str()) {
        (Some(inspect), None) => inspect.entry(&key).await?,
        (_, text) => backend.get(text.unwrap_or(&options.key)).await?,
    };
    let mut out = io::stdout().lock();
    match &entry {
        _ if options.json => {
            let shown = Shown::of(&key, entry.as_ref());
            writeln!(out, "{}", json_line(&shown)?)?;
        }
        Some(entry) if options.raw => write_raw(&mut out, entry)?,
        Some(entry) => write_text(&mut out, entry)?,
        None => writeln!(io::stderr(), "dogpile: nothing is stored under `{key}`")?,
    }
    Ok(if entry.is_some() { ExitCode::SUCCESS } else { ExitCode::from(NOT_FOUND) })
}

fn age(entry: &Entry) -> Option<Duration> {
    let age = (SystemClock.now() - entry.metadata.ct).max(0.0);
    entry.metadata.ct.is_finite().then(|| Duration::try_from_secs_f64(age).unwrap_or_default())
}

/// A key as text in JSON: as it is if it is text, as it is shown if not.
fn in_json(key: &Key) -> String {
    key.to_str().map_or_else(|| key.to_string(), str::to_owned)
}

/// A stored value, as JSON shows it.
#[derive(Default, Serialize)]
struct Shown {
    key: String,
    found: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ct: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    v: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<&'static str>,
}

impl Shown {
    fn of(key: &Key, entry: Option<&Entry>) -> Self {
        let mut shown = Self { key: in_json(key), found: entry.is_some(), ..Self::default() };
        let Some(entry) = entry else { return shown };
        shown.ct = Some(entry.metadata.ct).filter(|ct| ct.is_finite());
        shown.v = Some(entry.metadata.v);
        shown.age = age(entry).map(|age| age.as_secs_f64());
        shown.size = entry.payload.size();
        match &entry.payload {
            Payload::Bytes(bytes) => {
                let Decoded { format, value } = payload::decode(bytes);
                (shown.format, shown.payload) = (Some(format), Some(value));
            }
            Payload::Unreadable(why) => shown.unreadable = Some(why.to_string()),
            Payload::Object(object) => shown.object = Some(object.type_name()),
        }
        shown
    }
}

fn write_raw(out: &mut impl Write, entry: &Entry) -> Result<(), CommandError> {
    match &entry.payload {
        Payload::Bytes(bytes) => out.write_all(bytes)?,
        Payload::Unreadable(why) => return Err(format!("it cannot be read: {why}").into()),
        Payload::Object(_) => return Err("it is an object of another process".into()),
    }
    Ok(out.flush()?)
}

fn write_text(out: &mut impl Write, entry: &Entry) -> io::Result<()> {
    let metadata = &entry.metadata;
    if let Some(age) = age(entry) {
        let created = humantime::format_rfc3339_millis(system_time(metadata.ct));
        writeln!(out, "created  {created} ({} ago)", show::duration(age))?;
    }
    if metadata.v != dogpile::value::VERSION {
        writeln!(out, "version  {}: a miss for this version of dogpile", metadata.v)?;
    }
    if let Some(failed) = metadata.failed_at() {
        let failed = humantime::format_rfc3339_millis(system_time(failed));
        writeln!(out, "failed   {failed}: it stands in for a creation")?;
    }
    for (name, value) in metadata.extra.iter().flat_map(|extra| extra.iter()) {
        writeln!(out, "{:<8} {}", printable(name), printable(&value.to_string()))?;
    }
    match &entry.payload {
        Payload::Bytes(bytes) => {
            let Decoded { format, value } = payload::decode(bytes);
            writeln!(out, "size     {} ({format})", show::bytes(bytes.len() as u64))?;
            match serde_json::from_str::<String>(value.get()) {
                Ok(text) if format == "text" => writeln!(out, "\n{}", lines(&text)),
                _ => writeln!(out, "\n{}", payload::indented(value.get())),
            }
        }
        Payload::Unreadable(why) => writeln!(out, "it cannot be read: {why}"),
        Payload::Object(object) => writeln!(out, "an object: {}", object.type_name()),
    }
}

/// The arguments of `dogpile keys`.
#[derive(clap::Args)]
pub(crate) struct KeysOptions {
    #[command(flatten)]
    cache: Cache,
    /// Only keys that begin so, as they are shown
    #[arg(long, default_value = "")]
    prefix: String,
    /// With the sizes of their values
    #[arg(long, short)]
    long: bool,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

const PAGE: usize = 1_000;

/// Lists keys, page by page.
pub(crate) async fn keys(options: &KeysOptions) -> Result<ExitCode, CommandError> {
    let backend = cache::look(&options.cache.cache)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    each_page(&backend, &options.prefix, async |keys| {
        for KeyInfo { key, value_bytes } in keys {
            if options.json {
                let shown = json!({ "key": in_json(&key), "size": value_bytes });
                writeln!(out, "{}", json_line(&shown)?)?;
            } else if options.long {
                let size = value_bytes.map_or_else(|| "?".to_owned(), show::bytes);
                writeln!(out, "{size:>10}  {key}")?;
            } else {
                writeln!(out, "{key}")?;
            }
        }
        Ok(())
    })
    .await?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

async fn each_page(
    backend: &AnyBackend,
    prefix: &str,
    mut work: impl AsyncFnMut(Vec<KeyInfo>) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let inspect = cache::inspect(backend)?;
    let prefix = Key::from_escaped(prefix);
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = inspect.keys(prefix.as_bytes(), after.as_deref(), PAGE).await?;
        work(page.keys).await?;
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// The arguments of `dogpile info`.
#[derive(clap::Args)]
pub(crate) struct InfoOptions {
    #[command(flatten)]
    cache: Cache,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Shows facts about the store.
pub(crate) async fn info(options: &InfoOptions) -> Result<ExitCode, CommandError> {
    let backend = cache::look(&options.cache.cache)?;
    let facts = cache::inspect(&backend)?.info().await?;
    let mut out = io::stdout().lock();
    if options.json {
        let facts: Map<String, Value> =
            facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        writeln!(out, "{}", json_line(&facts)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (name, value) in facts {
        let shown = match &value {
            Value::Null => "-".to_owned(),
            Value::String(text) => printable(text),
            value => printable(&with_unit(name, value)),
        };
        writeln!(out, "{:<16} {shown}", name.trim_end_matches("_seconds"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn with_unit(name: &str, value: &Value) -> String {
    match (value.as_u64(), value.as_f64()) {
        (Some(bytes), _) if name.ends_with("bytes") => show::bytes(bytes),
        (_, Some(seconds)) if name.ends_with("_seconds") => {
            show::duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
        }
        _ => value.to_string(),
    }
}

/// The arguments of `dogpile stats`.
#[derive(clap::Args)]
pub(crate) struct StatsOptions {
    #[command(flatten)]
    cache: Cache,
    /// Only keys that begin so
    #[arg(long, default_value = "")]
    prefix: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Reads all values and counts them by age and size.
pub(crate) async fn stats(options: &StatsOptions) -> Result<ExitCode, CommandError> {
    let backend = cache::look(&options.cache.cache)?;
    let mut tally = Tally::default();
    each_page(&backend, &options.prefix, async |keys| {
        let names: Vec<&str> = keys.iter().filter_map(|found| found.key.to_str()).collect();
        let mut entries = backend.get_multi(&names).await?;
        let inspect = cache::inspect(&backend)?;
        for found in keys.iter().filter(|found| found.key.to_str().is_none()) {
            entries.push(inspect.entry(&found.key).await?);
        }
        tally.unreadable += entries.iter().flatten().filter(|e| age(e).is_none()).count();
        tally.ages.extend(entries.iter().flatten().filter_map(age));
        tally.sizes.extend(entries.iter().flatten().filter_map(|e| e.payload.size()));
        Ok(())
    })
    .await?;
    tally.sizes.sort_unstable();
    tally.ages.sort_unstable();
    let mut out = io::stdout().lock();
    if options.json { writeln!(out, "{}", tally.as_json()) } else { tally.write(&mut out) }?;
    Ok(ExitCode::SUCCESS)
}

/// A summary of a cache's values.
#[derive(Default)]
struct Tally {
    sizes: Vec<usize>,
    ages: Vec<Duration>,
    unreadable: usize,
}

/// The `percent` quantile of what is sorted.
fn quantile<T: Copy + Default>(sorted: &[T], percent: usize) -> T {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).copied().unwrap_or_default()
}

impl Tally {
    fn as_json(&self) -> Value {
        let size = |percent| quantile(&self.sizes, percent);
        let age = |percent| quantile(&self.ages, percent).as_secs_f64();
        json!({
            "entries": self.sizes.len(),
            "unreadable": self.unreadable,
            "payload_bytes": self.sizes.iter().sum::<usize>(),
            "size": { "p50": size(50), "p99": size(99), "max": size(100) },
            "age": { "min": age(0), "p50": age(50), "max": age(100) },
        })
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let total = self.sizes.iter().sum::<usize>() as u64;
        writeln!(out, "entries    {}", self.sizes.len())?;
        writeln!(out, "unreadable {}", self.unreadable)?;
        writeln!(out, "payloads   {}", show::bytes(total))?;
        if self.sizes.is_empty() {
            return Ok(());
        }
        let size = |percent| show::bytes(quantile(&self.sizes, percent) as u64);
        writeln!(out, "size       p50 {}, p99 {}, max {}", size(50), size(99), size(100))?;
        writeln!(out, "\nage")?;
        let mut from = Duration::ZERO;
        for (name, minutes) in [("1m", 1), ("10m", 10), ("1h", 60), ("1d", 1440), ("1w", 10_080)] {
            let to = Duration::from_secs(minutes * 60);
            self.write_ages(out, &format!("< {name}"), from..to)?;
            from = to;
        }
        self.write_ages(out, "older", from..Duration::MAX)
    }

    fn write_ages(
        &self,
        out: &mut impl Write,
        name: &str,
        ages: std::ops::Range<Duration>,
    ) -> io::Result<()> {
        let count = self.ages.iter().filter(|age| ages.contains(age)).count();
        let share = count as f64 / self.ages.len().max(1) as f64;
        writeln!(out, "{name:<6} {count:>8}  {}", show::bar(share, 40))
    }
}

/// The arguments of `dogpile locks`.
#[derive(clap::Args)]
pub(crate) struct LocksOptions {
    #[command(flatten)]
    cache: Cache,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// Lists what is being created now.
pub(crate) async fn locks(options: &LocksOptions) -> Result<ExitCode, CommandError> {
    let backend = cache::look(&options.cache.cache)?;
    let mut out = io::stdout().lock();
    for lock in cache::inspect(&backend)?.locks().await? {
        if options.json {
            let age = lock.age.map(|age| age.as_secs_f64());
            let shown = json!({ "key": lock.key, "holder": lock.holder, "age": age });
            writeln!(out, "{}", json_line(&shown)?)?;
        } else {
            let age = lock.age.map_or_else(|| "?".to_owned(), show::duration);
            let [key, holder] = [&lock.key, &lock.holder].map(|text| printable(text));
            writeln!(out, "{key}  {holder} for {age}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
