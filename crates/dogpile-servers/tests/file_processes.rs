//! The file backend shared by processes: races, kills, and what Python reads
//! and writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dogpile::backend::File;
use dogpile::clock::epoch_seconds;
use dogpile::{Config, Region};
use dogpile_servers::fleet::{self, Fleet, Race, Worker};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::task::JoinSet;

fn fleet(directory: &TempDir) -> Fleet {
    let filename = directory.path().join("cache.db").display().to_string();
    let settings = [("backend", "file".to_owned()), ("arguments.filename", filename)];
    Fleet::new(env!("CARGO_BIN_EXE_dogpile-worker"), settings, directory.path())
}

fn region(directory: &TempDir) -> Region {
    let region = Region::new("parent");
    let file = File::open(directory.path().join("cache.db")).unwrap();
    region.configure(Config::new(file).shared_keys()).unwrap();
    region
}

#[test]
fn one_creation_in_the_fleet_and_everyone_is_woken() {
    let directory = TempDir::new().unwrap();
    let answers = fleet::one_creation_in_the_fleet(&fleet(&directory), "cold");
    let stored = region(&directory).blocking().get_with_metadata::<String>("cold").unwrap();
    let stored = epoch_seconds(stored.unwrap().cached_time());
    let mut late: Vec<f64> = answers.iter().map(|a| (a.at - stored) * 1e3).collect();
    late.sort_by(f64::total_cmp);
    let [p50, p99] = [50, 99].map(|percent| late[(late.len() - 1) * percent / 100]);
    println!("answers after the store: p50 {p50:.2} ms, p99 {p99:.2} ms");
}

#[test]
fn troubled_creators_have_one_successor() {
    let directory = TempDir::new().unwrap();
    fleet::a_failed_creator_has_one_successor(&fleet(&directory), "failing");
    fleet::a_killed_creator_has_one_successor(&fleet(&directory), "dying");
}

#[test]
fn overlapping_calls_create_each_key_once() {
    let directory = TempDir::new().unwrap();
    fleet::overlapping_calls_create_each_key_once(&fleet(&directory), "overlap");
}

/// Two handles on one file, as two processes have them, and a row that one of them changes
/// while both create from it: nobody who asks after a change gets what was before it.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_given_what_was_before_a_change() {
    const CHANGES: u64 = 300;
    let directory = TempDir::new().unwrap();
    let regions = [region(&directory), region(&directory)].map(Arc::new);
    let [row, changed] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
    let mut readers = JoinSet::new();
    for reader in 0..8 {
        let (region, row, changed) = (regions[reader % 2].clone(), row.clone(), changed.clone());
        readers.spawn(async move {
            let mut created = 0;
            while changed.load(Ordering::SeqCst) < CHANGES {
                let least = changed.load(Ordering::SeqCst);
                let creator = async || {
                    created += 1;
                    let value = row.load(Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(value % 3)).await;
                    value
                };
                let value: u64 = region.get_or_create("row", creator).await;
                assert!(value >= least, "{value} was read before change {least}");
                tokio::task::yield_now().await;
            }
            created
        });
    }
    for change in 1..=CHANGES {
        row.store(change, Ordering::SeqCst);
        match change % 3 {
            0 => regions[0].set("row", &change).await.unwrap(),
            1 => regions[0].delete("row").await.unwrap(),
            _ => {
                let creator = async || row.load(Ordering::SeqCst);
                let _: u64 = regions[0].entry("row").refresh(creator).await;
            }
        }
        changed.store(change, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(change % 2)).await;
    }
    let mut created = 0;
    while let Some(count) = readers.join_next().await {
        created += count.unwrap();
    }
    println!("{created} creations for {CHANGES} changes");
}

/// A thousand kills of writers at random moments: the file stays sound, and
/// nobody ever reads a value that was not written whole.
#[test]
fn killed_writers_leave_the_file_whole() {
    const KILLS: usize = 1_000;
    let directory = TempDir::new().unwrap();
    let fleet = fleet(&directory).sized(4, 2);
    let region = region(&directory);
    let start = || {
        let mut worker = fleet.start(Race::Write, "killed");
        worker.ready();
        worker.go();
        worker
    };
    let mut workers: Vec<Worker> = (0..4).map(|_| start()).collect();
    let mut read = 0;
    for kill in 0..KILLS {
        workers.remove(kill % 4 * 7 % workers.len()).kill();
        for number in 0..20 {
            let key = format!("whole-{}", (kill * 20 + number) % 500);
            if let Some(value) = region.blocking().get::<String>(&key).unwrap() {
                assert!(fleet::is_whole(&value), "{key} holds a torn value: {value}");
                read += 1;
            }
        }
        workers.push(start());
    }
    workers.into_iter().for_each(Worker::kill);
    assert!(read > KILLS, "only {read} values were there to be read");
    let path = directory.path().join("cache.db");
    let connection = Connection::open(&path).unwrap();
    let verdict: String =
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    assert_size_is_true(&connection);
    assert!(!path.with_file_name("cache.db.damaged-1").exists());
}

/// The size that the triggers keep is what counting gives.
fn assert_size_is_true(connection: &Connection) {
    let kept: (i64, i64) = connection
        .query_row("SELECT entries, bytes FROM dogpile_size", [], |r| Ok((r.get(0)?, r.get(1)?)))
        .unwrap();
    let sql = "SELECT count(*), coalesce(sum(2 * length(key) + length(value) + 32), 0) FROM Dict";
    let counted: (i64, i64) =
        connection.query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
    assert_eq!(kept, counted);
}
