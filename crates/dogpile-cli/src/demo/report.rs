//! The results in figures: a table, closing words, JSON.

use std::io::{self, Write};

use serde::Serialize;

use super::figures::{milliseconds, with_unit};
use super::load::Run;
use super::table::Table;
use super::terminal::Style;

#[derive(Serialize)]
struct Report<'r> {
    expiries: u32,
    ways: Vec<WayReport<'r>>,
}

#[derive(Serialize)]
struct WayReport<'r> {
    name: &'r str,
    queries: u64,
    requests: usize,
    rps: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

pub(super) fn write_json(out: &mut impl Write, expiries: u32, runs: &[Run]) -> io::Result<()> {
    let ways = runs.iter().map(|run| {
        let latencies = run.latencies();
        let [p50_ms, p99_ms, max_ms] =
            [latencies.p50, latencies.p99, latencies.max].map(milliseconds);
        let (name, queries, requests) = (run.name, run.queries, run.samples.len());
        WayReport { name, queries, requests, rps: run.per_second(), p50_ms, p99_ms, max_ms }
    });
    serde_json::to_writer(&mut *out, &Report { expiries, ways: ways.collect() })?;
    writeln!(out)
}

pub(super) fn write_table(out: &mut impl Write, runs: &[Run], style: Style) -> io::Result<()> {
    let mut table = Table::with_headings(&[
        "cache",
        "queries",
        "requests",
        "per second",
        "p50",
        "p99",
        "p99.9",
        "max",
    ]);
    for run in runs {
        let counts = [run.queries.to_string(), run.samples.len().to_string()];
        let mut row = vec![run.name.to_owned()];
        row.extend(counts);
        row.push(format!("{:.0}", run.per_second()));
        row.extend(run.latencies().shown());
        table.push(row);
    }
    writeln!(out)?;
    table.write(out, style.width.into())
}

pub(super) fn write_conclusion(
    out: &mut impl Write,
    expiries: u32,
    runs: &[Run],
) -> io::Result<()> {
    let by_name = |name| runs.iter().find(|run| run.name == name);
    let (Some(naive), Some(dogpile)) = (by_name("naive"), by_name("dogpile")) else {
        return Ok(());
    };
    let slowest = |run: &Run| with_unit(run.latencies().max);
    writeln!(
        out,
        "In {expiries} expiries the plain cache ran {} queries, and somebody waited {};\n\
         dogpile ran {}, and nobody waited longer than {}.",
        naive.queries,
        slowest(naive),
        dogpile.queries,
        slowest(dogpile),
    )
}
