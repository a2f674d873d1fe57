//! The results in figures: a table, closing words, JSON.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::load::Run;

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

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

pub(super) fn write_json(out: &mut impl Write, expiries: u32, runs: &[Run]) -> io::Result<()> {
    let ways = runs.iter().map(|run| {
        let [p50_ms, p99_ms, max_ms] = run.latencies().map(milliseconds);
        let (name, queries, requests) = (run.name, run.queries, run.samples.len());
        WayReport { name, queries, requests, rps: run.per_second(), p50_ms, p99_ms, max_ms }
    });
    serde_json::to_writer(&mut *out, &Report { expiries, ways: ways.collect() })?;
    writeln!(out)
}

pub(super) fn write_table(out: &mut impl Write, expiries: u32, runs: &[Run]) -> io::Result<()> {
    let queries = format!("queries ({expiries} expiries)");
    writeln!(
        out,
        "\n{:8}{queries:>21}{:>10}{:>12}{:>9}{:>9}{:>9}",
        "cache", "requests", "per second", "p50 ms", "p99 ms", "max ms"
    )?;
    for run in runs {
        let [p50, p99, max] = run.latencies().map(milliseconds);
        let (requests, rate) = (run.samples.len(), run.per_second());
        writeln!(
            out,
            "{:8}{:>21}{requests:>10}{rate:>12.0}{p50:>9.2}{p99:>9.2}{max:>9.2}",
            run.name, run.queries
        )?;
    }
    Ok(())
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
    let slowest = |run: &Run| milliseconds(run.latencies()[2]);
    writeln!(
        out,
        "In {expiries} expiries the plain cache ran {} queries, and somebody waited {:.0} ms;\n\
         dogpile ran {}, and nobody waited longer than {:.0} ms.",
        naive.queries,
        slowest(naive),
        dogpile.queries,
        slowest(dogpile).ceil(),
    )
}
