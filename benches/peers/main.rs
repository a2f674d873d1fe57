//! Speed beside other caches, in one process and mostly as ratios: every
//! contestant takes part in every round, so that whatever else the machine
//! does hits them all alike.
//!
//! ```text
//! cargo bench -p dogpile-bench -- [--quick] [--json]
//! ```
//!
//! `--quick` takes a few seconds, `--json` prints one object in place of the
//! tables. A missed target is marked and no failure: it may be the machine's.
//!
//! ```text
//!   measure   rounds, and what is taken from them
//!   table     rows, targets, printing
//!   caches    the contestants' caches, filled alike
//!   hits      one thread
//!   threads   one thread and two
//!   storm     a crowd and a cold key
//!   bytes     memory per entry
//!   json      values kept as bytes
//!   file      values kept in a file
//!   redis     values kept on a Redis server
//!   exec      `dogpile exec`
//! ```

mod bytes;
mod caches;
mod exec;
mod file;
mod hits;
mod json;
mod measure;
mod redis;
mod storm;
mod table;
mod threads;

use caches::Caches;
use measure::Effort;
use table::Report;

fn main() {
    let asked_for = |option| std::env::args().any(|argument| argument == option);
    let effort = if asked_for("--quick") { Effort::QUICK } else { Effort::FULL };
    let mut report = Report::new(asked_for("--json"));
    let caches = Caches::filled();
    report.add(&hits::section(&caches, effort));
    report.add(&json::section(effort));
    report.add(&threads::section(&caches, effort));
    report.add(&storm::section(effort));
    report.add(&bytes::section());
    report.add(&file::section(effort));
    report.add(&redis::section());
    if let Some(section) = exec::section(effort) {
        report.add(&section);
    }
    report.finish();
}
