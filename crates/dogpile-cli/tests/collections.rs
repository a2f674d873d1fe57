//! `dogpile collections`: which versions lie in a store, and away with old ones.

use std::collections::HashMap;
use std::process::Command;

use dogpile::collections::CachedMapping;
use dogpile::config::backend_at;
use dogpile_servers::RedisServer;
use serde_json::Value;
use tempfile::TempDir;

fn run(location: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dogpile"));
    let output = command.args(["collections", location]).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn versions(location: &str, arguments: &[&str]) -> Vec<String> {
    let lines = run(location, &[arguments, &["--json"]].concat()).unwrap();
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    let name = |v: Value| format!("{} {}", v["name"].as_str().unwrap(), v["version"]);
    lines.lines().map(|text| name(line(text)).replace('"', "")).collect()
}

/// An application that has been released a few times.
fn release(location: &str) {
    for (name, version) in [("a", "1.0"), ("a", "1.1"), ("b", "1.1"), ("a", "1.2"), ("b", "1.2")] {
        let load = || Ok::<_, String>(HashMap::from([("one".to_owned(), 1)]));
        let backend = backend_at(location).unwrap();
        let builder = CachedMapping::builder_blocking(name, backend, load).version(version);
        builder.open_blocking().unwrap();
    }
}

#[test]
fn old_versions_are_listed_and_removed() {
    let (server, directory) = (RedisServer::start(), TempDir::new().unwrap());
    let file = directory.path().join("collections.db").display().to_string();
    for location in [server.url(), file] {
        release(&location);
        let table = run(&location, &[]).unwrap();
        assert_eq!(table.lines().count(), 6, "{table}");
        let head = ["name", "version", "revision", "entries", "size", "codec", "pushed"];
        let first: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
        assert!(first == head && table.contains("json   "), "{table}");
        assert_eq!(versions(&location, &["--name", "b"]), ["b 1.1", "b 1.2"]);

        let error = run(&location, &["--name", "a", "--purge", "1.0", "--purge", "7"]);
        assert!(error.unwrap_err().contains("no version `7`"));
        assert!(run(&location, &["--purge", "1.0"]).unwrap_err().contains("--name"));
        assert_eq!(versions(&location, &["--name", "a", "--purge", "1.0"]), ["a 1.0"]);
        assert_eq!(versions(&location, &["--keep", "1"]), ["a 1.1", "b 1.1"]);
        assert_eq!(versions(&location, &[]), ["a 1.2", "b 1.2"]);
        assert_eq!(versions(&location, &["--name", "a", "--keep", "0"]), ["a 1.2"]);
        assert_eq!(versions(&location, &[]), ["b 1.2"]);
    }
}
