//! The command over servers: the same commands by other locations.
#![cfg(unix)]

use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use dogpile_servers::{MemcachedServer, RedisCluster, RedisServer};
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
    let exec = ["exec", "--key", "slow", "--explain", "--json", "--", "sh", "-c", script];
    let piped = std::process::Stdio::piped;
    let start = || place.command(&exec).stdout(piped()).stderr(piped()).spawn().unwrap();
    let mut crowd: Vec<_> = (0..8).map(|_| start()).collect();
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
        let Output { stdout, stderr, .. } = child.wait_with_output().unwrap();
        let told = String::from_utf8(stderr).unwrap();
        // An output that comes while it is looked for is none to be renewed.
        assert!(stdout == b"made\n" && !told.contains("stale"), "{told}");
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

/// A crowd is answered when the creation ends, not when a lease does: the one that created
/// gives the lock up before its process ends.
#[test]
fn a_crowd_is_not_kept_waiting_for_a_lease() {
    let cluster = RedisCluster::start();
    let url = cluster.url();
    a_crowd_is_answered(&Place::new(cluster, url));
    let no_scripts = redis();
    assert!(no_scripts.server.ask("ACL SETUSER default -@scripting").contains("OK"));
    assert!(no_scripts.server.ask("EVAL \"return 1\" 0").contains("NOPERM"));
    a_crowd_is_answered(&no_scripts);
}

const CROWD: u32 = 8;

fn a_crowd_is_answered<S>(place: &Place<S>) {
    // What one call takes here and now, with its process, its connections and its creation:
    // a crowd may take as often as long as it has calls, and a lease is far longer.
    let (alone, _) = answered(place, "alone", 1);
    // Several keys, so that several nodes take part.
    for key in ["one", "two", "three"] {
        let (took, outputs) = answered(place, key, CROWD);
        println!("{key}: one call took {alone:?}, {CROWD} at once {took:?}");
        assert!(took < alone * CROWD, "{key}: one call took {alone:?}, {CROWD} {took:?}");
        assert!(outputs.iter().all(|output| *output == outputs[0]), "{key}: {outputs:?}");
    }
}

/// Returns how long it takes until `calls` of one slow command at once are all answered, and
/// the answers. The command runs once.
fn answered<S>(place: &Place<S>, key: &str, calls: u32) -> (Duration, Vec<String>) {
    let script = format!("echo run >> {key}; sleep 1; date +%s%N");
    let exec = ["exec", "--key", key, "--", "sh", "-c", &script];
    let began = Instant::now();
    let spawn = |_| place.command(&exec).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let crowd: Vec<_> = (0..calls).map(spawn).collect();
    let output = |child: Child| String::from_utf8(child.wait_with_output().unwrap().stdout);
    let outputs = crowd.into_iter().map(|child| output(child).unwrap()).collect();
    let took = began.elapsed();
    let runs = std::fs::read_to_string(place.directory.path().join(key)).unwrap();
    assert_eq!(runs.lines().count(), 1, "{key}");
    (took, outputs)
}

