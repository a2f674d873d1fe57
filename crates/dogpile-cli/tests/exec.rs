//! `dogpile exec` as scripts use it: real processes, real signals.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// A directory with a cache and whatever commands leave there.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// `dogpile exec` with these options, of a shell script.
    fn exec(&self, options: &[&str], script: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dogpile"));
        command
            .current_dir(self.path())
            .env("DOGPILE_CACHE", "cache.db")
            .arg("exec")
            .args(options)
            .args(["--", "sh", "-c", script]);
        command
    }

    fn run(&self, options: &[&str], script: &str) -> Output {
        self.exec(options, script).output().unwrap()
    }

    fn stdout(&self, options: &[&str], script: &str) -> String {
        String::from_utf8(self.run(options, script).stdout).unwrap()
    }

    /// Returns what `--explain --json` says.
    fn explained(&self, options: &[&str], script: &str) -> Value {
        let options = [&["--explain", "--json"], options].concat();
        let output = self.run(&options, script);
        let last = output.stderr.split(|&byte| byte == b'\n').rev().nth(1).unwrap();
        serde_json::from_slice(last).unwrap()
    }

    fn lines(&self, file: &str) -> usize {
        fs::read_to_string(self.path().join(file)).unwrap_or_default().lines().count()
    }

    /// Waits for `file`, which a command makes.
    fn wait_for(&self, file: &str) {
        Self::wait_until(|| self.path().join(file).exists());
    }

    fn wait_until(condition: impl Fn() -> bool) {
        let began = Instant::now();
        while !condition() {
            assert!(began.elapsed() < Duration::from_secs(60), "it never happens");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

#[test]
fn output_and_exit_code_are_replayed_byte_by_byte() {
    let place = Place::new();
    let script = r"printf 'out\000\377\n'; printf 'err\000\376' >&2; echo run >> log; exit 7";
    for _ in 0..2 {
        let output = place.run(&["--remember-failures"], script);
        assert_eq!(output.stdout, b"out\0\xff\n");
        assert_eq!(output.stderr, b"err\0\xfe");
        assert_eq!(output.status.code(), Some(7));
    }
    assert_eq!(place.lines("log"), 1);
}

#[test]
fn failures_are_remembered_only_if_so_asked() {
    let place = Place::new();
    for (options, runs) in [(&[][..], 2), (&["--ok-only"], 4), (&["--remember-failures"], 5)] {
        for _ in 0..2 {
            assert_eq!(place.run(options, "echo run >> log; exit 1").status.code(), Some(1));
        }
        assert_eq!(place.lines("log"), runs, "{options:?}");
    }
    place.run(&[], "echo run >> ok");
    place.run(&[], "echo run >> ok");
    assert_eq!(place.lines("ok"), 1);
}

/// An outage of what a command asks does not take away what it said before.
#[test]
fn a_command_that_fails_now_is_served_as_it_was() {
    let place = Place::new();
    let script = "echo run >> log; [ -e down ] && exit 1; echo rates";
    let expired = ["--expiration", "0"];
    assert_eq!(place.stdout(&expired, script), "rates\n");
    fs::write(place.path().join("down"), "").unwrap();
    // Its age is zero for the rest of the clock's tick.
    Place::wait_until(|| place.explained(&expired, script)["status"] == "stale");
    for runs in 2..4 {
        Place::wait_until(|| {
            let output = place.run(&expired, script);
            assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"rates\n"[..]));
            place.lines("log") >= runs
        });
    }
    assert_eq!(place.stdout(&["--expiration", "never"], script), "rates\n");
}

