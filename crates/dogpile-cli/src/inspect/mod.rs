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

use std::fmt::Write;

use dogpile::backend::inspect::steers;
use serde::Serialize;

pub(crate) use change::{ClearOptions, DeleteOptions, InvalidateOptions, SetOptions};
pub(crate) use change::{clear, delete, invalidate, set};
pub(crate) use collections::{CollectionsOptions, collections};
pub(crate) use look::{GetOptions, InfoOptions, KeysOptions, LocksOptions, StatsOptions};
pub(crate) use look::{get, info, keys, locks, stats};

/// Keys come from anybody: nothing of them may steer the terminal.
pub(crate) fn printable(key: &str) -> String {
    key.chars()
        .flat_map(|c| if steers(c) { c.escape_default().collect() } else { vec![c] })
        .collect()
}

/// Text for a terminal: its lines are kept, nothing of it steers.
pub(crate) fn lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// One line of JSON, which says the same to who reads it, and steers no terminal.
pub(crate) fn json_line(value: &impl Serialize) -> serde_json::Result<String> {
    let mut line = String::new();
    for c in serde_json::to_string(value)?.chars() {
        // What is below stands between values, or is escaped already.
        if c >= '\u{7f}' && steers(c) {
            let _ = write!(line, "\\u{:04x}", u32::from(c));
        } else {
            line.push(c);
        }
    }
    Ok(line)
}

/// The cache that a command looks into.
#[derive(clap::Args)]
pub(crate) struct Cache {
    /// A path, or a URL such as `file:/var/cache/x.db`
    #[arg(value_name = "FILE|URL")]
    cache: String,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn keys_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nü"), "a\\u{1b}[2Jb\\nü");
        assert_eq!(printable("gnp.\u{202e}\u{2066}"), "gnp.\\u{202e}\\u{2066}");
        assert_eq!(lines("a\u{1b}[2J\nb"), "a\\u{1b}[2J\nb");
    }

    #[test]
    fn json_steers_no_terminal_and_says_the_same() {
        let value = json!({ "a\u{9b}2J": "\u{202e}\u{7f}\u{1b}ü\n" });
        let line = json_line(&value).unwrap();
        assert!(!line.chars().any(steers), "{line:?}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }
}
