//! The file backend where something is wrong: damage, files that are not ours, full disks.

mod cache_file;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cache_file::{entries, entry, filled, payload, place};
use dogpile::backend::{Backend, ClaimMode, Claimed, Commit, Damage, ErrorKind, File, Wanted};
use dogpile::{Config, Region, Status};
use rusqlite::Connection;

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
    let counted = "SELECT entries || ' ' || bytes FROM dogpile_size";
    let counted = || connection.query_row(counted, [], |row| row.get::<_, String>(0));
    assert_eq!(counted().as_deref(), Ok("0 0"));
    let lease = claim("k").await;
    assert_eq!(commit("k", lease).await, [true]);
    assert_eq!(payload(&other, "k").await.unwrap(), b"created");
    connection.execute_batch("PRAGMA user_version = 3").unwrap();
    let fault = File::open(&path).unwrap_err();
    assert!(fault.to_string().contains("newer version"), "{fault}");
}

/// What this version made of a new file before: two triggers for deletions, and two for updates.
const MORE_TRIGGERS: &str = "
    DROP TRIGGER dogpile_delete; DROP TRIGGER dogpile_update;
    CREATE TRIGGER dogpile_deleted AFTER DELETE ON Dict BEGIN
        UPDATE dogpile_size SET entries = entries - 1,
            bytes = bytes - (2 * length(OLD.key) + length(OLD.value) + 32);
    END;
    CREATE TRIGGER dogpile_updated AFTER UPDATE ON Dict BEGIN
        UPDATE dogpile_size SET bytes = bytes + (2 * length(NEW.key) + length(NEW.value))
            - (2 * length(OLD.key) + length(OLD.value));
    END;
    CREATE TRIGGER dogpile_delete_ends AFTER DELETE ON Dict BEGIN
        DELETE FROM dogpile_creations WHERE key = OLD.key;
    END;
    CREATE TRIGGER dogpile_update_ends AFTER UPDATE ON Dict BEGIN
        DELETE FROM dogpile_creations WHERE key = OLD.key OR key = NEW.key;
    END;";

/// Each change by another program ends the creation of its key and is counted, in whichever way the
/// triggers are written.
#[tokio::test]
async fn changes_by_others_end_creations_and_are_counted() {
    for earlier in ["", MORE_TRIGGERS] {
        let (_directory, path) = place();
        drop(File::open(&path).unwrap());
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(earlier).unwrap();
        let file = File::open(&path).unwrap();
        let counted = "SELECT entries || ' ' || bytes FROM dogpile_size";
        let counted = || connection.query_row(counted, [], |row| row.get::<_, String>(0));
        for (change, then) in [
            ("INSERT INTO Dict VALUES (CAST('k' AS BLOB), x'3132')", "1 36"),
            ("REPLACE INTO Dict VALUES (CAST('k' AS BLOB), x'313233')", "1 37"),
            ("UPDATE Dict SET value = x'31'", "1 35"),
            ("UPDATE Dict SET key = CAST('other' AS BLOB)", "1 43"),
            ("UPDATE Dict SET key = CAST('k' AS BLOB)", "1 35"),
            ("DELETE FROM Dict", "0 0"),
        ] {
            let wanted = vec![Wanted::new("k", ClaimMode::TakeOver)];
            let Some(Claimed::Won(lease)) = file.claim(wanted).await.unwrap().pop() else {
                panic!("nobody else has it")
            };
            connection.execute(change, []).unwrap();
            assert_eq!(counted().as_deref(), Ok(then), "{change}");
            let entry = Some(entry(b"created", 2.0));
            let stored = file.commit(vec![Commit { key: "k", entry, lease }]).await.unwrap();
            assert_eq!(stored, [false], "{change}");
        }
    }
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
    // What cannot be stored is kept by the process, although the file is read.
    for _ in 0..5 {
        let found = region.entry("big").lookup(async || String::new()).await;
        assert_eq!((found.value.len(), found.status), (500_000, Status::Kept));
    }
    assert_eq!((region.statistics().creations, region.statistics().kept), (1, 5));
    // A change ends that.
    let _ = region.delete("big").await;
    let next: String = region.get_or_create("big", async || "y".repeat(500_000)).await;
    assert!(next.starts_with('y'));
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
