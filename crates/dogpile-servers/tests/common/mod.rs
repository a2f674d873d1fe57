//! Parts of the tests of shared caches: Python processes beside ours,
//! waiting, and printing how late answers come.

#![allow(dead_code, reason = "each test program takes what it needs")]

pub(crate) mod faults;
pub(crate) mod leases;
pub(crate) mod near;
pub(crate) mod python;

use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dogpile_servers::fleet::Answer;
use serde_json::Value;

/// The Python that `cargo xtask python` installs.
pub(crate) fn python() -> Command {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let interpreter = target.join("python/bin/python");
    assert!(
        interpreter.exists(),
        "there is no {}: run `cargo xtask python`",
        interpreter.display()
    );
    Command::new(interpreter)
}

/// One of the scripts beside these tests.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name)
}

/// Python processes with dogpile.cache over servers.
#[derive(Clone)]
pub(crate) struct Python {
    /// dogpile.cache's name of the backend.
    pub(crate) backend: &'static str,
    pub(crate) url: String,
}

impl Python {
    /// Starts `shared_region.py` with a format, a command and so on.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = python();
        command.arg(script("shared_region.py")).args([self.backend, &self.url]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// The same to its end: what it prints.
    pub(crate) fn text(&self, arguments: &[&str]) -> String {
        let output = self.start(arguments).wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same, as JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.text(arguments)).unwrap_or_default()
    }

    /// Starts `count` processes in a storm of 25 threads each; they wait for
    /// [`PythonStorm::go`].
    pub(crate) fn storm(&self, count: usize, key: &str, notes: &str) -> PythonStorm {
        let start = |_| self.start(&["json", "storm", key, "25", notes, "0.1"]);
        let mut processes: Vec<Child> = (0..count).map(start).collect();
        for process in &mut processes {
            let mut ready = [0; 6];
            process.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
            assert_eq!(&ready, b"ready\n");
        }
        PythonStorm(processes)
    }
}

/// Python processes in a storm.
pub(crate) struct PythonStorm(Vec<Child>);

impl PythonStorm {
    pub(crate) fn go(&mut self) {
        for process in &mut self.0 {
            writeln!(process.stdin.as_mut().unwrap(), "go").unwrap();
        }
    }

    pub(crate) fn answers(self) -> Vec<Answer> {
        let outputs = self.0.into_iter().map(|process| process.wait_with_output().unwrap().stdout);
        let lines: Vec<String> = outputs
            .flat_map(|output| output.lines().map(Result::unwrap).collect::<Vec<_>>())
            .collect();
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub(crate) fn wait_until(condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(60), "it never happens");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) async fn wait_for_async(condition: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < Duration::from_secs(30), "it never happens");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Prints the milliseconds from the value's creation to the answers.
pub(crate) fn print_lateness(who: &str, answers: &[Answer], stored: f64) {
    let mut late: Vec<f64> = answers.iter().map(|answer| (answer.at - stored) * 1e3).collect();
    late.sort_by(f64::total_cmp);
    let [p50, p99, max] = [50, 99, 100].map(|percent| late[(late.len() - 1) * percent / 100]);
    println!("{who}: answers after the store: p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.2} ms");
}