#[test]
fn a_command_without_the_dashes_before_it_is_told_of_them() {
    for arguments in [&["exec", "echo", "hi"][..], &["exec", "--cwd", "echo", "-n", "hi"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_dogpile")).args(arguments).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("dogpile exec [OPTIONS] -- CMD"), "{told}");
    }
}

#[test]
fn what_matters_is_part_of_the_key() {
    let place = Place::new();
    let count = "echo run >> log; wc -l < log";
    let run = |options: &[&str], variable: &str| {
        let mut command = place.exec(options, count);
        command.env("WHO", variable).output().unwrap().stdout
    };
    assert_eq!(run(&[], "ada"), run(&[], "bob"), "the environment does not matter by itself");
    assert_ne!(run(&["--env", "WHO"], "ada"), run(&["--env", "WHO"], "bob"));
    assert_eq!(run(&["--env", "WHO"], "ada"), run(&["--env", "WHO"], "ada"));
    let absent = run(&["--file", "data"], "");
    fs::write(place.path().join("data"), "1").unwrap();
    let one = run(&["--file", "data"], "");
    fs::write(place.path().join("data"), "2").unwrap();
    let two = run(&["--file", "data"], "");
    assert!(absent != one && one != two && absent != two);
    assert_ne!(run(&["--cwd"], ""), run(&[], ""));
    assert_eq!(place.stdout(&["--key", "k"], "echo 1"), place.stdout(&["--key", "k"], "echo 2"));
}

/// The crowd of the project's promise: 8 shells with 25 calls each, one cold
/// key.
#[test]
fn a_crowd_runs_the_command_once() {
    let place = Place::new();
    let script = "sleep 1; date +%s%N; echo run >> log";
    let mut crowd: Vec<Child> = Vec::new();
    for _ in 0..8 * 25 {
        let mut command = place.exec(&[], script);
        crowd.push(command.stdout(Stdio::piped()).spawn().unwrap());
    }
    let mut outputs: Vec<(String, Instant)> = Vec::new();
    thread::scope(|scope| {
        let waiting = crowd.into_iter().map(|child| {
            scope.spawn(|| {
                let output = child.wait_with_output().unwrap();
                (String::from_utf8(output.stdout).unwrap(), Instant::now())
            })
        });
        let waiting: Vec<_> = waiting.collect();
        outputs.extend(waiting.into_iter().map(|thread| thread.join().unwrap()));
    });
    assert_eq!(place.lines("log"), 1);
    assert!(outputs.iter().all(|(output, _)| *output == outputs[0].0));
    let ends = outputs.iter().map(|(_, end)| *end);
    let (first, last) = (ends.clone().min().unwrap(), ends.max().unwrap());
    println!("200 answers, the last {:?} after the first process's end", last - first);
}

#[test]
fn an_expired_output_is_served_at_once_and_renewed_in_the_background() {
    let place = Place::new();
    let script = "echo run >> log; [ -e first ] && until [ -e go ]; do sleep 0.01; done; \
        touch first; wc -l < log";
    let expired = ["--expiration", "0"];
    assert_eq!(place.stdout(&expired, script).trim(), "1");
    // Its age is zero for the rest of the clock's tick.
    Place::wait_until(|| place.explained(&expired, script)["status"] == "stale");
    // `output` reads the pipes to their ends: nobody behind holds them open.
    for _ in 0..5 {
        let explained = place.explained(&expired, script);
        assert_eq!((&explained["status"], &explained["renewing"]), (&"stale".into(), &true.into()));
    }
    Place::wait_until(|| place.lines("log") == 2);
    fs::write(place.path().join("go"), "").unwrap();
    let fresh = ["--expiration", "never"];
    Place::wait_until(|| place.stdout(&fresh, script).trim() == "2");
    assert_eq!(place.lines("log"), 2, "many calls, one renewal");
}

/// As at the end of a container or a job of CI.
#[test]
fn where_renewals_are_killed_the_command_runs_here() {
    let place = Place::new();
    let script = "echo run >> log; [ -e deadly ] && kill -9 $PPID; wc -l < log";
    let expired = ["--expiration", "0"];
    assert_eq!(place.stdout(&expired, script).trim(), "1");
    fs::write(place.path().join("deadly"), "").unwrap();
    Place::wait_until(|| place.explained(&expired, script)["status"] == "stale");
    Place::wait_until(|| place.lines("log") == 2);
    fs::remove_file(place.path().join("deadly")).unwrap();
    Place::wait_until(|| place.explained(&expired, script)["status"] == "ran");
    assert_eq!(place.lines("log"), 3);
}

#[test]
fn past_its_stale_limit_an_output_is_waited_for() {
    let place = Place::new();
    let script = "echo run >> log; wc -l < log";
    let strict = ["--expiration", "0", "--stale", "0"];
    assert_eq!(place.stdout(&strict, script).trim(), "1");
    // Its age is zero for the rest of the clock's tick.
    let explained = || place.explained(&strict, script);
    Place::wait_until(|| explained()["status"] != "hit");
    assert_eq!(place.explained(&["--expiration", "never"], script)["status"], "hit");
    assert_eq!(place.lines("log"), 2, "it was run, not served stale");
}

#[test]
fn a_killed_run_is_followed_by_one_waiter() {
    let place = Place::new();
    let script = "echo run >> log; until [ -e go ]; do sleep 0.01; done; echo made";
    let start = || place.exec(&[], script).stdout(Stdio::piped()).spawn().unwrap();
    let mut creator = start();
    Place::wait_until(|| place.lines("log") == 1);
    let waiters: Vec<Child> = (0..10).map(|_| start()).collect();
    signal(&creator, Signal::SIGKILL);
    creator.wait().unwrap();
    Place::wait_until(|| place.lines("log") == 2);
    fs::write(place.path().join("go"), "").unwrap();
    for waiter in waiters {
        assert_eq!(waiter.wait_with_output().unwrap().stdout, b"made\n");
    }
    assert_eq!(place.lines("log"), 2);
}

#[test]
fn signals_reach_the_command_and_nothing_is_remembered() {
    let place = Place::new();
    let script = "trap 'echo caught; exit 3' USR1; touch started; while :; do sleep 0.01; done";
    let child = place.exec(&[], script).stdout(Stdio::piped()).spawn().unwrap();
    place.wait_for("started");
    signal(&child, Signal::SIGUSR1);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(3), &b"caught\n"[..]));

    let script = "echo run >> log; exec sleep 60";
    for runs in 1..=2 {
        let mut child = place.exec(&[], script).stderr(Stdio::null()).spawn().unwrap();
        Place::wait_until(|| place.lines("log") == runs);
        signal(&child, Signal::SIGTERM);
        assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
    }
}

