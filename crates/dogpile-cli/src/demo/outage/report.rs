//! The results in figures: a table, closing words, JSON.

use std::io::{self, Write};

use serde::Serialize;

use super::load::Run;
use crate::demo::figures::{milliseconds, with_unit};
use crate::demo::table::Table;
use crate::demo::terminal::{Style, wrapped};

#[derive(Serialize)]
struct Report<'r> {
    ways: Vec<WayReport<'r>>,
}

#[derive(Serialize)]
struct WayReport<'r> {
    name: &'r str,
    requests: usize,
    errors: usize,
    creations: u64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

pub(super) fn write_json(out: &mut impl Write, runs: &[Run]) -> io::Result<()> {
    let ways = runs.iter().map(|run| {
        let latencies = run.latencies();
        WayReport {
            name: run.name,
            requests: run.samples.len(),
            errors: run.errors(),
            creations: run.creations,
            p50_ms: milliseconds(latencies.p50),
            p99_ms: milliseconds(latencies.p99),
            max_ms: milliseconds(latencies.max),
        }
    });
    serde_json::to_writer(&mut *out, &Report { ways: ways.collect() })?;
    writeln!(out)
}

pub(super) fn write_table(out: &mut impl Write, runs: &[Run], style: Style) -> io::Result<()> {
    let mut table =
        Table::with_headings(&["way", "requests", "errors", "creations", "p50", "p99", "max"]);
    for run in runs {
        let latencies = run.latencies();
        table.push(vec![
            run.name.to_owned(),
            run.samples.len().to_string(),
            run.errors().to_string(),
            run.creations.to_string(),
            with_unit(latencies.p50),
            with_unit(latencies.p99),
            with_unit(latencies.max),
        ]);
    }
    table.write(out, style.width.into())
}

/// Tells what a creation is.
pub(super) fn write_conclusion(out: &mut impl Write, style: Style) -> io::Result<()> {
    let text = "A creation is a query that was sent to the database, failed or not.";
    writeln!(out, "{}", wrapped(text, style.width))
}
