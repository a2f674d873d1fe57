//! The file backend in one process: bounds, bad files, and being looked into.
//! Races between processes are in the tests of `dogpile-servers`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use dogpile::backend::inspect::{Clear, Inspect, Key};
use dogpile::backend::{Backend, ClaimMode, Claimed, Commit, Damage, ErrorKind, File, Wanted};
use dogpile::config::Settings;
use dogpile::lock::KeyedLock;
use dogpile::value::{Entry, Payload};
use dogpile::{Config, Region};
use dogpile_testkit::ManualClock;
use rusqlite::Connection;
use tempfile::TempDir;

fn place() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("cache.db");
    (directory, path)
}

fn entry(payload: &[u8], ct: f64) -> Entry {
    Entry::bytes(payload.to_vec(), ct)
}

async fn payload(file: &File, key: &str) -> Option<Vec<u8>> {
    match file.get(key).await.unwrap()?.payload {
        Payload::Bytes(bytes) => Some(bytes.to_vec()),
        other => panic!("{other:?}"),
    }
}

async fn entries(file: &File) -> u64 {
    info(file, "entries").await.as_u64().unwrap()
}

async fn info(file: &File, name: &str) -> serde_json::Value {
    let info = file.info().await.unwrap();
    info.into_iter().find(|(known, _)| *known == name).unwrap().1
}

#[tokio::test]
async fn the_oldest_go_when_there_are_too_many() {
    let (_directory, path) = place();
    let file = File::builder(&path).max_entries(3).open().unwrap();
    for key in ["a", "b", "c"] {
        file.set(key, entry(b"1", 1.0)).await.unwrap();
    }
    // Stored again, `a` is the youngest.
    file.set("a", entry(b"2", 2.0)).await.unwrap();
    file.set("d", entry(b"1", 3.0)).await.unwrap();
    assert_eq!(entries(&file).await, 3);
    assert_eq!(payload(&file, "b").await, None);
    assert_eq!(payload(&file, "a").await.unwrap(), b"2");
}

