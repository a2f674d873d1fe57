//! The file backend in one process: bounds, what it keeps, and being looked into.
//! Races between processes are in the tests of `dogpile-servers`.

mod cache_file;

use std::fs;
use std::time::{Duration, Instant};

use cache_file::{entries, entry, filled, info, payload, place};
use dogpile::backend::inspect::{Clear, Inspect, Key};
use dogpile::backend::{Backend, ErrorKind, File};
use dogpile::config::Settings;
use dogpile::lock::KeyedLock;
use dogpile::{Config, Region};
use dogpile_testkit::ManualClock;
use rusqlite::Connection;

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

/// One file by the name of a link to it, which may be there first: one lock file, one mode.
#[cfg(unix)]
#[tokio::test]
async fn a_link_to_a_file_is_the_file() {
    use std::os::unix::fs::{MetadataExt, symlink};

    let (directory, path) = place();
    let (link, longer) = (directory.path().join("link.db"), directory.path().join("longer.db"));
    symlink(path.file_name().unwrap(), &link).unwrap();
    symlink(&link, &longer).unwrap();
    let open = |path| File::builder(path).mode(0o600).open().unwrap();
    let by_link = open(&longer);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let names = [&link, &path].map(open);
    let lease = by_link.mutex().unwrap().try_lock("k").await.unwrap().unwrap();
    for file in &names {
        assert!(file.mutex().unwrap().try_lock("k").await.unwrap().is_none());
    }
    by_link.mutex().unwrap().unlock(lease).await.unwrap();
    by_link.set("k", entry(b"1", 1.0)).await.unwrap();
    assert_eq!(payload(&names[1], "k").await.unwrap(), b"1");
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
    let files = fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name());
    assert_eq!(files.collect::<Vec<_>>(), ["cache.db"]);
}

#[tokio::test]
async fn a_look_at_a_value_does_without_the_lock_file() {
    let (_directory, path) = place();
    File::open(&path).unwrap().set("k", entry(b"1", 1.0)).await.unwrap();
    let look = File::builder(&path).read_only(true).lock_file(&path).open().unwrap();
    assert_eq!(payload(&look, "k").await.unwrap(), b"1");
    for _ in 0..2 {
        let fault = look.locks().await.unwrap_err();
        assert!(fault.to_string().contains("the cache itself"), "{fault}");
    }
}

#[tokio::test]
async fn a_look_sees_what_was_written_after_the_last_one() {
    let (_directory, path) = place();
    File::open(&path).unwrap().set("k", entry(b"1", 1.0)).await.unwrap();
    wait_until(|| {
        drop(File::open(&path).unwrap());
        !path.with_file_name("cache.db-wal").exists()
    });
    let look = File::builder(&path).read_only(true).open().unwrap();
    assert_eq!(payload(&look, "k").await.unwrap(), b"1");
    assert_eq!(entries(&look).await, 1);
    let file = File::open(&path).unwrap();
    file.set("k", entry(b"2", 2.0)).await.unwrap();
    file.set("l", entry(b"3", 2.0)).await.unwrap();
    assert_eq!(payload(&look, "k").await.unwrap(), b"2");
    assert_eq!(entries(&look).await, 2);
}

/// The last one to close a file removes the index of its log, and then the log: it may be killed
/// between the two.
#[tokio::test]
async fn a_log_without_its_index_is_read_and_left() {
    let (_directory, path) = place();
    let file = File::open(&path).unwrap();
    file.set("k", entry(b"1", 1.0)).await.unwrap();
    let copy = path.with_file_name("copy.db");
    for suffix in ["", "-wal"] {
        let named = |path: &std::path::Path| path.with_extension(format!("db{suffix}"));
        fs::copy(named(&path), named(&copy)).unwrap();
    }
    let log = || fs::read(copy.with_extension("db-wal")).unwrap();
    let before = log();
    assert!(!before.is_empty());
    let look = File::builder(&copy).read_only(true).open().unwrap();
    assert_eq!(payload(&look, "k").await.unwrap(), b"1");
    assert_eq!(entries(&look).await, 1);
    drop(look);
    assert_eq!(log(), before);
    assert!(!copy.with_extension("db-shm").exists());
    let other = File::open(&copy).unwrap();
    assert_eq!(payload(&other, "k").await.unwrap(), b"1");
}
