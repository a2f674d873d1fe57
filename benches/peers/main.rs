//! Speed beside other caches, in one process and mostly as ratios: every
//! contestant takes part in every round, so that whatever else the machine
//! does hits them all alike.
//!
//! ```text
//! cargo bench -p dogpile-bench -- [--quick] [--json] [--only=PART]
//! ```
//!
//! The parts are `memory`, `ablation`, `ratio`, `near`, `file`, `redis`, `memcached`, `multi`,
//! `collections` and `exec`. `--quick`
//! takes a few seconds, `--json` prints one object in place of the
//! tables. A missed target is marked and no failure: it may be the machine's.
//!
//! ```text
//!   measure   rounds, and what is taken from them
//!   table     rows, targets, printing
//!   caches    the contestants' caches, filled alike
//!   hits      one thread
//!   many      one thread, a million entries
//!   misses    creations that take no time
//!   ablation  where a hit goes
//!   ratio     the part of reads that are hits
//!   threads   one thread and two
//!   storm     a crowd and a cold key
//!   bytes     memory per entry
//!   json      values kept as bytes
//!   near      popular values of a Redis server
//!   near_fleet  four processes with a near tier, and without
//!   file      values kept in a file
//!   multi     calls on many keys, over each backend
//!   servers   values kept on Redis and memcached servers
//!   collections  whole tables in every process
//!   exec      `dogpile exec`
//!   python    Python beside them
//! ```

mod ablation;
mod bytes;
mod caches;
mod collections;
mod exec;
mod file;
mod hits;
mod json;
mod many;
mod measure;
mod misses;
mod multi;
mod near;
mod near_fleet;
mod python;
mod ratio;
mod servers;
mod storm;
mod table;
mod threads;

use caches::Caches;
use measure::Effort;
use table::Report;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((near_fleet::WORKER, rest)) =
        arguments.split_first().map(|(first, rest)| (first.as_str(), rest))
    {
        return near_fleet::work(rest);
    }
    let asked_for = |option| arguments.iter().any(|argument| argument == option);
    let only = arguments.iter().find_map(|argument| argument.strip_prefix("--only="));
    let wanted = |name| only.is_none_or(|only| only == name);
    let effort = if asked_for("--quick") { Effort::QUICK } else { Effort::FULL };
    let mut report = Report::new(asked_for("--json"));
    let caches = (wanted("memory") || wanted("ablation")).then(Caches::filled);
    if let Some(caches) = caches.as_ref().filter(|_| wanted("memory")) {
        report.add(&hits::section(caches, effort));
        report.add(&misses::section(effort));
        report.add(&json::section(effort));
        report.add(&threads::section(caches, effort));
        report.add(&many::section());
        report.add(&storm::section(effort));
        report.add(&bytes::section());
    }
    if wanted("near") {
        report.add(&near::section(effort));
        report.add(&near_fleet::section(effort));
    }
    if let Some(caches) = caches.as_ref().filter(|_| wanted("ablation")) {
        report.add(&ablation::section(caches, effort));
    }
    if wanted("ratio") {
        report.add(&ratio::section());
    }
    if wanted("file") {
        report.add(&file::section(effort));
    }
    if wanted("redis") {
        report.add(&servers::redis());
    }
    if wanted("memcached") {
        report.add(&servers::memcached());
    }
    if wanted("multi") {
        report.add(&multi::section());
    }
    if wanted("collections") {
        collections::sections(effort).iter().for_each(|section| report.add(section));
    }
    if wanted("exec")
        && let Some(section) = exec::section(effort)
    {
        report.add(&section);
    }
    report.finish();
}