#[test]
fn refresh_invalidate_and_explain() {
    let place = Place::new();
    let script = "echo run >> log; wc -l < log";
    assert_eq!(place.explained(&[], script)["status"], "ran");
    let hit = place.explained(&[], script);
    assert_eq!(hit["status"], "hit");
    assert!(hit["key"].as_str().unwrap().starts_with("exec:sh:"));
    assert!(hit["age"].as_f64().unwrap() <= 600.0 - hit["expires_in"].as_f64().unwrap() + 1e-3);
    assert_eq!(place.stdout(&["--refresh"], script).trim(), "2");
    assert_eq!(place.stdout(&[], script).trim(), "2");
    assert!(place.run(&["--invalidate"], script).stdout.is_empty());
    assert_eq!(place.stdout(&[], script).trim(), "3");
    let text = String::from_utf8(place.run(&["--explain"], script).stderr).unwrap();
    assert!(text.contains("hit:") && text.contains("key exec:sh:"), "{text}");
}

#[test]
fn a_command_that_asks_for_itself_is_told_so() {
    let place = Place::new();
    let dogpile = env!("CARGO_BIN_EXE_dogpile");
    let inner = format!("{dogpile} exec --key same -- echo inner");
    let output = place.run(&["--key", "same"], &inner);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("runs within itself"), "{told}");
    assert_eq!(output.status.code(), Some(125));
    let other = format!("{dogpile} exec --key other -- echo inner");
    assert_eq!(place.stdout(&["--key", "outer"], &other), "inner\n");
}

#[test]
fn what_cannot_be_run_is_said_and_not_remembered() {
    let place = Place::new();
    let run = |program: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dogpile"));
        let command = command.current_dir(place.path()).env("DOGPILE_CACHE", "cache.db");
        let output = command.args(["exec", "--", program]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    fs::write(place.path().join("plain"), "no program").unwrap();
    for (program, code) in [("no-such-program", 127), ("./plain", 126)] {
        let (ended, told) = run(program);
        assert_eq!(ended, Some(code));
        assert!(told.contains(program), "{told}");
    }
    let mut command = place.exec(&["--cache", "no/such/dir/c.db"], "echo 1");
    assert_eq!(command.output().unwrap().status.code(), Some(125));
}

/// A cache that fails in the middle does not keep the command from running.
#[test]
fn a_full_cache_file_is_a_warning_only() {
    let place = Place::new();
    let tiny = ["--cache", "file:tiny.db?max_bytes=100"];
    let output = place.run(&tiny, "printf '%0200d' 0");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 200));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("max_bytes"), "{told}");
}

/// A file that SQLite opens to write has a log and an index beside it for the time, which the
/// folder's time of change tells.
#[test]
fn a_hit_writes_nothing() {
    let place = Place::new();
    assert_eq!(place.stdout(&[], "echo out; date > ran"), "out\n");
    // The second may clear up what the first has left.
    assert_eq!(place.stdout(&[], "echo out; date > ran"), "out\n");
    assert!(!place.path().join("cache.db-wal").exists());
    let settled = fs::File::options().write(true).open(place.path().join("cache.db")).unwrap();
    settled.set_modified(std::time::SystemTime::now() - Duration::from_secs(60)).unwrap();
    let state = || {
        let names = ["", "cache.db", "cache.db.lock"];
        names.map(|name| fs::metadata(place.path().join(name)).unwrap().modified().unwrap())
    };
    let before = state();
    assert_eq!(place.explained(&[], "echo out; date > ran")["status"], "hit");
    assert_eq!(state(), before);
    assert!(!place.path().join("cache.db-wal").exists());
    // What others write is seen at once.
    assert_eq!(place.stdout(&["--refresh"], "echo out; date > ran"), "out\n");
    assert_eq!(place.explained(&[], "echo out; date > ran")["status"], "hit");
}

/// The kernel ends a process for that, which would take the code away.
#[test]
fn a_hit_that_cannot_be_written_says_so() {
    let place = Place::new();
    let script = "echo run >> log; echo rates";
    // The second may clear up what the first has left.
    assert_eq!(place.stdout(&[], script), "rates\n");
    assert_eq!(place.stdout(&[], script), "rates\n");
    // Long ago, so that it is looked at without a lock.
    let cache = fs::File::options().write(true).open(place.path().join("cache.db")).unwrap();
    cache.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
    let limited = r#"ulimit -f 0; exec "$0" exec -- sh -c "$1" > out"#;
    let output = Command::new("sh")
        .current_dir(place.path())
        .env("DOGPILE_CACHE", "cache.db")
        .args(["-c", limited, env!("CARGO_BIN_EXE_dogpile"), script])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert_eq!(place.lines("log"), 1);
}
