//! Looking into a cache, and changing it by hand.
//!
//! ```text
//!   look      get, keys, info, stats, locks
//!   change    set, delete, invalidate, clear
//!   payload   what the bytes of a value say
//! ```

mod change;
mod look;
mod payload;

pub(crate) use change::{ClearOptions, DeleteOptions, InvalidateOptions, SetOptions};
pub(crate) use change::{clear, delete, invalidate, set};
pub(crate) use look::{GetOptions, InfoOptions, KeysOptions, LocksOptions, StatsOptions};
pub(crate) use look::{get, info, keys, locks, stats};

/// The cache that a command looks into.
#[derive(clap::Args)]
pub(crate) struct Cache {
    /// A path, or a URL such as `file:/var/cache/x.db`
    #[arg(value_name = "FILE|URL")]
    cache: String,
}
