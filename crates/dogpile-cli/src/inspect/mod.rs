//! Looking into a cache, and changing it by hand.
//!
//! ```text
//!   look      get, keys, info, stats, locks
//!   collections
//!   change    set, delete, invalidate, clear
//!   payload   what the bytes of a value say
//! ```

mod change;
mod collections;
mod look;
mod payload;

pub(crate) use change::{ClearOptions, DeleteOptions, InvalidateOptions, SetOptions};
pub(crate) use change::{clear, delete, invalidate, set};
pub(crate) use collections::{CollectionsOptions, collections};
pub(crate) use look::{GetOptions, InfoOptions, KeysOptions, LocksOptions, StatsOptions};
pub(crate) use look::{get, info, keys, locks, stats};

/// Keys come from anybody: nothing of them may steer the terminal.
pub(crate) fn printable(key: &str) -> String {
    key.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}

/// The cache that a command looks into.
#[derive(clap::Args)]
pub(crate) struct Cache {
    /// A path, or a URL such as `file:/var/cache/x.db`
    #[arg(value_name = "FILE|URL")]
    cache: String,
}
