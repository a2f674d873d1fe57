//! Connections for reading. In WAL mode a reader never waits for a writer and
//! takes microseconds, so reads happen on the caller's thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

use super::database;
use super::error::FileError;
use super::forked::{Permission, Working};
use super::place::Place;
use super::states::States;
use super::still::Still;
use super::{ours, schema};
use crate::backend::BackendError;
use crate::clock::{Clock, SystemClock};
use crate::sync::Mutex;
use crate::value::Entry;

/// Connections kept for the next reader.
const MOST_IDLE: usize = 8;

/// The seconds between two checks that the file is still at its path.
const CHECK_SECONDS: f64 = 1.0;

/// The number of looks at a value that others may change.
const LOOKS: usize = 3;

/// Keys read before other tasks get their turn.
pub(super) const CHUNK: usize = 256;

/// The idle connections of a file.
#[derive(Debug)]
pub(super) struct Readers {
    place: Arc<Place>,
    permission: Permission,
    /// Nothing is changed by looking.
    only_looks: bool,
    #[expect(clippy::vec_box, reason = "each read moves one to its reader and back")]
    idle: Mutex<Vec<Box<Idle>>>,
    states: States,
    /// When the file's identity was last checked, as bits.
    checked: AtomicU64,
}

/// A connection that nobody uses now, or one at a time.
#[derive(Debug)]
struct Idle {
    generation: u64,
    connection: Connection,
    /// It only looks, at a file that is still.
    still: Option<Still>,
    /// Its number of the file's state when it was last asked for that.
    seen: Option<i64>,
}

/// A connection on loan.
pub(super) struct Reader<'a> {
    readers: &'a Readers,
    lent: Option<Box<Idle>>,
    /// Until after its connection.
    _working: Working,
}

impl Readers {
    pub(super) fn new(place: Arc<Place>, permission: Permission, only_looks: bool) -> Self {
        let (idle, states) = (Mutex::default(), States::new());
        Self { place, permission, only_looks, idle, states, checked: AtomicU64::new(0) }
    }

    /// Is there a file, sound and ours? Then its first connection is idle now;
    /// otherwise the writer has work to do.
    pub(super) fn find_ready(&self) -> Result<bool, BackendError> {
        let only_looks = self.only_looks;
        let open = |path: &_| {
            if only_looks {
                ours::look(path).map(Some)
            } else {
                Ok(schema::open_ready(path)?.map(|connection| (connection, None)))
            }
        };
        match self.place.open(open) {
            Ok(Some((connection, still))) => {
                let generation = self.place.generation();
                self.keep(Box::new(Idle { generation, connection, still, seen: None }));
                Ok(true)
            }
            Err(FileError::Backend(error)) => Err(error),
            Ok(None) | Err(_) => Ok(false),
        }
    }

    /// Returns the entry stored under `key`.
    pub(super) fn get(&self, key: &str) -> Result<Option<Entry>, FileError> {
        let mut looks = if self.only_looks { LOOKS } else { 1 };
        loop {
            looks -= 1;
            // A file that was written to since is noticed after the look.
            match self.lend(|_| true)?.with(|connection| database::get(connection, key)) {
                Err(FileError::Busy) if looks > 0 => {}
                read => return read,
            }
        }
    }

    /// Returns the number of the file's present state: a greater one once anything was changed in it,
    /// whoever changed it.
    pub(super) fn state(&self) -> Result<u64, FileError> {
        let mut reader = self.borrow()?;
        let now = reader.with(database::data_version)?;
        // While nobody else has the connection.
        let lent = reader.lent.as_mut().ok_or(FileError::Replaced)?;
        Ok(self.states.number(&mut lent.seen, now))
    }

    pub(super) fn borrow(&self) -> Result<Reader<'_>, FileError> {
        self.lend(Idle::lasts)
    }

    /// Lends an idle connection if it is still `good`, or a new one.
    fn lend(&self, good: impl FnOnce(&Idle) -> bool) -> Result<Reader<'_>, FileError> {
        let working = self.permission.begin_alone();
        let now = SystemClock.coarse_now();
        let checked = f64::from_bits(self.checked.load(Ordering::Relaxed));
        if !(checked..checked + CHECK_SECONDS).contains(&now) {
            if !self.place.is_current() {
                return Err(FileError::Replaced);
            }
            self.checked.store(now.to_bits(), Ordering::Relaxed);
        }
        let generation = self.place.generation();
        let mut idle = self.idle.lock();
        let mut found = idle.pop();
        if found.as_ref().is_some_and(|found| found.generation != generation) {
            idle.clear();
            found = None;
        }
        drop(idle);
        let lent = match found.filter(|found| good(found)) {
            Some(found) => found,
            None => self.open(generation)?,
        };
        Ok(Reader { readers: self, lent: Some(lent), _working: working })
    }
}

impl Readers {
    fn open(&self, generation: u64) -> Result<Box<Idle>, FileError> {
        let path = &self.place.path;
        let open = || schema::open_reader(path).map(|connection| (connection, None));
        let opened = if self.only_looks { ours::look(path) } else { open() };
        // It may be another file than the writer's, or none.
        if !self.place.is_current() {
            return Err(FileError::Replaced);
        }
        let idle = |(connection, still)| Idle { generation, connection, still, seen: None };
        opened.map(idle).map(Box::new)
    }

    /// Keeps a connection for the next reader. One that only looks is for one look, unless the file
    /// is still.
    fn keep(&self, reader: Box<Idle>) {
        let is_for_more = !self.only_looks || reader.still.is_some();
        let mut idle = self.idle.lock();
        if is_for_more && idle.len() < MOST_IDLE {
            idle.push(reader);
        }
    }
}

impl Idle {
    /// Has nobody written to the file, where that must not be?
    fn lasts(&self) -> bool {
        self.still.as_ref().is_none_or(Still::lasts)
    }
}

impl Reader<'_> {
    /// Reads. A connection that failed is not used again.
    pub(super) fn with<T>(
        &mut self,
        read: impl FnOnce(&Connection) -> Result<T, FileError>,
    ) -> Result<T, FileError> {
        let lent = self.lent.take().ok_or(FileError::Replaced)?;
        let answer = read(&lent.connection);
        // Somebody may have written meanwhile, which no lock has kept from it.
        if !lent.lasts() {
            return Err(FileError::Busy);
        }
        let answer = answer?;
        self.lent = Some(lent);
        Ok(answer)
    }

    /// Each of `keys`, all as they were at one moment; between two chunks
    /// other tasks get their turn.
    pub(super) async fn get_all(mut self, keys: &[&str]) -> Result<Vec<Option<Entry>>, FileError> {
        let mut entries = Vec::with_capacity(keys.len());
        self.with(database::begin_reading)?;
        for chunk in keys.chunks(CHUNK) {
            if !entries.is_empty() {
                yield_now().await;
            }
            self.with(|connection| {
                for key in chunk {
                    entries.push(database::get(connection, key)?);
                }
                Ok(())
            })?;
        }
        self.with(database::end_reading)?;
        Ok(entries)
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        let _working = self.permission.begin();
        self.idle.lock().clear();
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        // One that was left within a transaction is closed instead.
        if let Some(lent) = self.lent.take().filter(|lent| lent.connection.is_autocommit()) {
            self.readers.keep(lent);
        }
    }
}

/// Lets the executor run others before it goes on.
async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
