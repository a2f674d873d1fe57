//! The command over a Redis server: the same commands by another location.
#![cfg(unix)]

use std::process::{Command, Output};

use dogpile_testkit::servers::RedisServer;
use serde_json::Value;
use tempfile::TempDir;

struct Place {
    server: RedisServer,
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { server: RedisServer::start(), directory: TempDir::new().unwrap() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dogpile"));
        command.current_dir(self.directory.path()).env("DOGPILE_CACHE", self.server.url());
        command.args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// A command on the server; `URL` stands for it.
    fn text(&self, arguments: &[&str]) -> String {
        let url = self.server.url();
        let arguments: Vec<&str> =
            arguments.iter().map(|&word| if word == "URL" { &url } else { word }).collect();
        let output = self.run(&arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn the_commands_work_on_a_server() {
    let place = Place::new();
    place.text(&["set", "URL", "user:1", r#"{"name": "Ada"}"#]);
    place.text(&["set", "URL", "other", "5"]);
    let shown: Value =
        serde_json::from_str(&place.text(&["get", "URL", "user:1", "--json"])).unwrap();
    assert_eq!(shown["payload"]["name"], "Ada");
    assert_eq!(place.text(&["keys", "URL", "--prefix", "user:"]), "user:1\n");
    assert!(place.text(&["info", "URL"]).contains("version"));
    assert!(place.text(&["stats", "URL"]).contains("entries    2"));
    let valkey = place.server.url().replace("redis://", "valkey://");
    assert_eq!(place.text(&["get", &valkey, "other", "--raw"]), "5");
    place.text(&["clear", "URL", "--yes"]);
    assert_eq!(place.text(&["keys", "URL"]), "");
}

#[test]
fn exec_shares_its_output_by_a_server() {
    let place = Place::new();
    let script = "echo run >> log; until [ -e go ]; do sleep 0.01; done; echo made";
    let exec = ["exec", "--key", "slow", "--", "sh", "-c", script];
    let mut crowd: Vec<_> = (0..8)
        .map(|_| place.command(&exec).stdout(std::process::Stdio::piped()).spawn().unwrap())
        .collect();
    let mut locks = String::new();
    for _ in 0..1_000 {
        locks = place.text(&["locks", "URL"]);
        if !locks.is_empty() {
            break;
        }
    }
    assert!(locks.starts_with("exec:slow  process"), "{locks}");
    std::fs::write(place.directory.path().join("go"), "").unwrap();
    for child in crowd.drain(..) {
        assert_eq!(child.wait_with_output().unwrap().stdout, b"made\n");
    }
    let log = std::fs::read_to_string(place.directory.path().join("log")).unwrap();
    assert_eq!(log.lines().count(), 1);
}

#[test]
fn a_server_that_is_away_does_not_keep_exec_from_running() {
    let mut place = Place::new();
    place.server.kill();
    let output = place.run(&["exec", "--", "echo", "all the same"]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"all the same\n"[..]));
    assert!(String::from_utf8(output.stderr).unwrap().contains("down"));
    let url = place.server.url();
    let output = place.run(&["get", &url, "k"]);
    assert_eq!(output.status.code(), Some(2), "1 is for what is not there");
}