#[tokio::test]
async fn the_oldest_go_when_they_are_too_large_and_the_file_shrinks() {
    let (_directory, path) = place();
    let most = 1_000_000;
    let file = File::builder(&path).max_bytes(most).open().unwrap();
    let value = vec![b'x'; 10_000];
    for n in 0..500 {
        file.set(&format!("key-{n}"), entry(&value, f64::from(n))).await.unwrap();
    }
    let bytes = info(&file, "bytes").await.as_u64().unwrap();
    assert!((most / 2..=most).contains(&bytes), "{bytes} bytes");
    assert_eq!(payload(&file, "key-0").await, None);
    assert!(payload(&file, "key-499").await.is_some());
    let refused = file.set("huge", entry(&vec![0; 1_000_000], 0.0)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert!(refused.to_string().contains("max_bytes"), "{refused}");
    assert!(payload(&file, "key-499").await.is_some(), "a refusal evicts nothing");
    file.delete_multi(
        &(0..500)
            .map(|n| format!("key-{n}"))
            .collect::<Vec<_>>()
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    )
    .await
    .unwrap();
    // Free pages go a few at a time, with each write.
    for _ in 0..10 {
        file.set("small", entry(b"1", 1.0)).await.unwrap();
    }
    let connection = Connection::open(&path).unwrap();
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    assert!(pages < 100, "{pages} pages are left of an empty cache");
}

#[tokio::test]
async fn entries_past_the_maximum_age_go() {
    let (_directory, path) = place();
    let clock = ManualClock::new();
    let now = || dogpile::clock::Clock::now(&clock);
    let file = File::builder(&path)
        .retention(Duration::from_secs(160))
        .clock(clock.clone())
        .open()
        .unwrap();
    file.set("old", entry(b"1", now())).await.unwrap();
    clock.advance(Duration::from_secs(100));
    file.set("younger", entry(b"1", now())).await.unwrap();
    assert_eq!(entries(&file).await, 2);
    clock.advance(Duration::from_secs(100));
    file.set("new", entry(b"1", now())).await.unwrap();
    assert_eq!(entries(&file).await, 2);
    assert_eq!(payload(&file, "old").await, None);
    assert!(payload(&file, "younger").await.is_some());
}

/// Moments of invalidations outlive the creations that they are about.
#[tokio::test]
async fn what_is_kept_outlives_age_and_bounds() {
    let (_directory, path) = place();
    let clock = ManualClock::new();
    let now = || dogpile::clock::Clock::now(&clock);
    let builder = File::builder(&path).retention(Duration::from_secs(160)).max_entries(3);
    let file = builder.clock(clock.clone()).open().unwrap();
    let mut kept = entry(b"kept", now());
    kept.metadata = kept.metadata.with_keeping();
    file.set("kept", kept).await.unwrap();
    for key in ["a", "b", "c"] {
        file.set(key, entry(b"1", now())).await.unwrap();
    }
    assert_eq!(entries(&file).await, 3);
    assert_eq!(payload(&file, "a").await, None);
    clock.advance(Duration::from_secs(200));
    file.set("new", entry(b"1", now())).await.unwrap();
    assert_eq!(entries(&file).await, 2);
    assert_eq!(payload(&file, "c").await, None, "too old");
    assert_eq!(payload(&file, "kept").await.unwrap(), b"kept");
}

#[tokio::test]
async fn what_was_stored_is_there_after_opening_again() {
    let (_directory, path) = place();
    let file = File::open(&path).unwrap();
    file.set("k", entry(b"v", 1.5)).await.unwrap();
    drop(file);
    let file = File::open(&path).unwrap();
    assert_eq!(payload(&file, "k").await.unwrap(), b"v");
}

/// Makes a sound cache file with some entries and closes it.
async fn filled(path: &Path) {
    let file = File::open(path).unwrap();
    for n in 0..200 {
        file.set(&format!("key-{n}"), entry(&[b'x'; 500], 1.0)).await.unwrap();
    }
    drop(file);
    let connection = Connection::open(path).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}

/// Every kind of damage: reads and writes go on, at the price of the values.
#[tokio::test]
async fn a_damaged_file_is_moved_aside_and_begun_anew() {
    type Harm = fn(&mut Vec<u8>);
    let harms: [(&str, Harm); 5] = [
        ("not SQLite", |bytes| *bytes = b"#!/bin/sh\necho hello\n".to_vec()),
        ("half the magic", |bytes| bytes.truncate(7)),
        ("truncated", |bytes| bytes.truncate(bytes.len() / 3)),
        ("scribbled header", |bytes| bytes[..100].fill(0x5a)),
        ("scribbled pages", |bytes| bytes[4096..].fill(0x5a)),
    ];
    for (name, harm) in harms {
        let (_directory, path) = place();
        filled(&path).await;
        let mut bytes = fs::read(&path).unwrap();
        harm(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        for n in 0..200 {
            file.get(&format!("key-{n}")).await.unwrap();
        }
        file.set("new", entry(b"v", 1.0)).await.unwrap();
        assert_eq!(payload(&file, "new").await.unwrap(), b"v", "{name}");
        let aside = path.with_file_name("cache.db.damaged-1");
        assert_eq!(fs::read(&aside).unwrap().len(), bytes.len(), "{name}: nothing is lost");
        let again = File::open(&path).unwrap();
        assert_eq!(payload(&again, "new").await.unwrap(), b"v", "{name}");
        assert!(!path.with_file_name("cache.db.damaged-2").exists(), "{name}: once is enough");
    }
}

/// Damage under a file that is in use, by two handles as two processes have
/// them: both end on the same new file.
#[tokio::test]
async fn damage_in_use_is_found_and_repaired_by_all() {
    let (_directory, path) = place();
    filled(&path).await;
    let (one, two) = (File::open(&path).unwrap(), File::open(&path).unwrap());
    assert!(payload(&one, "key-1").await.is_some() && payload(&two, "key-1").await.is_some());
    let length = fs::metadata(&path).unwrap().len();
    let rubbish = vec![0x5a; usize::try_from(length).unwrap()];
    fs::write(&path, &rubbish).unwrap();
    // What is in SQLite's memory is good until somebody writes.
    one.set("from-one", entry(b"1", 1.0)).await.unwrap();
    two.set("from-two", entry(b"2", 1.0)).await.unwrap();
    one.set("again", entry(b"3", 1.0)).await.unwrap();
    for file in [&one, &two, &File::open(&path).unwrap()] {
        for key in ["from-two", "again"] {
            assert!(payload(file, key).await.is_some(), "{key}");
        }
    }
}

#[tokio::test]
async fn a_damaged_file_can_be_refused() {
    let (_directory, path) = place();
    fs::write(&path, b"precious").unwrap();
    let fault = File::builder(&path).on_damage(Damage::Refuse).open().unwrap_err();
    assert!(fault.to_string().contains("damaged"), "{fault}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn another_programs_database_is_left_alone() {
    for sql in [
        "CREATE TABLE users (id INTEGER)",
        "CREATE TABLE Dict (word TEXT, meaning TEXT)",
        "CREATE TABLE Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL); CREATE TABLE more (x)",
        "PRAGMA application_id = 77; CREATE TABLE Dict (key, value)",
    ] {
        let (_directory, path) = place();
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let before = fs::read(&path).unwrap();
        let fault = File::open(&path).unwrap_err();
        assert!(fault.to_string().contains("another program's"), "{fault}");
        assert_eq!(fs::read(&path).unwrap(), before, "{sql}");
    }
}

/// The tables of the version before: without creations.
const VERSION_1: &str = "
    CREATE TABLE Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL);
    CREATE TABLE dogpile_size (id INTEGER PRIMARY KEY, entries INTEGER, bytes INTEGER);
    INSERT INTO Dict VALUES (x'6b', CAST('{\"ct\": 1.0, \"v\": 2}|before' AS BLOB));
    INSERT INTO dogpile_size SELECT 1, 1, length(value) + 34 FROM Dict;
    CREATE TRIGGER dogpile_deleted AFTER DELETE ON Dict BEGIN
        UPDATE dogpile_size SET entries = entries - 1;
    END;
    PRAGMA application_id = 1685022576; PRAGMA user_version = 1; PRAGMA journal_mode = WAL;";

#[tokio::test]
async fn a_file_of_the_version_before_is_upgraded() {
    let (_directory, path) = place();
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(VERSION_1).unwrap();
    let (file, other) = (File::open(&path).unwrap(), File::open(&path).unwrap());
    let version = || connection.query_row("PRAGMA user_version", [], |row| row.get(0));
    assert_eq!(version(), Ok(2));
    assert_eq!(payload(&file, "k").await.unwrap(), b"before");
    let claim = async |key| {
        let mut claims = file.claim(vec![Wanted::new(key, ClaimMode::TakeOver)]).await.unwrap();
        let Some(Claimed::Won(lease)) = claims.pop() else { panic!("{claims:?}") };
        lease
    };
    let commit = async |key, lease| {
        let entry = Some(entry(b"created", 2.0));
        file.commit(vec![Commit { key, entry, lease }]).await.unwrap()
    };
    let lease = claim("k").await;
    // A process of that version, which has the file open still.
    connection.execute("DELETE FROM Dict WHERE key = x'6b'", []).unwrap();
    assert_eq!(commit("k", lease).await, [false]);
    let lease = claim("k").await;
    assert_eq!(commit("k", lease).await, [true]);
    assert_eq!(payload(&other, "k").await.unwrap(), b"created");
    connection.execute_batch("PRAGMA user_version = 3").unwrap();
    let fault = File::open(&path).unwrap_err();
    assert!(fault.to_string().contains("newer version"), "{fault}");
}

#[test]
fn places_where_no_file_can_be_are_clear_errors() {
    let (directory, _) = place();
    let missing = directory.path().join("no/such/cache.db");
    for (path, word) in [(missing.as_path(), "no directory"), (directory.path(), "regular file")] {
        let fault = File::open(path).unwrap_err();
        assert!(fault.to_string().contains(word), "{fault}");
    }
}

#[tokio::test]
async fn a_callers_key_is_not_that_of_the_moments_of_invalidations() {
    let (_directory, path) = place();
    let process = || {
        let region = Region::named("users");
        region.configure(Config::new(File::open(&path).unwrap()).shared_keys()).unwrap();
        region
    };
    let here = process();
    here.set("k", &1).await.unwrap();
    here.invalidate_all().await.unwrap();
    here.set("_invalidation:users", &2).await.unwrap();
    assert_eq!(process().get::<u32>("k").await.unwrap(), None, "stored over");
    assert_eq!(process().get::<u32>("_invalidation:users").await.unwrap(), Some(2));
    here.delete("_invalidation:users").await.unwrap();
    assert_eq!(process().get::<u32>("k").await.unwrap(), None, "deleted");
}

#[tokio::test]
async fn a_deleted_file_is_begun_anew() {
    let (_directory, path) = place();
    let file = File::open(&path).unwrap();
    file.set("k", entry(b"v", 1.0)).await.unwrap();
    fs::remove_file(&path).unwrap();
    file.set("other", entry(b"v", 1.0)).await.unwrap();
    assert_eq!(payload(&file, "k").await, None, "it went with the file");
    assert!(path.exists());
    assert!(payload(&File::open(&path).unwrap(), "other").await.is_some());
}

/// A process that works with a file holds SQLite's locks on it, or the next peer that
/// closes takes itself for the last one and removes the log from under it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_in_use_is_locked_whatever_else_is_opened() {
    let (_directory, path) = place();
    filled(&path).await;
    let index = path.with_file_name("cache.db-shm");
    // The thread that filled it may take a moment to end.
    wait_until(|| !index.exists());
    let assert_locked = |when: &str| {
        for file in [&path, &index] {
            let lockers = dogpile_servers::lockers(file);
            assert!(lockers.contains(&std::process::id()), "{when}: {}", file.display());
        }
    };
    let file = File::open(&path).unwrap();
    assert!(payload(&file, "key-1").await.is_some());
    assert_locked("read");
    file.set("key-1", entry(b"2", 2.0)).await.unwrap();
    assert_locked("written");
    let other = File::open(&path).unwrap();
    assert_locked("opened again");
    other.set("key-2", entry(b"2", 2.0)).await.unwrap();
    drop(other);
    drop(Connection::open(&path).unwrap());
    assert_locked("the other was dropped");
    assert_eq!(payload(&file, "key-2").await.unwrap(), b"2");
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let itself = path.with_file_name(format!("cache.db{suffix}"));
        let fault = File::builder(&path).lock_file(&itself).open().unwrap_err();
        assert!(fault.to_string().contains("not a lock file"), "{fault}");
    }
    assert_locked("a lock file was refused");
}

