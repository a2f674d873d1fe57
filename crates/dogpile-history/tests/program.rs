//! The program: its lines of JSON, its exit codes, and what it leaves out.

use std::process::{Command, Output};

use serde_json::Value;

fn history(arguments: &str) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_dogpile-history"));
    program.args(arguments.split(' ')).output().expect("it runs")
}

#[test]
fn a_run_is_a_line_of_json() {
    let ended = history("--backend serialized --change delete --seconds 1 --seed 3 --json");
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let line: Value = serde_json::from_slice(&ended.stdout).unwrap();
    let text = |name: &str| line[name].as_str().map(str::to_owned);
    assert_eq!(text("backend").as_deref(), Some("serialized"));
    assert_eq!(text("change").as_deref(), Some("delete"));
    assert_eq!(text("disturb").as_deref(), Some("none"));
    let counts = "seed reads changes creations old_reads old_reads_permanent overlaps";
    assert!(counts.split(' ').all(|name| line[name].is_u64()), "{line}");
    assert!(["longest_old_ms", "longest_wait_ms"].iter().all(|name| line[name].is_f64()), "{line}");
}

#[test]
fn a_near_tier_is_named_in_the_line() {
    let run = "--backend serialized --change delete --seconds 1 --json";
    for (near, bound) in [("--near", 1_000), ("--near=200", 200)] {
        let ended = history(&format!("{run} {near}"));
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        let line: Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!(line["near_ms"].as_u64(), Some(bound), "{line}");
        assert!(line["near_hits"].as_u64() > Some(0) && line["longest_old_ms"].is_f64(), "{line}");
    }
    let refused = history("--backend memory --change delete --near --json");
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(0), 0));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("skipped: a near tier over memory is refused"), "{told}");
}

#[test]
fn a_broken_promise_is_a_failure_of_the_program() {
    let arguments = "--backend serialized --change delete --seconds 1 --sabotage keeps-first";
    let ended = history(arguments);
    assert_eq!(ended.status.code(), Some(1));
    let text = String::from_utf8(ended.stdout).unwrap();
    assert!(text.contains("BROKEN (seed 1)"), "{text}");
}

#[test]
fn what_does_not_exist_is_left_out_and_told() {
    let ended = history("--backend memory,file --change delete --disturb failover,cut --json");
    assert_eq!((ended.status.code(), ended.stdout.len()), (Some(0), 0));
    let told = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(told.matches("skipped: ").count(), 4, "{told}");
}
