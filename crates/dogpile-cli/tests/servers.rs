//! The command over servers: the same commands by other locations.
#![cfg(unix)]

use std::process::{Command, Output};

use dogpile_testkit::servers::{MemcachedServer, RedisServer};
use serde_json::Value;
use tempfile::TempDir;

/// A server, kept alive, its URL, and a directory to be in.
struct Place<S> {
    server: S,
    url: String,
    directory: TempDir,
}

impl<S> Place<S> {
    fn new(server: S, url: String) -> Self {
        Self { server, url, directory: TempDir::new().unwrap() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dogpile"));
        command.current_dir(self.directory.path()).env("DOGPILE_CACHE", &self.url);
        command.args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// A command on the server; `URL` stands for it.
    fn text(&self, arguments: &[&str]) -> String {
        let url = self.url.as_str();
        let arguments: Vec<&str> =
            arguments.iter().map(|&word| if word == "URL" { url } else { word }).collect();
        let output = self.run(&arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn redis() -> Place<RedisServer> {
    let server = RedisServer::start();
    let url = server.url();
    Place::new(server, url)
}

fn memcached() -> Place<MemcachedServer> {
    let server = MemcachedServer::start();
    let url = server.url();
    Place::new(server, url)
}

fn the_commands_work_on<S>(place: &Place<S>) {
    place.text(&["set", "URL", "user:1", r#"{"name": "Ada"}"#]);
    place.text(&["set", "URL", "other", "5"]);
    let shown: Value =
        serde_json::from_str(&place.text(&["get", "URL", "user:1", "--json"])).unwrap();
    assert_eq!(shown["payload"]["name"], "Ada");
    assert_eq!(place.text(&["keys", "URL", "--prefix", "user:"]), "user:1\n");
    assert!(place.text(&["info", "URL"]).contains("version"));
    assert!(place.text(&["stats", "URL"]).contains("entries    2"));
    place.text(&["clear", "URL", "--yes"]);
    assert_eq!(place.text(&["keys", "URL"]), "");
}

#[test]
fn the_commands_work_on_servers() {
    let redis = redis();
    the_commands_work_on(&redis);
    redis.text(&["set", "URL", "other", "5"]);
    let valkey = redis.url.replace("redis://", "valkey://");
    assert_eq!(redis.text(&["get", &valkey, "other", "--raw"]), "5");
    the_commands_work_on(&memcached());
}

#[test]
fn exec_shares_its_output_by_servers() {
    exec_shares_its_output_by(&redis());
    exec_shares_its_output_by(&memcached());
}

fn exec_shares_its_output_by<S>(place: &Place<S>) {
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
    let (mut redis, mut memcached) = (redis(), memcached());
    redis.server.kill();
    memcached.server.kill();
    exec_runs_without(&redis);
    exec_runs_without(&memcached);
}

fn exec_runs_without<S>(place: &Place<S>) {
    let output = place.run(&["exec", "--", "echo", "all the same"]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"all the same\n"[..]));
    assert!(String::from_utf8(output.stderr).unwrap().contains("down"));
    let output = place.run(&["get", &place.url, "k"]);
    assert_eq!(output.status.code(), Some(2), "1 is for what is not there");
}
