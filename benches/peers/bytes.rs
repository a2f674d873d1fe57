//! Memory per entry, as the program beside this one counts it.

use std::process::Command;

use crate::table::{Row, Section};

pub(crate) fn section() -> Section {
    let counted = Command::new(env!("CARGO_BIN_EXE_bytes-per-entry")).output();
    let counted = String::from_utf8(counted.expect("it was built").stdout).expect("text");
    let measurements: Vec<(&str, f64)> = counted
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter_map(|(name, bytes)| Some((name, bytes.parse().ok()?)))
        .collect();
    let (mut ours, mut rows) = (None, Vec::new());
    for measurement in measurements {
        match ours.filter(|_| !measurement.0.starts_with("Memory")) {
            None => ours = Some(measurement),
            Some(ours) => {
                let row = Row::new(ours, measurement, "bytes");
                let is_map = measurement.0.starts_with("quick_cache");
                rows.push(if is_map { row.ratio_at_most(1.2) } else { row });
            }
        }
    }
    Section { title: "memory per entry: 200,000 keys of 13 bytes, values one Arc", rows }
}
