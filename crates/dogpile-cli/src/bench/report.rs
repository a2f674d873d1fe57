//! The table, the plot and the JSON.

use std::io::{self, Write};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::measure::{Measured, Timed};
use crate::show;

const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

fn at(latencies: &Histogram<u64>, quantile: f64) -> Duration {
    Duration::from_nanos(latencies.value_at_quantile(quantile))
}

impl Timed {
    fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }
}

pub(super) fn as_json(measured: &Measured) -> Value {
    let latencies = |histogram: &Histogram<u64>| -> Value {
        let each =
            QUANTILES.map(|(name, q)| (name.to_owned(), at(histogram, q).as_secs_f64().into()));
        Value::Object(each.into_iter().collect())
    };
    let operations = measured.operations.iter().map(|timed| {
        json!({
            "name": timed.name,
            "per_second": timed.per_second(),
            "seconds": latencies(&timed.latencies),
        })
    });
    let stampede = &measured.stampede;
    json!({
        "operations": operations.collect::<Vec<_>>(),
        "stampede": {
            "crowd": stampede.crowd,
            "creations": stampede.creations,
            "answered_after_seconds": latencies(&stampede.after),
        },
    })
}

pub(super) fn write(out: &mut impl Write, measured: &Measured) -> io::Result<()> {
    write!(out, "{:<20} {:>12}", "", "per second")?;
    for (name, _) in QUANTILES {
        write!(out, " {name:>9}")?;
    }
    writeln!(out)?;
    for timed in &measured.operations {
        write!(out, "{:<20} {:>12.0}", timed.name, timed.per_second())?;
        write_quantiles(out, &timed.latencies)?;
    }
    let stampede = &measured.stampede;
    writeln!(
        out,
        "\n{} tasks at one cold key: {} creation(s)",
        stampede.crowd, stampede.creations
    )?;
    write!(out, "{:<20} {:>12}", "answered after it", "")?;
    write_quantiles(out, &stampede.after)?;
    writeln!(out, "\nHow many took how long:")?;
    measured.operations.iter().try_for_each(|timed| write_plot(out, timed))
}

fn write_quantiles(out: &mut impl Write, latencies: &Histogram<u64>) -> io::Result<()> {
    for (_, quantile) in QUANTILES {
        write!(out, " {:>9}", show::duration(at(latencies, quantile)))?;
    }
    writeln!(out)
}

/// One bar per doubling of the latency, from the first to the last that
/// matters.
fn write_plot(out: &mut impl Write, timed: &Timed) -> io::Result<()> {
    writeln!(out, "\n{}", timed.name)?;
    let total = timed.latencies.len().max(1) as f64;
    let first = timed.latencies.min().max(1).next_power_of_two();
    let last = timed.latencies.value_at_quantile(0.9999).max(1).next_power_of_two();
    let mut below = 0;
    let mut limit = first;
    while limit <= last {
        let upto = timed.latencies.count_between(0, limit);
        let share = (upto - below) as f64 / total;
        let limit_shown = show::duration(Duration::from_nanos(limit));
        writeln!(out, "< {limit_shown:>9} {:>6.2} %  {}", share * 100.0, show::bar(share, 40))?;
        below = upto;
        limit *= 2;
    }
    Ok(())
}
