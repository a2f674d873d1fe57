//! A cache file shared with Python: the standard library's table, and
//! dogpile.cache over it.

mod common;

use std::path::{Path, PathBuf};

use common::{python, script};
use dogpile::backend::File;
use dogpile::clock::epoch_seconds;
use dogpile::{Config, Region};
use serde_json::{Value, json};
use tempfile::TempDir;

fn run(path: &Path, arguments: &[&str]) -> Value {
    let output = python().arg(script("cache_file.py")).arg(path).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// Does this Python keep its `dbm` files in SQLite?
fn has_dbm_sqlite() -> bool {
    let has = python().args(["-c", "import dbm.sqlite3"]).status().unwrap().success();
    if !has {
        eprintln!("this Python is older than 3.13: dogpile.cache.dbm was not tried, its table was");
    }
    has
}

fn place() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("cache.db");
    (directory, path)
}

fn region(path: &Path) -> Region {
    let region = Region::new("shared");
    region.configure(Config::new(File::open(path).unwrap()).shared_keys()).unwrap();
    region
}

#[test]
fn the_table_is_the_one_of_dbm_sqlite3() {
    let (_directory, path) = place();
    let region = region(&path);
    region.blocking().set("from rust", &json!({"id": 7})).unwrap();
    assert_eq!(run(&path, &["table", "get", "from rust"]), json!({"id": 7}));
    run(&path, &["table", "set", "from python", "[1, \"zwei\"]"]);
    assert_eq!(region.blocking().get::<Value>("from python").unwrap(), Some(json!([1, "zwei"])));
    // Python's writes are counted too.
    let counted = "SELECT entries = (SELECT count(*) FROM Dict) FROM dogpile_size";
    let connection = rusqlite::Connection::open(&path).unwrap();
    run(&path, &["table", "set", "from python", "[2]"]);
    assert!(connection.query_row(counted, [], |row| row.get::<_, bool>(0)).unwrap());
}

#[test]
fn a_file_that_python_made_is_taken_over() {
    let (_directory, path) = place();
    run(&path, &["table", "set", "k", "5"]);
    assert_eq!(region(&path).blocking().get::<u32>("k").unwrap(), Some(5));
    assert_eq!(run(&path, &["table", "get", "k"]), 5);
}

/// A peer that closes in order is not the last one while we have the file open: it leaves
/// the log where it is, and what we write afterwards reaches everybody.
#[test]
fn a_peer_that_closes_takes_nothing_away() {
    let (_directory, path) = place();
    drop(region(&path));
    let peers: &[&str] = if has_dbm_sqlite() { &["table", "region"] } else { &["table"] };
    for peer in peers {
        let (ours, second) = (region(&path), region(&path));
        ours.blocking().set("k", &1).unwrap();
        second.blocking().set("other", &1).unwrap();
        for number in 2..5 {
            run(&path, &[peer, "get", "k"]);
            for suffix in ["-wal", "-shm"] {
                let beside = path.with_file_name(format!("cache.db{suffix}"));
                assert!(beside.exists(), "{peer} removed {}", beside.display());
            }
            ours.blocking().set("k", &number).unwrap();
            assert_eq!(second.blocking().get::<u32>("k").unwrap(), Some(number), "after {peer}");
            assert_eq!(run(&path, &["table", "get", "k"]), number, "after {peer}");
        }
        second.blocking().delete("k").unwrap();
        assert_eq!(run(&path, &["table", "get", "k"]), Value::Null, "after {peer}");
        assert_eq!(region(&path).blocking().get::<u32>("k").unwrap(), None, "after {peer}");
    }
}

/// What Python changes while we create stays changed.
#[test]
fn what_python_changes_is_not_overwritten_by_what_was_created_before() {
    let (_directory, path) = place();
    let region = region(&path);
    let cache = region.blocking();
    let peers: &[&str] = if has_dbm_sqlite() { &["table", "region"] } else { &["table"] };
    for peer in peers {
        let [cold, set, deleted] = ["cold", "set", "deleted"].map(|name| format!("{peer} {name}"));
        let ours: u32 = cache.get_or_create(&cold, || {
            run(&path, &[peer, "set", &cold, "2"]);
            1
        });
        assert_eq!((ours, cache.get::<u32>(&cold).unwrap()), (1, Some(2)), "{cold}");
        for (key, change, left) in [(&set, "set", Some(2)), (&deleted, "delete", None)] {
            cache.set(key, &0).unwrap();
            let ours: u32 = cache.entry(key).refresh(|| {
                run(&path, &[peer, change, key, "2"]);
                1
            });
            assert_eq!((ours, cache.get::<u32>(key).unwrap()), (1, left), "{key}");
        }
    }
}

#[test]
fn dogpile_cache_reads_and_writes_the_same_file() {
    if !has_dbm_sqlite() {
        return;
    }
    let (_directory, path) = place();
    run(&path, &["region", "set", "from python", "{\"n\": [1, 2]}"]);
    let region = region(&path);
    let found = region.blocking().get_with_metadata::<Value>("from python").unwrap().unwrap();
    assert_eq!(found.value, json!({"n": [1, 2]}));
    let seen = run(&path, &["region", "get", "from python"]);
    assert_eq!(seen["ct"], json!(epoch_seconds(found.cached_time())));
    region.blocking().set("from rust", &"hello".to_owned()).unwrap();
    let stored = region.blocking().get_with_metadata::<String>("from rust").unwrap().unwrap();
    let seen = run(&path, &["region", "get", "from rust"]);
    assert_eq!(seen["value"], "hello");
    let difference = seen["ct"].as_f64().unwrap() - epoch_seconds(stored.cached_time());
    assert!(difference.abs() < 1e-6, "{difference}");
}
