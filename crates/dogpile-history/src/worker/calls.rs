//! The calls of a worker, each with its record.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use dogpile::invalidation::Mode;
use dogpile::{Lookup, Region, Status};
use tokio::sync::{Mutex, MutexGuard};

use super::journal::{Creating, Numbers, Operation};
use super::way::Way;
use crate::cache;
use crate::clock::now;
use crate::database::Database;
use crate::plan::{Job, KEYS};
use crate::record::{Answer, Given, Id, Kind, Log, Record, Row};

/// The state that the callers of a worker share.
pub(super) struct Worker {
    pub(super) job: Job,
    region: Region,
    database: Database,
    pub(super) log: Log,
    pub(super) numbers: Numbers,
    /// Held while a key is changed: changes by its owner come one after the other.
    changing: Vec<Mutex<()>>,
}

/// The treatment of a stored value by a creating call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wants {
    /// Any value.
    Any,
    /// A value at most so old, or an older one while a new one is created.
    Young(Duration),
    /// A value at most so old, and nothing else.
    OnlyYoung(Duration),
}

type Keys<'k> = &'k [usize];

impl Worker {
    pub(super) fn open(job: Job) -> Result<Self, Box<dyn std::error::Error>> {
        Ok(Self {
            region: cache::open(&job)?,
            database: Database::open(&job.directory.join("database"))?,
            log: Log::create(&job.directory.join(format!("{}.log", job.process)))?,
            numbers: Numbers::of(job.process),
            changing: (0..KEYS).map(|_| Mutex::new(())).collect(),
            job,
        })
    }

    /// Lets a first use cost what it costs.
    pub(super) async fn warm_up(&self) {
        let _ = self.region.get::<u64>("warm-up").await;
    }

    /// Writes down how many keys the near tier has answered, if there is one.
    pub(super) fn log_near_hits(&self) {
        if self.job.near.is_some() {
            self.log.write(&Record::NearHits(self.region.statistics().near_hits));
        }
    }

    /// Returns whether this process bumps the versions of `key`.
    pub(super) fn owns(&self, key: usize) -> bool {
        key % self.job.workers == self.job.index
    }

