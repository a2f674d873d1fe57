//! Collections shared by processes: random pushes, how soon they are seen, and one
//! load for all who start together.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use dogpile::clock::{Clock, SystemClock};
use dogpile_servers::RedisServer;
use dogpile_servers::fleet::{Keeping, Seen, Worker, check};
use tempfile::TempDir;

static SERVER: LazyLock<RedisServer> = LazyLock::new(RedisServer::start);

const WORKER: &str = env!("CARGO_BIN_EXE_dogpile-collection-worker");

fn keeping(name: &str, location: String, scratch: &TempDir) -> Keeping {
    Keeping {
        location,
        name: name.to_owned(),
        table: scratch.path().join(format!("{name}.table")),
        check_interval: 10_000,
        pushes: 0,
        until: 1,
    }
}

fn file(scratch: &TempDir) -> String {
    scratch.path().join("collections.db").display().to_string()
}

fn start(keeping: &Keeping, count: usize) -> Vec<Worker> {
    let mut workers: Vec<Worker> = (0..count).map(|_| keeping.start(WORKER)).collect();
    workers.iter_mut().for_each(Worker::ready);
    workers
}

fn rows(table: &Path) -> u64 {
    std::fs::metadata(table).map_or(0, |table| table.len())
}

/// Four processes, a thousand pushes, readers that check every snapshot.
fn nothing_is_torn(keeping: Keeping) {
    const PROCESSES: usize = 4;
    const PUSHES: u64 = 250;
    let until = 1 + PROCESSES as u64 * PUSHES;
    let keeping = Keeping { pushes: PUSHES, until, ..keeping };
    let mut workers = start(&keeping, PROCESSES);
    workers.iter_mut().for_each(Worker::go);
    let seen: Vec<Vec<Seen>> = workers.into_iter().map(Worker::answers).collect();
    assert_eq!(rows(&keeping.table), until, "one load for all, and one for each push");
    let mut snapshots = 0;
    for seen in &seen {
        let Some(Seen::End(checked, stamp)) = seen.last() else { panic!("it did not end well") };
        assert_eq!(*stamp, until, "all end on the last push");
        snapshots += checked;
    }
    println!("{}: {until} revisions, {snapshots} snapshots checked", keeping.location);
}

#[test]
fn nothing_is_torn_on_redis() {
    let scratch = TempDir::new().unwrap();
    nothing_is_torn(keeping("torn", SERVER.url(), &scratch));
}

#[test]
fn nothing_is_torn_in_a_file() {
    let scratch = TempDir::new().unwrap();
    nothing_is_torn(keeping("torn", file(&scratch), &scratch));
}

/// How long after a push has its data, and after it has returned, all processes
/// have them. Not one of them finds out by looking, least of all the last, which no
/// other follows.
fn a_push_is_seen_at_once(keeping: Keeping) {
    const PROCESSES: usize = 3;
    const PUSHES: u64 = 200;
    let keeping = Keeping { until: 1 + PUSHES, check_interval: 60_000, ..keeping };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let collection = runtime.block_on(keeping.open()).unwrap();
    let mut workers = start(&keeping, PROCESSES);
    workers.iter_mut().for_each(Worker::go);
    let mut pushed = Vec::new();
    for _ in 0..PUSHES {
        std::thread::sleep(Duration::from_millis(10));
        let began = SystemClock.now();
        let revision = collection.blocking().push().unwrap();
        pushed.push((revision, began, SystemClock.now()));
    }
    check(&collection.snapshot());
    let mut late: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    for worker in workers {
        let seen: Vec<Seen> = worker.answers();
        for (revision, began, returned) in &pushed {
            // One that was overtaken before it was looked at counts as the next.
            let first = seen.iter().find_map(|seen| match seen {
                Seen::Revision(number, at) if number >= revision => Some(at),
                _ => None,
            });
            let at = first.expect("every push is seen");
            late[0].push((at - began) * 1e3);
            late[1].push((at - returned) * 1e3);
        }
    }
    for (since, late) in ["began", "returned"].iter().zip(&mut late) {
        late.sort_by(f64::total_cmp);
        let [p50, p90, p99, max] =
            [50, 90, 99, 100].map(|percent| late[(late.len() - 1) * percent / 100]);
        println!(
            "{}: seen by {PROCESSES} processes after the push {since}: \
             p50 {p50:.2} ms, p90 {p90:.2} ms, p99 {p99:.2} ms, max {max:.2} ms",
            keeping.location
        );
        let interval = keeping.check_interval as f64;
        assert!(max < interval / 4.0, "they were told, and did not find out");
    }
}

#[test]
fn a_push_is_seen_at_once_on_redis() {
    let scratch = TempDir::new().unwrap();
    a_push_is_seen_at_once(keeping("seen", SERVER.url(), &scratch));
}

#[test]
fn a_push_is_seen_at_once_in_a_file() {
    let scratch = TempDir::new().unwrap();
    a_push_is_seen_at_once(keeping("seen", file(&scratch), &scratch));
}

/// Eight processes start at once on an empty store: one loads.
#[test]
fn one_load_for_a_fleet_that_starts() {
    let scratch = TempDir::new().unwrap();
    for location in [SERVER.url(), file(&scratch)] {
        let name = if location.contains("//") { "start-redis" } else { "start-file" };
        let keeping = keeping(name, location, &scratch);
        let mut workers = start(&keeping, 8);
        assert_eq!(rows(&keeping.table), 1);
        workers.iter_mut().for_each(Worker::go);
        for worker in workers {
            assert!(matches!(worker.answers::<Seen>().last(), Some(Seen::End(_, 1))));
        }
    }
}
