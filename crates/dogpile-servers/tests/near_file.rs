//! The near tier over a file: no copy is older than the call, whoever changed the file.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::faults::eventually;
use common::near::{self, LONG, Two, holding, tier};
use dogpile::backend::inspect::Clear;
use dogpile::backend::{AnyBackend, File};
use dogpile::proxy::{Algorithm, Compression, Encryption, EncryptionKey, KeyPrefix, Layer};
use dogpile::{Config, Near, Region, Status};
use dogpile_testkit::conformance;
use rusqlite::Connection;
use tempfile::TempDir;

fn path(directory: &TempDir) -> PathBuf {
    directory.path().join("cache.db")
}

fn config(path: &Path) -> Config {
    Config::new(File::open(path).unwrap())
}

/// Two handles on one file, each with connections of its own, as two processes have them. Copies
/// would hold for an hour if they went by their age.
fn two(path: &Path) -> Two {
    Two::over(config(path), config(path), holding())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_third_read_is_answered_here_and_changes_are_seen_at_once() {
    let directory = TempDir::new().unwrap();
    let two = two(&path(&directory));
    two.other.set("k", &1_u32).await.unwrap();
    for hits in [0, 0, 1, 2] {
        assert_eq!((two.get("k").await, two.near_hits()), (Some(1), hits));
    }
    let found = two.near.entry("k").lookup(async || 7_u32).await;
    assert_eq!((found.value, found.status), (1, Status::Hit));
    let counted = two.near.statistics();
    assert_eq!((counted.near_misses, counted.near_entries, counted.hits), (2, 1, 5));
    assert_eq!(counted.bytes_read, 2, "it is decoded when it is read from the file only");
    for value in 2..200 {
        match value % 4 {
            0 => two.other.entries(["j", "k"]).set(&[0, value]).await.unwrap(),
            1 => {
                two.other.entry("k").refresh(async || value).await;
            }
            _ => two.other.set("k", &value).await.unwrap(),
        }
        assert_eq!(two.get("k").await, Some(value));
        two.warm("k").await;
    }
    two.other.expire("k").await.unwrap();
    assert_eq!(two.get("k").await, None);
    two.other.set("k", &1_000_u32).await.unwrap();
    assert_eq!(two.get("k").await, Some(1_000));
    two.other.delete("k").await.unwrap();
    assert_eq!(two.get("k").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn own_changes_are_seen_at_once() {
    let directory = TempDir::new().unwrap();
    near::own_changes_are_seen_at_once(&two(&path(&directory))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_copy_is_older_than_the_call_under_writes() {
    let directory = TempDir::new().unwrap();
    near::no_copy_is_older_under_writes(two(&path(&directory)), Duration::ZERO).await;
}

/// More readers at a time than connections are kept: each has to learn of each change by itself.
#[test]
fn no_thread_is_given_what_was_before_a_change() {
    const CHANGES: u32 = 1_000;
    let directory = TempDir::new().unwrap();
    let two = Arc::new(two(&path(&directory)));
    let stored = Arc::new(AtomicU32::new(0));
    two.other.blocking().set("k", &0_u32).unwrap();
    let hits = std::thread::scope(|scope| {
        for _ in 0..12 {
            let (two, stored) = (two.clone(), stored.clone());
            scope.spawn(move || {
                while stored.load(Ordering::SeqCst) < CHANGES {
                    let least = stored.load(Ordering::SeqCst);
                    let read: u32 = two.near.blocking().get("k").unwrap().unwrap();
                    assert!(read >= least, "{read} was replaced by {least}");
                }
            });
        }
        for value in 1..=CHANGES {
            two.other.blocking().set("k", &value).unwrap();
            stored.store(value, Ordering::SeqCst);
        }
        two.near_hits()
    });
    assert!(hits > 100, "{hits}");
}

/// What is written beside a copy costs a comparison, and no decoding.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_outlives_changes_of_other_keys() {
    let directory = TempDir::new().unwrap();
    let two = two(&path(&directory));
    two.other.set("k", &1_u32).await.unwrap();
    two.warm("k").await;
    let before = two.near.statistics();
    for value in 0..50_u32 {
        two.other.set("other", &value).await.unwrap();
        assert_eq!(two.get("k").await, Some(1));
    }
    let after = two.near.statistics();
    assert_eq!((after.bytes_read, after.near_changed), (before.bytes_read, before.near_changed));
    assert!(after.near_misses >= before.near_misses + 50);
    two.warm("k").await;
}

/// `sqlite3` may change a row in its place, which leaves its number and the header of the value.
#[tokio::test(flavor = "multi_thread")]
async fn changes_by_other_programs_are_seen_at_once() {
    let directory = TempDir::new().unwrap();
    let two = two(&path(&directory));
    let sqlite = Connection::open(path(&directory)).unwrap();
    two.other.set("k", &1_u32).await.unwrap();
    two.warm("k").await;
    let changed =
        "UPDATE Dict SET value = CAST(substr(value, 1, length(value) - 1) || '7' AS BLOB)";
    assert_eq!(sqlite.execute(changed, []).unwrap(), 1);
    assert_eq!(two.get("k").await, Some(7));
    two.warm("k").await;
    sqlite.execute("DELETE FROM Dict", []).unwrap();
    assert_eq!(two.get("k").await, None);
}

/// Not a test by itself: another process, which stores the numbers that it is told.
#[test]
fn another_process() {
    let Some(path) = std::env::var_os("NEAR_FILE") else { return };
    let region = Region::new("r");
    region.configure(config(Path::new(&path))).unwrap();
    for line in std::io::stdin().lines() {
        region.blocking().set("k", &line.unwrap().parse::<u32>().unwrap()).unwrap();
        println!("\nstored");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_by_another_process_are_seen_at_once() {
    let directory = TempDir::new().unwrap();
    let two = two(&path(&directory));
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "another_process", "--nocapture"])
        .env("NEAR_FILE", path(&directory))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut to, from) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
    let mut from = BufReader::new(from).lines();
    for value in 0..100_u32 {
        writeln!(to, "{value}").unwrap();
        assert!(from.any(|line| line.unwrap() == "stored"));
        assert_eq!(two.get("k").await, Some(value));
        two.warm("k").await;
    }
    drop(to);
    from.for_each(drop);
    assert!(process.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cleared_file_has_no_copies() {
    let directory = TempDir::new().unwrap();
    let two = two(&path(&directory));
    two.other.set("k", &1_u32).await.unwrap();
    two.warm("k").await;
    let backend = two.other.backend().unwrap();
    backend.inspect().unwrap().clear(Clear { all: true, ..Clear::default() }).await.unwrap();
    assert_eq!(two.get("k").await, None);
}

/// As each read of a file does, copies find out within a second that it is another one.
#[tokio::test(flavor = "multi_thread")]
async fn copies_end_with_their_file() {
    let directory = TempDir::new().unwrap();
    let path = path(&directory);
    let two = two(&path);
    two.other.set("k", &1_u32).await.unwrap();
    two.warm("k").await;
    for suffix in ["-wal", "-shm", ""] {
        let file = path.with_file_name(format!("cache.db{suffix}"));
        std::fs::rename(&file, path.with_file_name(format!("aside.db{suffix}"))).unwrap();
    }
    eventually("an empty file", async || two.get("k").await.is_none()).await;
    eventually("another value", async || {
        two.other.set("k", &2_u32).await.unwrap();
        two.get("k").await == Some(2)
    })
    .await;
    two.warm("k").await;
    for suffix in ["-wal", "-shm", ""] {
        std::fs::remove_file(path.with_file_name(format!("cache.db{suffix}"))).unwrap();
    }
    eventually("an empty file", async || two.get("k").await.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_ends_its_copies() {
    let directory = TempDir::new().unwrap();
    let path = path(&directory);
    let two = two(&path);
    two.other.set("k", &1_u32).await.unwrap();
    two.warm("k").await;
    let sqlite = Connection::open(&path).unwrap();
    sqlite.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(sqlite);
    std::fs::write(&path, vec![b'x'; 100_000]).unwrap();
    // Whoever comes upon the damage moves the file aside.
    eventually("a new file", async || two.other.set("k", &2_u32).await.is_ok()).await;
    eventually("its value", async || two.near.get("k").await.ok() == Some(Some(2_u32))).await;
}

/// A file that is only looked at is opened for each look: copies go by their age.
#[tokio::test(flavor = "multi_thread")]
async fn copies_of_a_file_that_is_read_only_go_by_their_age() {
    let directory = TempDir::new().unwrap();
    let path = path(&directory);
    let other = Region::new("r");
    other.configure(config(&path)).unwrap();
    other.set("k", &1_u32).await.unwrap();
    let only_looks = |near: Near| {
        let region = Region::new("r");
        let file = File::builder(&path).read_only(true).open().unwrap();
        region.configure(Config::new(file).near(near)).unwrap();
        region
    };
    let [short, long] = [tier(), tier().max_staleness(LONG)].map(only_looks);
    for region in [&short, &long] {
        for _ in 0..3 {
            assert_eq!(region.get("k").await.unwrap(), Some(1_u32));
        }
        assert_eq!(region.statistics().near_hits, 1);
    }
    other.set("k", &2_u32).await.unwrap();
    eventually("the change", async || short.get("k").await.unwrap() == Some(2_u32)).await;
    assert_eq!(long.get("k").await.unwrap(), Some(1_u32));
}

fn within_proxies(path: &Path) -> AnyBackend {
    let backend = KeyPrefix::new("inner:").layer(AnyBackend::new(File::open(path).unwrap()));
    let backend = Encryption::new(EncryptionKey::new("test", &[7; 32])).layer(backend);
    Compression::new(Algorithm::Zstd(3)).min_size(0).layer(backend)
}

#[test]
fn versions_and_news_reach_through_proxies() {
    let directory = TempDir::new().unwrap();
    let open = async || conformance::Fixture::from(within_proxies(&path(&directory)));
    conformance::run(open, conformance::a_version_tells_states_apart);
    conformance::run(open, conformance::followers_learn_of_changes);
}
