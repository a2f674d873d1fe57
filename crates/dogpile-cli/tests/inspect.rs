//! The commands that look into a cache and change it by hand.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dogpile"));
        command.current_dir(self.0.path()).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn text(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.text(arguments)).unwrap()
    }
}

#[test]
fn a_value_goes_in_and_comes_out() {
    let place = Place::new();
    place.text(&["set", "c.db", "user:1", r#"{"name": "Ada"}"#]);
    place.text(&["set", "c.db", "motto", "--string", "think"]);
    let shown = place.json(&["get", "c.db", "user:1", "--json"]);
    assert_eq!((&shown["key"], &shown["found"]), (&json!("user:1"), &json!(true)));
    assert_eq!(shown["payload"], json!({"name": "Ada"}));
    assert_eq!((&shown["size"], &shown["format"]), (&json!(15), &json!("json")));
    assert!(shown["ct"].as_f64().unwrap() > 1.7e9 && shown["age"].as_f64().unwrap() >= 0.0);
    assert_eq!(place.text(&["get", "c.db", "motto", "--raw"]), "\"think\"");
    let text = place.text(&["get", "file:c.db", "user:1"]);
    assert!(text.contains("\"name\": \"Ada\"") && text.contains("ago"), "{text}");
    assert!(!text.contains('\u{1b}'));

    let absent = place.run(&["get", "c.db", "nobody", "--json"]);
    assert_eq!(absent.status.code(), Some(1));
    let shown: Value = serde_json::from_slice(&absent.stdout).unwrap();
    assert_eq!(shown, json!({"key": "nobody", "found": false}));
}

#[test]
fn a_value_comes_from_standard_input() {
    let place = Place::new();
    let mut child =
        place.command(&["set", "c.db", "k", "--raw"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\xff\x00raw").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(place.run(&["get", "c.db", "k", "--raw"]).stdout, b"\xff\x00raw");
    let wrong = place.run(&["set", "c.db", "k", "no json"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("--string"));
}

#[test]
fn keys_are_listed_counted_deleted_and_cleared() {
    let place = Place::new();
    for key in ["a:1", "a:2", "b:1"] {
        place.text(&["set", "c.db", key, "[1,2,3]"]);
    }
    assert_eq!(place.text(&["keys", "c.db", "--prefix", "a:"]), "a:1\na:2\n");
    assert!(place.text(&["keys", "c.db", "--long"]).contains(" B  b:1"));
    let line = place.text(&["keys", "c.db", "--prefix", "b", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["key"], "b:1");
    assert_eq!(place.json(&["info", "c.db", "--json"])["entries"], 3);
    assert!(place.text(&["info", "c.db"]).contains("sqlite"));
    let stats = place.json(&["stats", "c.db", "--json"]);
    assert_eq!((&stats["entries"], &stats["payload_bytes"]), (&json!(3), &json!(21)));
    assert!(place.text(&["stats", "c.db"]).contains("< 1m"));
    place.text(&["delete", "c.db", "a:1", "never there"]);
    assert_eq!(place.text(&["keys", "c.db"]), "a:2\nb:1\n");
    let unasked = place.command(&["clear", "c.db"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(unasked.status.code(), Some(2));
    place.text(&["clear", "c.db", "--yes", "--prefix", "a:"]);
    assert_eq!(place.text(&["keys", "c.db"]), "b:1\n");
    place.text(&["clear", "c.db", "--yes"]);
    assert_eq!(place.text(&["keys", "c.db"]), "");
}

#[test]
fn json_is_stored_byte_for_byte() {
    let place = Place::new();
    let given = r#"{"n":  123456789012345678901}"#;
    place.text(&["set", "c.db", "k", given]);
    assert_eq!(place.text(&["get", "c.db", "k", "--raw"]), given);
    assert!(place.text(&["get", "c.db", "k"]).contains("\"n\": 123456789012345678901"));
    assert!(place.text(&["get", "c.db", "k", "--json"]).contains("123456789012345678901"));
}

#[test]
fn locks_say_who_creates_what() {
    let place = Place::new();
    let exec = ["exec", "--cache", "c.db", "--key", "slow", "--", "sh", "-c"];
    let script = "until [ -e go ]; do sleep 0.01; done";
    // The cache is there before its first command is.
    place.text(&["set", "c.db", "another", "1"]);
    let mut creator = place.command(&[&exec[..], &[script]].concat()).spawn().unwrap();
    let mut locks = String::new();
    for _ in 0..1_000 {
        locks = place.text(&["locks", "c.db"]);
        if !locks.is_empty() {
            break;
        }
    }
    assert!(locks.starts_with("exec:slow  process"), "{locks}");
    assert!(locks.contains(&creator.id().to_string()), "{locks}");
    assert!(place.json(&["locks", "c.db", "--json"])["age"].as_f64().unwrap() < 100.0);
    std::fs::write(place.0.path().join("go"), "").unwrap();
    creator.wait().unwrap();
    assert_eq!(place.text(&["locks", "c.db"]), "");
}

#[test]
fn invalidation_reaches_exec() {
    let place = Place::new();
    let exec = ["exec", "--cache", "c.db", "--", "sh", "-c", "echo run >> log; wc -l < log"];
    assert_eq!(place.text(&exec), place.text(&exec));
    place.text(&["invalidate", "c.db"]);
    assert_eq!(place.text(&exec).trim(), "2", "all wait for the new output");
    place.text(&["invalidate", "c.db", "--soft"]);
    assert_eq!(place.text(&exec).trim(), "2", "the old one is served");
}

#[test]
fn mistakes_are_explained() {
    let place = Place::new();
    place.text(&["set", "c.db", "k", "1"]);
    for (arguments, word) in [
        (&["get", "radis://host/0", "k"][..], "known are"),
        (&["keys", "memory:"], "cannot list"),
        (&["get", "no/such/place.db", "k"], "no file"),
        (&["set", "no/such/place.db", "k", "1"], "no directory"),
        (&["info", "file:c.db?max_bits=5"], "max_bytes"),
        (&["exec", "--expiration", "soon", "--", "true"], "10m"),
        (&["man", "nothing"], "no command"),
    ] {
        let output = place.run(arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains(word), "{arguments:?}: {told}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn there_are_completions_a_manual_and_examples() {
    let place = Place::new();
    assert!(place.text(&["completions", "bash"]).contains("complete -F"));
    assert!(place.text(&["man"]).starts_with(".ie"));
    assert!(place.text(&["man", "exec"]).contains("expiration"));
    assert!(place.text(&["exec", "--help"]).contains("Examples:"));
}

#[test]
fn a_bench_measures_and_leaves_nothing() {
    let place = Place::new();
    let options = ["--seconds", "0.05", "--keys", "50", "--crowd", "100"];
    let measured = place.json(&[&["bench", "c.db", "--json"][..], &options].concat());
    assert_eq!(measured["stampede"]["creations"], 1);
    for operation in measured["operations"].as_array().unwrap() {
        assert!(operation["per_second"].as_f64().unwrap() > 0.0);
        let seconds = &operation["seconds"];
        assert!(seconds["p50"].as_f64().unwrap() <= seconds["max"].as_f64().unwrap());
    }
    let near = place.json(&[&["bench", "c.db", "--near", "100", "--json"][..], &options].concat());
    assert_eq!(near["stampede"]["creations"], 1);
    assert_eq!(place.text(&["keys", "c.db"]), "");
    let text = place.text(&[&["bench", "memory:"][..], &options].concat());
    assert!(text.contains("1 creation") && text.contains('█') && !text.contains('\u{1b}'));
}

/// Looking makes no file, and leaves what is no cache as it is.
#[test]
fn what_is_no_cache_is_left_alone() {
    let directory = tempfile::TempDir::new().unwrap();
    let text = directory.path().join("notes.txt");
    std::fs::write(&text, "not a cache").unwrap();
    let missing = directory.path().join("missing.db");
    for location in [&text, &missing] {
        for command in ["keys", "info", "stats", "locks", "collections", "clear", "get", "delete"] {
            let mut run = Command::new(env!("CARGO_BIN_EXE_dogpile"));
            run.arg(command).arg(location);
            match command {
                "get" | "delete" => _ = run.arg("key"),
                "clear" => _ = run.arg("--yes"),
                _ => {}
            }
            let output = run.output().unwrap();
            let says = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success(), "{command}");
            assert!(
                says.contains("not a cache file") || says.contains("no file"),
                "{command}: {says}"
            );
        }
    }
    assert_eq!(std::fs::read_to_string(&text).unwrap(), "not a cache");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

/// Whatever was never a cache is left alone, and so is what has a name that a cache would use.
#[test]
fn what_was_never_a_cache_is_left_alone() {
    let place = Place::new();
    let path = |name: &str| place.0.path().join(name);
    let foreign = || {
        let database = rusqlite::Connection::open(path("theirs.db")).unwrap();
        database.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x);").unwrap();
    };
    foreign();
    for name in ["notes.txt", "a.lock", "b-wal", "c-shm", "d-journal"] {
        std::fs::write(path(name), "mine, and long enough to be looked at").unwrap();
    }
    let state = || {
        let entries = std::fs::read_dir(place.0.path()).unwrap().map(Result::unwrap);
        let read =
            |entry: std::fs::DirEntry| (entry.file_name(), std::fs::read(entry.path()).unwrap());
        entries.map(read).collect::<std::collections::BTreeMap<_, _>>()
    };
    let before = state();
    for name in ["notes.txt", "a", "b", "c", "d", "theirs.db"] {
        for arguments in [
            &["exec", "--cache", name, "--", "true"][..],
            &["set", name, "k", "1"],
            &["delete", name, "k"],
            &["clear", name, "--yes"],
            &["invalidate", name],
            &["keys", name],
            &["get", name, "k"],
            &["info", name],
            &["locks", name],
            &["collections", name],
        ] {
            let output = place.run(arguments);
            let told = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success(), "{arguments:?}");
            let says = ["not a cache", "another program's", "not SQLite's", "no file"];
            assert!(says.iter().any(|words| told.contains(words)), "{arguments:?}: {told}");
            assert!(state() == before, "{arguments:?}");
        }
    }
}

/// A cache that was damaged is known again, and begun again.
#[test]
fn a_damaged_cache_is_moved_aside() {
    let place = Place::new();
    place.text(&["set", "c.db", "k", "1"]);
    for suffix in ["", "-wal"] {
        let path = place.0.path().join(format!("c.db{suffix}"));
        if path.exists() {
            let zeros = if suffix.is_empty() { 9_000 } else { 0 };
            std::fs::write(path, vec![7; zeros]).unwrap();
        }
    }
    place.text(&["set", "c.db", "k", "2"]);
    assert_eq!(place.text(&["get", "c.db", "k", "--raw"]), "2");
    assert!(place.0.path().join("c.db.damaged-1").exists());
}

#[cfg(unix)]
#[test]
fn looking_leaves_nothing_behind() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    let place = Place::new();
    place.text(&["set", "c.db", "k", r#"{"a": 1}"#]);
    let state = || {
        let entries = std::fs::read_dir(place.0.path()).unwrap().map(Result::unwrap);
        let look = |entry: std::fs::DirEntry| {
            let found = entry.metadata().unwrap();
            (entry.file_name(), found.len(), found.mtime_nsec(), found.mode() & 0o777)
        };
        entries.map(look).collect::<std::collections::BTreeSet<_>>()
    };
    std::fs::remove_file(place.0.path().join("c.db.lock")).unwrap();
    let before = state();
    assert!(before.iter().all(|(_, _, _, mode)| *mode == 0o600), "{before:?}");
    for arguments in [
        &["get", "c.db", "k"][..],
        &["keys", "c.db"],
        &["info", "c.db"],
        &["stats", "c.db"],
        &["locks", "c.db"],
        &["collections", "c.db"],
    ] {
        place.text(arguments);
        assert_eq!(state(), before, "{arguments:?}");
    }
    let folder = place.0.path().join("shared");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o2770)).unwrap();
    place.text(&["set", "shared/c.db", "k", "1"]);
    place.text(&["set", "file:own.db?mode=0640", "k", "1"]);
    for (name, mode) in [("shared/c.db", 0o660), ("own.db", 0o640)] {
        for suffix in ["", ".lock"] {
            let found = std::fs::metadata(place.0.path().join(format!("{name}{suffix}"))).unwrap();
            assert_eq!(found.mode() & 0o777, mode, "{name}{suffix}");
        }
    }
}