/// Keys are bytes, and only what is a cache's is cleared.
#[test]
fn keys_of_any_bytes_are_listed_shown_and_cleared() {
    let redis = redis();
    let frame = r#""{\"ct\": 1700000000.0, \"v\": 2}|5""#;
    for key in [r#""\xff\\b""#, "_lockuser:1", "plain"] {
        let set = redis.server.ask(&format!("SET {key} {frame}"));
        assert!(set.contains("OK"), "{set}");
    }
    redis.server.ask("RPUSH queue job");
    redis.server.ask("SET session secret");
    redis.server.ask("SET app:session secret");
    let listed = redis.text(&["keys", "URL"]);
    let mut keys: Vec<&str> = listed.lines().collect();
    keys.sort_unstable();
    assert_eq!(keys, [r"\xff\\b", "_lockuser:1", "app:session", "plain", "queue", "session"]);
    assert!(redis.text(&["keys", "URL", "--long", "--prefix", r"\xff"]).contains("30 B"));
    assert_eq!(redis.text(&["get", "URL", r"\xff\\b", "--raw"]), "5");
    assert_eq!(redis.text(&["locks", "URL"]), "", "a value under a lock's key is not a lock");
    let output = redis.run(&["clear", &redis.url, "--yes"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("3 keys are not a cache's"));
    let mut left: Vec<String> = redis.text(&["keys", "URL"]).lines().map(str::to_owned).collect();
    left.sort_unstable();
    assert_eq!(left, ["app:session", "queue", "session"]);
    redis.text(&["clear", "URL", "--yes", "--all", "--prefix", "app:"]);
    assert!(redis.server.ask("GET session").contains("secret"));
    assert!(!redis.server.ask("GET app:session").contains("secret"));
    redis.text(&["clear", "URL", "--yes", "--all"]);
    assert!(redis.server.ask("DBSIZE").contains(":0"));
    redis.server.ask(&format!(r#"SET "\xfe" {frame}"#));
    redis.text(&["delete", "URL", r"\xfe"]);
    assert!(redis.server.ask("DBSIZE").contains(":0"));
}

/// What a server does not let anybody see is neither absent nor another program's.
#[test]
fn what_a_server_refuses_to_show_is_an_error() {
    let redis = redis();
    redis.text(&["set", "URL", "user:1", "1"]);
    redis.server.ask("SET _lockuser:2 token");
    let url = redis.url.replace("redis://", "redis://looker:secret@");
    let confine = |commands: &str| {
        let rule = format!("ACL SETUSER looker reset on >secret ~* &* {commands}");
        assert!(redis.server.ask(&rule).contains("OK"), "{rule}");
    };
    let is_refused = |arguments: &[&str]| {
        let output = redis.run(arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains("permissions"), "{arguments:?}: {told}");
    };
    confine("+@all -getrange");
    is_refused(&["clear", &url, "--yes"]);
    is_refused(&["locks", &url]);
    confine("+@all -get");
    is_refused(&["locks", &url]);
    assert_eq!(redis.text(&["keys", "URL"]), "user:1\n");
    redis.server.ask("RPUSH _lockqueue job");
    assert!(redis.text(&["locks", "URL"]).starts_with("user:2  token token for"));
}

/// What comes from elsewhere steers no terminal: keys, tokens, messages.
#[test]
fn nothing_of_a_server_steers_the_terminal() {
    let redis = redis();
    redis.server.ask("SET \"_lock\u{202e}key\" \"\\x1b[2Jto\"");
    redis.text(&["set", "URL", "a\u{9b}2J", "\"\u{9b}2J\u{202e}\""]);
    let file = redis.run(&["get", "no\u{1b}[2J\u{202e}file.db", "key"]);
    let shown = [
        redis.text(&["keys", "URL"]),
        redis.text(&["keys", "URL", "--json"]),
        redis.text(&["get", "URL", "a\u{9b}2J"]),
        redis.text(&["get", "URL", "a\u{9b}2J", "--json"]),
        redis.text(&["locks", "URL"]),
        redis.text(&["locks", "URL", "--json"]),
        String::from_utf8(file.stderr).unwrap(),
    ];
    for shown in shown {
        assert!(shown.len() > 1);
        let steers = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!shown.contains(steers), "{shown:?}");
    }
}

/// What a server does not take as a key is mangled, also for locks and invalidation.
#[test]
fn a_name_with_a_blank_works_on_memcached() {
    let place = memcached();
    let script = "echo run >> log; wc -l < log";
    let exec = ["exec", "--expiration", "0", "--key", "nightly report", "--", "sh", "-c", script];
    let output = place.run(&exec);
    assert_eq!((&*output.stdout, &*output.stderr), (&b"1\n"[..], &b""[..]));
    let renewed = || place.text(&exec).trim() != "1";
    let began = Instant::now();
    while !renewed() {
        assert!(began.elapsed() < Duration::from_secs(60), "it is never renewed");
        std::thread::sleep(Duration::from_millis(5));
    }
    place.text(&["invalidate", "URL", "--region", "nightly reports"]);
}

/// An invalidation of a name that no region has is no success without a word.
#[test]
fn an_invalidation_that_reaches_nobody_says_so() {
    fn told_on<S>(place: &Place<S>) {
        place.text(&["set", "URL", "users:42", "1"]);
        let told = |region: &str| {
            let output = place.run(&["invalidate", &place.url, "--region", region]);
            assert!(output.status.success());
            String::from_utf8(output.stderr).unwrap()
        };
        assert_eq!(told("users"), "");
        for _ in 0..2 {
            assert!(told("user").contains("nothing was reached"), "{}", told("user"));
        }
        assert_eq!(place.text(&["invalidate", "URL"]), "");
    }
    told_on(&redis());
    told_on(&memcached());
}

/// What can be read and not written freezes nobody.
#[test]
fn a_read_only_server_does_not_keep_the_command_from_running() {
    let redis = redis();
    let script = "echo run >> log; wc -l < log";
    let exec = ["exec", "--expiration", "0", "--key", "k", "--", "sh", "-c", script];
    assert_eq!(redis.text(&exec).trim(), "1");
    redis.server.ask("CONFIG SET maxmemory 1");
    std::thread::sleep(Duration::from_millis(50));
    let output = redis.run(&exec);
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "2");
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told.lines().count(), 1, "{told}");
}

/// A location in a message has no password.
#[test]
fn passwords_are_not_shown() {
    let redis = redis();
    assert!(redis.server.ask("ACL SETUSER app on >secret ~* &* +@all").contains("OK"));
    let url = redis.url.replace("://", "://app:secret@");
    let output = redis.run(&["exec", "--cache", &url, "--explain", "--", "true"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("redis://***@127.0.0.1") && !told.contains("secret"), "{told}");
}
