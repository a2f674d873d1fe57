//! `dogpile demo` as a user runs it, in short.

use std::process::{Command, Output};

fn demo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dogpile"))
        .args(["demo", "--rows", "20000", "--clients", "16"])
        .args(arguments)
        .output()
        .expect("the command runs")
}

#[test]
fn json_is_one_object_and_dogpile_queries_once_per_expiry() {
    let output = demo(&["--seconds", "2", "--json"]);
    assert!(output.status.success());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!(report["expiries"], 2);
    let ways = report["ways"].as_array().expect("a list of ways");
    let names: Vec<_> = ways.iter().map(|way| way["name"].as_str().unwrap_or("")).collect();
    assert_eq!(names, ["none", "naive", "dogpile"]);
    let queries = |way: usize| ways[way]["queries"].as_u64().expect("a number of queries");
    assert_eq!(ways[0]["requests"], ways[0]["queries"], "without a cache all are queries");
    assert!(queries(1) >= queries(2));
    assert_eq!(queries(2), 2, "dogpile: one query per expiry");
    for way in ways {
        let number = |name: &str| way[name].as_f64().expect("a number");
        assert!(number("p50_ms") <= number("p99_ms") && number("p99_ms") <= number("max_ms"));
        assert!(number("rps") > 0.0);
    }
}

#[test]
fn piped_text_is_plain_and_fits_80_columns() {
    let output = demo(&["--seconds", "1"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("it is UTF-8");
    assert!(!text.contains('\u{1b}'), "no escape codes in a pipe");
    for name in ["none", "naive", "dogpile", "p99.9"] {
        assert!(text.contains(name));
    }
    let row = text.lines().find(|line| line.starts_with("dogpile ")).expect("a row");
    let units = row.split_whitespace().filter(|word| ["s", "ms", "µs", "ns"].contains(word));
    assert_eq!(units.count(), 4, "each latency has its unit: {row}");
    assert!(!row.contains("0.00"), "{row}");
    let chart = text.lines().filter(|line| line.contains('│'));
    assert!(chart.clone().count() > 10 && chart.clone().all(|line| line.chars().count() <= 80));
    assert!(output.stderr.is_empty());
}

#[test]
fn nonsense_is_refused_with_a_hint() {
    let output = demo(&["--seconds", "0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("1..=60"));
}