    /// Takes the right to change `key`, unless another caller has it.
    pub(super) fn try_changing(&self, key: usize) -> Option<MutexGuard<'_, ()>> {
        self.changing[key].try_lock().ok()
    }

    pub(super) async fn get(&self, way: Way, key: usize) {
        self.read(way, Kind::Get, key).await;
    }

    /// Reads all keys when everything is over.
    pub(super) async fn look(&self) {
        for key in 0..KEYS {
            self.read(Way::Task, Kind::Look, key).await;
        }
    }

    async fn read(&self, way: Way, kind: Kind, key: usize) {
        let operation = Operation::begin(self, kind, now(), plain(&[key]));
        let read = way.get(&self.region, &name(key)).await;
        operation.end(read.map(|row| row.map(|row| fresh(key, row)).into_iter().collect()));
    }

    pub(super) async fn get_multi(&self, way: Way, keys: Keys<'_>) {
        let operation = Operation::begin(self, Kind::Get, now(), plain(keys));
        let read = way.get_multi(&self.region, names(keys)).await;
        operation.end(read.map(|rows| {
            let found = keys.iter().zip(rows).filter_map(|(&key, row)| Some((key, row?)));
            found.map(|(key, row)| fresh(key, row)).collect()
        }));
    }

    pub(super) async fn create(&self, way: Way, key: usize, wants: Wants, takes: Duration) {
        let operation = Operation::begin(self, Kind::Create, now(), plain(&[key]));
        let creation = || self.begin_creation(operation.id, key);
        let lookup = way.lookup(&self.region, &name(key), wants, takes, creation).await;
        operation.end(Ok::<_, ()>(vec![answer(key, &lookup)]));
    }

    /// Creates what is missing of several keys. Such a call does not say whether a value is
    /// stale.
    pub(super) async fn create_multi(&self, way: Way, keys: Keys<'_>, takes: Duration) {
        let operation = Operation::begin(self, Kind::Create, now(), plain(keys));
        let creation = |names: Vec<String>| {
            let keys = names.iter().filter_map(|name| key_of(name));
            keys.map(|key| self.begin_creation(operation.id, key)).collect()
        };
        let rows = way.create_multi(&self.region, names(keys), takes, creation).await;
        operation.end(rows.map(|rows: Vec<Row>| {
            let given = |(&key, row)| Answer { key, row, given: Given::Stale };
            keys.iter().zip(rows).map(given).collect()
        }));
    }

    pub(super) async fn delete(&self, way: Way, keys: Keys<'_>) -> io::Result<()> {
        let (begin, bumped) = (now(), self.bump(keys)?);
        let operation = Operation::begin(self, Kind::Hard, begin, bumped);
        let deleted = way.delete(&self.region, names(keys)).await;
        operation.end(deleted.map(|()| Vec::new()));
        Ok(())
    }

    pub(super) async fn set(&self, way: Way, keys: Keys<'_>) -> io::Result<()> {
        let (operation, rows) = self.begin_set(keys)?;
        let set = way.set(&self.region, &rows).await;
        operation.end(set.map(|()| Vec::new()));
        Ok(())
    }

    /// Asks for the same as a task does, and gives it up where that would wait. Whatever is asked for
    /// next by this caller comes later.
    pub(super) fn hand_over(&self, keys: Keys<'_>) -> io::Result<()> {
        let (operation, rows) = self.begin_set(keys)?;
        let set = pin!(Way::Task.set(&self.region, &rows));
        match set.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(set) => operation.end(set.map(|()| Vec::new())),
            Poll::Pending => operation.give_up(),
        }
        Ok(())
    }

    fn begin_set(&self, keys: Keys<'_>) -> io::Result<(Operation<'_>, Vec<(String, Row)>)> {
        let (begin, bumped) = (now(), self.bump(keys)?);
        let operation = Operation::begin(self, Kind::Hard, begin, bumped.clone());
        let by = operation.id;
        let row = |(key, version)| (name(key), Row { key, version, by });
        Ok((operation, bumped.into_iter().map(row).collect()))
    }

    /// Creates `key` once more. Its owner bumps it before; others refresh what they know.
    pub(super) async fn refresh(&self, way: Way, key: usize, takes: Duration) -> io::Result<()> {
        let begin = now();
        let version =
            if self.owns(key) { self.database.bump(key)? } else { self.database.version(key)? };
        let operation = Operation::begin(self, Kind::Hard, begin, vec![(key, version)]);
        let creation = || self.begin_creation(operation.id, key);
        let created = way.refresh(&self.region, &name(key), takes, creation).await;
        operation.end(created.map(|_| Vec::new()));
        Ok(())
    }

    pub(super) async fn expire(&self, way: Way, keys: Keys<'_>) -> io::Result<()> {
        let (begin, bumped) = (now(), self.bump(keys)?);
        let operation = Operation::begin(self, Kind::Soft, begin, bumped);
        let expired = way.expire(&self.region, names(keys)).await;
        operation.end(expired.map(|()| Vec::new()));
        Ok(())
    }

    /// Bumps `keys` and invalidates the region, and with it what is known of all keys.
    pub(super) async fn invalidate(&self, way: Way, keys: Keys<'_>, mode: Mode) -> io::Result<()> {
        let begin = now();
        self.bump(keys)?;
        let versions = (0..KEYS).map(|key| Ok((key, self.database.version(key)?)));
        let versions = versions.collect::<io::Result<_>>()?;
        let kind = if mode == Mode::Hard { Kind::Hard } else { Kind::Soft };
        let operation = Operation::begin(self, kind, begin, versions);
        let invalidated = way.invalidate(&self.region, mode).await;
        operation.end(invalidated.map(|()| Vec::new()));
        Ok(())
    }

    fn bump(&self, keys: Keys<'_>) -> io::Result<Vec<(usize, u64)>> {
        keys.iter().map(|&key| Ok((key, self.database.bump(key)?))).collect()
    }

    fn begin_creation(&self, operation: Id, key: usize) -> Creating<'_> {
        let begin = now();
        let version = self.database.version(key).expect("the database can be read");
        Creating::begin(self, operation, key, begin, version)
    }
}

fn fresh(key: usize, row: Row) -> Answer {
    Answer { key, row, given: Given::Fresh }
}

fn answer(key: usize, lookup: &Lookup<Row>) -> Answer {
    let given = if lookup.status == Status::Stale { Given::Stale } else { Given::Fresh };
    Answer { key, row: lookup.value, given }
}

fn plain(keys: Keys<'_>) -> Vec<(usize, u64)> {
    keys.iter().map(|&key| (key, 0)).collect()
}

fn name(key: usize) -> String {
    format!("row-{key}")
}

fn names(keys: Keys<'_>) -> Vec<String> {
    keys.iter().map(|&key| name(key)).collect()
}

fn key_of(name: &str) -> Option<usize> {
    name.strip_prefix("row-")?.parse().ok()
}