#[cfg(target_os = "linux")]
fn wait_until(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(30), "it does not come to that");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A disk that is full: an error for who stores, and the application goes on.
#[tokio::test]
async fn a_full_disk_is_an_error_and_nothing_worse() {
    let (directory, _) = place();
    let Some(disk) = SmallDisk::mount(directory.path()) else { return };
    let path = directory.path().join("cache.db");
    let file = File::open(&path).unwrap();
    file.set("first", entry(b"1", 1.0)).await.unwrap();
    let mut failed = None;
    for n in 0..200 {
        if let Err(fault) = file.set(&format!("k{n}"), entry(&vec![b'x'; 100_000], 1.0)).await {
            failed = Some(fault);
            break;
        }
    }
    let fault = failed.expect("the disk is small");
    assert_eq!(fault.kind(), ErrorKind::Unavailable, "{fault}");
    assert_eq!(payload(&file, "first").await.unwrap(), b"1");
    let region = Region::new("full");
    region.configure(Config::new(file.clone())).unwrap();
    let made: String = region.get_or_create("big", async || "x".repeat(500_000)).await;
    assert_eq!(made.len(), 500_000);
    drop((region, file));
    drop(disk);
}

/// A file system that becomes read-only under an open file: what is there can
/// be read, storing is an error.
#[tokio::test]
async fn a_read_only_disk_is_an_error_for_who_stores() {
    let (directory, _) = place();
    let Some(disk) = SmallDisk::mount(directory.path()) else { return };
    let path = directory.path().join("cache.db");
    let file = File::open(&path).unwrap();
    file.set("k", entry(b"1", 1.0)).await.unwrap();
    drop(file);
    disk.make_read_only();
    match File::open(&path) {
        Err(fault) => assert_eq!(fault.kind(), ErrorKind::Unavailable, "{fault}"),
        Ok(file) => {
            let fault = file.set("k", entry(b"1", 1.0)).await.unwrap_err();
            assert_eq!(fault.kind(), ErrorKind::Unavailable, "{fault}");
        }
    }
    assert!(!path.with_file_name("cache.db.damaged-1").exists());
}

