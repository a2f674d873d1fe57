//! `dogpile demo --outage` as a user runs it, in short.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A temporary directory for the command alone.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("there is a temporary directory"))
    }

    fn demo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dogpile"));
        command.args(["demo", "--outage", "--rows", "20000", "--clients", "16"]).args(arguments);
        command.env("TMPDIR", self.0.path()).stdin(Stdio::null());
        command
    }

    /// What the command has in its own folder within, once it has one.
    fn find(&self, name: &str) -> Option<PathBuf> {
        let folders = fs::read_dir(self.0.path()).ok()?;
        folders.flatten().map(|folder| folder.path().join(name)).find(|path| path.exists())
    }

    #[track_caller]
    fn assert_nothing_is_left(&self) {
        let files: Vec<_> = fs::read_dir(self.0.path()).unwrap().flatten().collect();
        assert!(files.is_empty(), "{files:?}");
        let processes = processes_that_name(self.0.path());
        assert!(processes.is_empty(), "{processes:?}");
    }
}

/// The command lines of running processes that have `path` in them or are in it. Only Linux
/// tells them.
fn processes_that_name(path: &Path) -> Vec<String> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let path = path.to_str().expect("it is UTF-8");
    let mut found = Vec::new();
    for process in processes.flatten() {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let folder = fs::read_link(process.path().join("cwd")).unwrap_or_default();
        if line.contains(path) || folder.starts_with(path) {
            found.push(line);
        }
    }
    found
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("it is UTF-8")
}

#[test]
fn json_has_three_ways_and_the_resilient_one_fails_nobody() {
    let scratch = Scratch::new();
    let output = scratch.demo(&["--seconds", "6", "--store", "file", "--json"]).output().unwrap();
    let report: Value = serde_json::from_str(&text(&output)).expect("it is JSON, and nothing else");
    assert_eq!(report.as_object().unwrap().len(), 1);
    let ways = report["ways"].as_array().expect("a list of ways");
    let names: Vec<_> = ways.iter().map(|way| way["name"].as_str().unwrap_or("")).collect();
    assert_eq!(names, ["naive", "dogpile", "resilient"]);
    for way in ways {
        let mut fields: Vec<_> = way.as_object().unwrap().keys().map(String::as_str).collect();
        fields.sort_unstable();
        let all = ["creations", "errors", "max_ms", "name", "p50_ms", "p99_ms", "requests"];
        assert_eq!(fields, all);
        let number = |name: &str| way[name].as_f64().expect("a number");
        assert!(number("p50_ms") <= number("p99_ms") && number("p99_ms") <= number("max_ms"));
        assert!(number("errors") <= number("creations"), "only a creation can fail: {way}");
    }
    let count = |way: usize, name: &str| ways[way][name].as_u64().expect("a count");
    assert_eq!(count(2, "errors"), 0, "there was a value for each key: {report}");
    assert!(count(0, "errors") > 0 && count(1, "errors") > 0, "{report}");
    assert!(count(2, "creations") * 2 < count(0, "creations"), "{report}");
    assert!(count(2, "requests") > count(0, "requests"), "who waits asks less: {report}");
    scratch.assert_nothing_is_left();
}

#[test]
fn the_chart_has_all_phases_and_all_ways() {
    let scratch = Scratch::new();
    // Where no server is to be found, it is a file.
    let output = scratch.demo(&["--seconds", "3"]).env("PATH", "").output().unwrap();
    let text = text(&output);
    assert!(text.contains("The store is a file"), "{text}");
    assert!(!text.contains('\u{1b}'), "no escape codes in a pipe");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let phases = text.lines().filter(|line| {
        let mut rest = *line;
        ["fine", "database fails", "database slow", "store away", "fine"].iter().all(|phase| {
            let found = rest.split_once(phase);
            rest = found.map_or("", |(_, rest)| rest);
            found.is_some()
        })
    });
    assert_eq!(phases.count(), 3, "one line under each chart: {text}");
    for way in ["naive", "dogpile", "resilient"] {
        let row = text.lines().rfind(|line| line.starts_with(way)).unwrap();
        let units = row.split_whitespace().filter(|word| ["s", "ms", "µs", "ns"].contains(word));
        assert_eq!(units.count(), 3, "p50, p99 and max: {row}");
    }
    scratch.assert_nothing_is_left();
}

#[test]
fn a_server_that_is_not_installed_is_an_error() {
    let scratch = Scratch::new();
    let arguments = ["--store", "redis", "--json"];
    let output = scratch.demo(&arguments).env("PATH", "").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("redis-server or valkey-server"), "{told}");
    scratch.assert_nothing_is_left();
}

/// A command that runs, and what it prints.
struct Running {
    process: Child,
    /// Open until the end, or the command ends as one whose reader has had enough.
    output: BufReader<ChildStdout>,
}

impl Running {
    /// Starts the command, and returns when it has said which store it uses.
    fn start(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().expect("the command runs");
        let mut output = BufReader::new(process.stdout.take().expect("it is a pipe"));
        let mut line = String::new();
        while !line.starts_with("The store is") {
            line.clear();
            assert!(output.read_line(&mut line).expect("it is UTF-8") > 0, "the output ended");
        }
        Self { process, output }
    }

    fn end_by(mut self, signal: Signal) -> Option<i32> {
        let number = Pid::from_raw(self.process.id().try_into().unwrap());
        kill(number, signal).expect("it runs");
        self.process.wait().expect("it ends").code()
    }
}

/// Waits for what another process does.
#[track_caller]
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(120), "{what}: that never happened");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_server_is_killed_and_comes_back_and_has_gone_at_the_end() {
    let scratch = Scratch::new();
    let mut running = Running::start(scratch.demo(&["--seconds", "4", "--store", "redis"]));
    if cfg!(target_os = "linux") {
        let servers = || processes_that_name(scratch.0.path()).len();
        wait_until("the server is killed", || servers() == 0);
        wait_until("the server is back", || servers() == 1);
    }
    let mut rest = String::new();
    running.output.read_to_string(&mut rest).expect("it is UTF-8");
    assert!(rest.contains("store away") && running.process.wait().unwrap().success(), "{rest}");
    scratch.assert_nothing_is_left();
}

#[test]
fn an_interrupted_run_takes_its_server_and_its_files_with_it() {
    let scratch = Scratch::new();
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let running = Running::start(scratch.demo(&["--seconds", "60", "--store", "redis"]));
        if cfg!(target_os = "linux") {
            // The command itself has the path in its environment alone.
            assert_eq!(processes_that_name(scratch.0.path()).len(), 1, "the server runs");
        }
        assert_eq!(running.end_by(signal), Some(code));
        scratch.assert_nothing_is_left();
    }
}

#[test]
fn a_run_that_is_interrupted_while_the_store_is_away_leaves_nothing() {
    let scratch = Scratch::new();
    let running = Running::start(scratch.demo(&["--seconds", "6", "--store", "file"]));
    wait_until("the store is away", || scratch.find("store-away").is_some());
    assert_eq!(running.end_by(Signal::SIGINT), Some(130));
    scratch.assert_nothing_is_left();
}

#[test]
fn a_store_is_for_an_outage() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dogpile"));
    let output = command.args(["demo", "--store", "file"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--outage"));
}
