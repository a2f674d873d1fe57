//! A directory with a cache, in which `dogpile exec` runs scripts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const DOGPILE: &str = env!("CARGO_BIN_EXE_dogpile");

pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    /// `dogpile exec` with these options, of a shell script.
    pub(crate) fn exec(&self, options: &[&str], script: &str) -> Command {
        let mut command = self.dogpile(&["exec"]);
        command.args(options).args(["--", "sh", "-c", script]);
        command
    }

    pub(crate) fn dogpile(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(DOGPILE);
        command.current_dir(self.0.path()).env("DOGPILE_CACHE", self.path("cache.db"));
        command.env("DOGPILE", DOGPILE).args(arguments);
        command
    }

    pub(crate) fn run(&self, options: &[&str], script: &str) -> Ran {
        Ran::of(&self.exec(options, script).output().unwrap())
    }

    /// Returns what `--explain --json` says.
    pub(crate) fn explained(&self, options: &[&str], script: &str) -> Value {
        let told = self.run(&[&["--explain", "--json"], options].concat(), script).stderr;
        serde_json::from_str(told.lines().last().unwrap()).unwrap()
    }

    pub(crate) fn touch(&self, file: &str) {
        fs::write(self.path(file), "").unwrap();
    }

    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap_or_default()
    }

    pub(crate) fn lines(&self, file: &str) -> usize {
        self.read(file).lines().count()
    }

    /// Waits for `file`, which a command makes.
    pub(crate) fn wait_for(&self, file: &str) {
        wait_until(file, || self.path(file).exists());
    }
}

/// The end of a command, as text.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Self { code: output.status.code(), stdout, stderr }
    }
}

pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}: it never happens");
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}
