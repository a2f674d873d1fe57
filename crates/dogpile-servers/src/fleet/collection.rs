//! Processes that share a collection: they push at random, and check that what
//! they read is always whole.
//!
//! The table that they load is a file which is one byte longer after each load,
//! so that a later load has a higher stamp; every entity bears it.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dogpile::clock::{Clock, SystemClock};
use dogpile::collections::{CachedMapping, Snapshot};
use dogpile::config::backend_at;
use serde::{Deserialize, Serialize};

use super::Worker;
use super::job::{GO, READY};

/// The job of a worker of a collection, as its only argument.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Keeping {
    /// The place where it is stored; see [`backend_at`].
    pub location: String,
    /// The collection's name.
    pub name: String,
    /// The file that stands for the table.
    pub table: PathBuf,
    /// The interval at which the store is asked, whatever it tells; in milliseconds.
    pub check_interval: u64,
    /// The number of times that this process pushes.
    pub pushes: u64,
    /// The number of loads that the table has had when it ends.
    pub until: u64,
}

/// The observations of a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Seen {
    /// A revision for the first time, at this moment in epoch seconds.
    Revision(u64, f64),
    /// At the end: how many snapshots were checked, and the last one's stamp.
    End(u64, u64),
}

impl Keeping {
    /// Starts the program at `worker` to keep the collection.
    pub fn start(&self, worker: impl AsRef<Path>) -> Worker {
        Worker::launch(worker.as_ref(), &serde_json::to_string(self).expect("it is plain data"))
    }

    /// The table's next state.
    pub fn load(&self) -> io::Result<Entities> {
        let mut table = OpenOptions::new().append(true).create(true).open(&self.table)?;
        table.write_all(b".")?;
        let stamp = table.metadata()?.len();
        Ok((0..ENTITIES).map(|id| (id, Entity { stamp, group: group_of(id, stamp) })).collect())
    }

    /// The collection.
    pub async fn open(&self) -> Result<CachedMapping<u32, Entity>, dogpile::Error> {
        let backend = backend_at(&self.location).expect("it is a good location");
        let keeping = self.clone();
        CachedMapping::builder_blocking(&self.name, backend, move || keeping.load())
            .check_interval(Duration::from_millis(self.check_interval))
            .part_bytes(2_048)
            .open()
            .await
    }
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    stamp: u64,
    group: u32,
}

/// The table.
pub type Entities = HashMap<u32, Entity>;

const ENTITIES: u32 = 200;

fn group_of(id: u32, stamp: u64) -> u32 {
    (id.wrapping_mul(31) ^ u32::try_from(stamp % 1_009).unwrap_or(0)) % 10
}

fn by_group(entities: &Entities) -> HashMap<u32, Vec<u32>> {
    let mut groups: HashMap<u32, Vec<u32>> = HashMap::new();
    for (id, entity) in entities {
        groups.entry(entity.group).or_default().push(*id);
    }
    groups
}

fn sizes(groups: &HashMap<u32, Vec<u32>>) -> usize {
    groups.values().map(Vec::len).sum()
}

/// Is it of one revision, and its views too? The stamp.
pub fn check(now: &Snapshot<Entities>) -> u64 {
    let stamp = now[&0].stamp;
    let groups = now.view(by_group);
    assert_eq!((now.len(), groups.revision()), (ENTITIES as usize, now.revision()));
    for (id, entity) in now {
        assert_eq!((entity.stamp, entity.group), (stamp, group_of(*id, stamp)), "torn");
        assert!(groups[&entity.group].contains(id), "the view is of another revision");
    }
    assert_eq!(*groups.view(sizes), ENTITIES as usize);
    stamp
}

/// The whole of a worker program for collections.
pub fn collection_worker() {
    let job = std::env::args().nth(1).expect("a job is the only argument");
    let job: Keeping = serde_json::from_str(&job).expect("the job is one of this version's");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be started");
    let collection = runtime.block_on(job.open()).expect("the collection can be opened");
    println!("{READY}");
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).expect("the signal is text");
    assert_eq!(line.trim(), GO);

    let (ended, checked) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                read(&collection, &checked, || ended.load(Ordering::Relaxed));
            });
        }
        scope.spawn(|| watch(&collection, job.until));
        for n in 0..job.pushes {
            let pause = (u64::from(std::process::id()) * 7 + n * 13) % 5;
            std::thread::sleep(Duration::from_millis(pause));
            collection.blocking().push().expect("the store is there");
        }
        while collection.snapshot()[&0].stamp < job.until {
            std::thread::sleep(Duration::from_millis(1));
        }
        ended.store(true, Ordering::Relaxed);
    });
    say(&Seen::End(checked.load(Ordering::Relaxed), check(&collection.snapshot())));
}

/// Checks one snapshot after the other: each is whole, and none is older than the
/// one before.
fn read(collection: &CachedMapping<u32, Entity>, checked: &AtomicU64, ended: impl Fn() -> bool) {
    let mut last = (0, 0);
    while !ended() {
        let now = collection.snapshot();
        let seen = (now.revision(), check(&now));
        assert!(seen == last || (seen.0 > last.0 && seen.1 > last.1), "{seen:?} after {last:?}");
        last = seen;
        checked.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Says when each revision was seen first.
fn watch(collection: &CachedMapping<u32, Entity>, until: u64) {
    let mut last = 0;
    while last < until {
        let now = collection.snapshot();
        if now[&0].stamp != last {
            say(&Seen::Revision(now.revision(), SystemClock.now()));
            last = now[&0].stamp;
        }
        drop(now);
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn say(seen: &Seen) {
    println!("{}", serde_json::to_string(seen).expect("it is plain data"));
}