/// A file system of one megabyte; unmounted on drop.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(path)
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("cannot mount a small disk here: not tested");
        }
        mounted.then(|| Self(path.to_owned()))
    }

    /// Once nobody has a file open to write: the thread of one that was dropped may take
    /// a moment to end.
    fn make_read_only(&self) {
        let remount = || Command::new("mount").args(["-o", "remount,ro"]).arg(&self.0).output();
        let began = Instant::now();
        while !remount().is_ok_and(|done| done.status.success()) {
            assert!(began.elapsed() < Duration::from_secs(30), "it stays busy");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn keys_are_listed_in_pages_and_cleared() {
    let (_directory, path) = place();
    let file = File::open(&path).unwrap();
    for key in ["a:1", "a:2", "a:3", "b:1"] {
        file.set(key, entry(b"12345", 1.0)).await.unwrap();
    }
    let first = file.keys(b"a:", None, 2).await.unwrap();
    let keys = |page: &dogpile::backend::inspect::KeyPage| {
        page.keys.iter().map(|found| found.key.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(keys(&first), ["a:1", "a:2"]);
    let second = file.keys(b"a:", first.next.as_deref(), 2).await.unwrap();
    assert_eq!((keys(&second), second.next), (vec!["a:3".to_owned()], None));
    file.clear(Clear { prefix: b"a:", all: false }).await.unwrap();
    assert_eq!(entries(&file).await, 1);
    let odd = Key::from(b"\xffodd\\".to_vec());
    let sql = "INSERT INTO Dict VALUES (?1, ?2)";
    let frame = entry(b"1", 1.0).to_frame().unwrap();
    Connection::open(&path).unwrap().execute(sql, (odd.as_bytes(), &*frame)).unwrap();
    let listed = file.keys(b"\xff", None, 2).await.unwrap().keys.remove(0).key;
    assert_eq!((listed.to_string().as_str(), &listed), (r"\xffodd\\", &odd));
    assert!(file.entry(&Key::from_escaped(r"\xffodd\\")).await.unwrap().is_some());
    Inspect::delete(&file, std::slice::from_ref(&odd)).await.unwrap();
    assert!(file.entry(&odd).await.unwrap().is_none());
    file.clear(Clear::default()).await.unwrap();
    assert_eq!(entries(&file).await, 0);
    assert_eq!(payload(&file, "a:1").await, None);
}

#[tokio::test]
async fn held_locks_are_listed_with_their_keys() {
    let (_directory, path) = place();
    let (file, other) = (File::open(&path).unwrap(), File::open(&path).unwrap());
    let mutex = file.mutex().unwrap();
    let lease = mutex.try_lock("report").await.unwrap().unwrap();
    let held = other.locks().await.unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].key, "report");
    assert!(held[0].holder.contains(&std::process::id().to_string()));
    mutex.unlock(lease).await.unwrap();
    assert!(other.locks().await.unwrap().is_empty());
}

#[test]
fn settings_know_it_by_both_names() {
    let (_directory, path) = place();
    let filename = path.display().to_string();
    for name in ["file", "dogpile.cache.dbm"] {
        let settings = Settings::from_iter([
            ("backend", name),
            ("arguments.filename", &filename),
            ("arguments.rw_lockfile", "false"),
            ("arguments.dogpile_lockfile", "false"),
            ("arguments.max_bytes", "1000000"),
            ("arguments.on_damage", "refuse"),
        ]);
        let config: Config = settings.config().unwrap();
        let region = Region::new("configured");
        region.configure(config).unwrap();
        assert!(region.backend().unwrap().mutex().is_none());
    }
    let settings = Settings::from_iter([("backend", "file")]);
    let error = settings.config::<dogpile::Serialized>().unwrap_err().to_string();
    assert!(error.contains("filename"), "{error}");
}

#[test]
fn an_empty_path_is_refused() {
    assert!(File::open("").unwrap_err().to_string().contains("empty"));
    let settings = Settings::from_iter([("backend", "file"), ("arguments.filename", "")]);
    let error = settings.config::<dogpile::Serialized>().unwrap_err();
    assert!(error.to_string().contains("needs the setting `filename`"), "{error}");
}

/// What was never a cache is left alone, with every name that a cache would use.
#[test]
fn other_files_are_left_alone() {
    for (suffix, words) in [
        ("", "not a cache file"),
        (".lock", "not a lock file"),
        ("-wal", "not SQLite's"),
        ("-shm", "not SQLite's"),
        ("-journal", "not SQLite's"),
    ] {
        let (directory, path) = place();
        let theirs = directory.path().join(format!("cache.db{suffix}"));
        fs::write(&theirs, "somebody else's notes").unwrap();
        for builder in [File::builder(&path), File::builder(&path).mode(0o600)] {
            let fault = builder.open().unwrap_err();
            assert!(fault.to_string().contains(words), "{suffix}: {fault}");
        }
        assert_eq!(fs::read(&theirs).unwrap(), b"somebody else's notes");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "{suffix}");
    }
}

/// A file that was put in the place of a cache is not the cache, damaged.
#[tokio::test]
async fn a_file_in_the_place_of_a_cache_is_left_alone() {
    let (directory, path) = place();
    let file = File::open(&path).unwrap();
    file.set("k", entry(b"1", 1.0)).await.unwrap();
    let theirs = directory.path().join("theirs");
    fs::write(&theirs, "somebody else's notes, put in another file's place").unwrap();
    fs::rename(&theirs, &path).unwrap();
    let fault = file.set("k", entry(b"2", 1.0)).await.unwrap_err();
    assert!(fault.to_string().contains("not a cache file"), "{fault}");
    assert!(fs::read(&path).unwrap().starts_with(b"somebody else's notes"));
}

#[cfg(unix)]
#[tokio::test]
async fn all_files_of_a_cache_have_one_mode() {
    use std::os::unix::fs::PermissionsExt;

    for mode in [0o600, 0o660, 0o666] {
        let (_directory, path) = place();
        let file = File::builder(&path).mode(mode).open().unwrap();
        file.set("k", entry(b"1", 1.0)).await.unwrap();
        for suffix in ["", "-wal", "-shm", ".lock"] {
            let name = path.with_file_name(format!("cache.db{suffix}"));
            let found = fs::metadata(&name).unwrap().permissions().mode() & 0o777;
            assert_eq!(found, mode, "{}", name.display());
        }
    }
}

#[tokio::test]
async fn looking_changes_nothing() {
    let (directory, path) = place();
    let look = || File::builder(&path).read_only(true).open();
    assert!(look().unwrap_err().to_string().contains("no file"));
    let file = File::open(&path).unwrap();
    file.set("k", entry(b"1", 1.0)).await.unwrap();
    let in_use = look().unwrap();
    assert_eq!(payload(&in_use, "k").await.unwrap(), b"1");
    file.set("k", entry(b"2", 1.0)).await.unwrap();
    assert_eq!(payload(&in_use, "k").await.unwrap(), b"2");
    let fault = in_use.set("k", entry(b"3", 1.0)).await.unwrap_err();
    assert_eq!(fault.kind(), ErrorKind::Unavailable, "{fault}");
    assert!(in_use.mutex().is_none());
    drop((file, in_use));
    // Who closes it last and may write clears up.
    wait_until(|| {
        drop(File::open(&path).unwrap());
        !path.with_file_name("cache.db-wal").exists()
    });
    fs::remove_file(path.with_file_name("cache.db.lock")).unwrap();
    let closed = look().unwrap();
    assert_eq!(payload(&closed, "k").await.unwrap(), b"2");
    assert_eq!((entries(&closed).await, closed.locks().await.unwrap().len()), (1, 0));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

/// A file of Python's, to which nothing was added, and an empty one can be looked into.
#[tokio::test]
async fn what_has_none_of_our_tables_can_be_looked_into() {
    let (_directory, path) = place();
    fs::write(&path, "").unwrap();
    let look = || File::builder(&path).read_only(true).open().unwrap();
    assert_eq!(entries(&look()).await, 0);
    assert_eq!(payload(&look(), "k").await, None);
    let tables = "CREATE TABLE Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)";
    let python = Connection::open(&path).unwrap();
    python.execute_batch(tables).unwrap();
    let frame = entry(b"1", 1.0).to_frame().unwrap();
    python.execute("INSERT INTO Dict VALUES (?1, ?2)", (&b"k"[..], &*frame)).unwrap();
    assert_eq!((entries(&look()).await, payload(&look(), "k").await), (1, Some(b"1".to_vec())));
}
