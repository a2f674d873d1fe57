//! The SQLite database: how it is opened and checked, its tables, and what is
//! asked of them. Everything here blocks.
//!
//! Values are in the table that CPython's `dbm.sqlite3` uses, so Python reads
//! what we write and the other way round. Its implicit `rowid` grows with every
//! store, which makes it the order of creation. Beside it, `dogpile_size` has
//! one row with what the entries take, kept true by triggers, whoever writes.

use std::ffi::c_int;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use crate::backend::BackendError;
use crate::clock::Timestamp;
use crate::value::{Entry, MAX_HEADER};

/// Marks a file as ours: "dogp".
const APPLICATION_ID: i32 = 0x646f_6770;
/// The version of our tables.
const SCHEMA_VERSION: i32 = 1;

/// What an entry takes in the file, nearly: its key is in the table and in its
/// index.
macro_rules! cost {
    ($row:literal) => {
        concat!("(2 * length(", $row, "key) + length(", $row, "value) + 32)")
    };
}

/// The same for an entry that is not stored yet.
pub(super) fn cost(key: &str, frame: &Bytes) -> u64 {
    2 * key.len() as u64 + frame.len() as u64 + 32
}

const TABLES: &str = concat!(
    "CREATE TABLE IF NOT EXISTS Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL);
     CREATE TABLE IF NOT EXISTS dogpile_size (
         id INTEGER PRIMARY KEY CHECK (id = 1),
         entries INTEGER NOT NULL,
         bytes INTEGER NOT NULL
     );
     INSERT OR IGNORE INTO dogpile_size
         SELECT 1, count(*), coalesce(sum(",
    cost!(""),
    "), 0) FROM Dict;
     CREATE TRIGGER IF NOT EXISTS dogpile_inserted BEFORE INSERT ON Dict BEGIN
         UPDATE dogpile_size SET
             entries = entries + 1 - (SELECT count(*) FROM Dict WHERE key = NEW.key),
             bytes = bytes + ",
    cost!("NEW."),
    " - coalesce((SELECT ",
    cost!(""),
    " FROM Dict WHERE key = NEW.key), 0);
     END;
     CREATE TRIGGER IF NOT EXISTS dogpile_deleted AFTER DELETE ON Dict BEGIN
         UPDATE dogpile_size SET entries = entries - 1, bytes = bytes - ",
    cost!("OLD."),
    ";
     END;
     CREATE TRIGGER IF NOT EXISTS dogpile_updated AFTER UPDATE ON Dict BEGIN
         UPDATE dogpile_size SET bytes = bytes + ",
    cost!("NEW."),
    " - ",
    cost!("OLD."),
    ";
     END;"
);

/// Why the database did not do what it was asked.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The file is damaged, or no SQLite database at all.
    Damaged(String),
    /// Somebody else has it locked.
    Busy,
    /// It is another file by now: moved aside, or deleted.
    Replaced,
    /// Anything else, fit for the caller.
    Fault(BackendError),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        let fault = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                return Self::Damaged(error.to_string());
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => return Self::Busy,
            Some(ErrorCode::TooBig) => BackendError::refused(error),
            Some(
                ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::ReadOnly,
            ) => BackendError::unavailable(error),
            _ => BackendError::other(error),
        };
        Self::Fault(fault)
    }
}

/// One stored key.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) key: Vec<u8>,
    pub(super) value_bytes: u64,
}

/// What the entries take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

/// How long set-up goes on trying while other processes do the same, at least.
const SETUP_LIMIT: Duration = Duration::from_secs(2);
const SETUP_PAUSE: Duration = Duration::from_millis(10);

/// Opens the file at `path`, makes it if there is none, and adds our tables
/// to one that Python made.
pub(super) fn open(path: &Path, busy_timeout: Duration) -> Result<Connection, Trouble> {
    check_path(path).map_err(Trouble::Fault)?;
    let connection = connect(path, OpenFlags::SQLITE_OPEN_CREATE)?;
    connection.busy_timeout(busy_timeout)?;
    let began = Instant::now();
    loop {
        match set_up(&connection) {
            // Switching to WAL does not wait by itself; the rest does.
            Err(Trouble::Busy) if began.elapsed() < busy_timeout.max(SETUP_LIMIT) => {
                std::thread::sleep(SETUP_PAUSE);
            }
            other => return other.map(|()| connection),
        }
    }
}

/// A connection for reading. It never waits: what is busy is asked of the
/// writer.
pub(super) fn open_reader(path: &Path) -> Result<Connection, Trouble> {
    let connection = connect(path, OpenFlags::empty())?;
    connection.busy_timeout(Duration::ZERO)?;
    Ok(connection)
}

/// A reading connection to a file that needs no set-up; `None` if it does.
pub(super) fn open_ready(path: &Path) -> Result<Option<Connection>, Trouble> {
    if is_empty(path)? {
        return Ok(None);
    }
    let connection = open_reader(path)?;
    Ok(is_set_up(&connection)?.then_some(connection))
}

fn connect(path: &Path, more: OpenFlags) -> Result<Connection, Trouble> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;")?;
    Ok(connection)
}

/// A file that is there must be a regular one; if there is none, its directory
/// must be there.
pub(super) fn check_path(path: &Path) -> Result<(), BackendError> {
    let problem = match fs::metadata(path) {
        Ok(found) if found.is_file() => return Ok(()),
        Ok(_) => format!("`{}` is not a regular file", path.display()),
        Err(error) if error.kind() == ErrorKind::NotFound => match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => {
                format!("there is no directory `{}`: make it first", parent.display())
            }
            _ => return Ok(()),
        },
        Err(error) => format!("`{}`: {error}", path.display()),
    };
    Err(BackendError::unavailable(problem))
}

/// Is there nothing in the file yet, or no file? Only its metadata are asked: whoever
/// opens and closes a database's file outside SQLite drops all locks that the process
/// holds on it, and the next peer to close takes itself for the last one.
fn is_empty(path: &Path) -> Result<bool, Trouble> {
    check_path(path).map_err(Trouble::Fault)?;
    Ok(fs::metadata(path).map_or(true, |found| found.len() == 0))
}

fn set_up(connection: &Connection) -> Result<(), Trouble> {
    let ready = is_set_up(connection)?;
    if !ready {
        refuse_foreign(connection)?;
    }
    connection
        .execute_batch("PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 4194304;")?;
    if ready {
        return Ok(());
    }
    // Has an effect only while the file is empty.
    connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL;")?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let made = connection.execute_batch(&format!(
        "{TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
    ));
    end(connection, made.map_err(Trouble::from))
}

/// Are our tables there, as this version makes them?
fn is_set_up(connection: &Connection) -> Result<bool, Trouble> {
    if pragma::<i32>(connection, "application_id")? != APPLICATION_ID {
        return Ok(false);
    }
    let version: i32 = pragma(connection, "user_version")?;
    if version > SCHEMA_VERSION {
        let message = "the cache file was made by a newer version of dogpile";
        return Err(Trouble::Fault(BackendError::other(message)));
    }
    Ok(version == SCHEMA_VERSION)
}

/// A database of another program's is left alone.
fn refuse_foreign(connection: &Connection) -> Result<(), Trouble> {
    let application_id: i32 = pragma(connection, "application_id")?;
    let refuse = |what: String| {
        let message = format!(
            "the file is another program's SQLite database ({what}): give the cache a file of its own"
        );
        Err(Trouble::Fault(BackendError::other(message)))
    };
    if application_id != 0 && application_id != APPLICATION_ID {
        return refuse(format!("its application id is {application_id}"));
    }
    let mut statement = connection.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    )?;
    let tables: Vec<String> =
        statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    if let Some(table) = tables.iter().find(|name| *name != "Dict" && *name != "dogpile_size") {
        return refuse(format!("it has a table `{table}`"));
    }
    let mut statement = connection.prepare("SELECT name FROM pragma_table_info('Dict')")?;
    let columns: Vec<String> =
        statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    if !columns.is_empty() && columns != ["key", "value"] {
        return refuse(format!("its table `Dict` has the columns {}", columns.join(", ")));
    }
    Ok(())
}

fn pragma<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> Result<T, Trouble> {
    Ok(connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))?)
}

/// Runs `work` as one transaction that may write.
pub(super) fn transaction<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    end(connection, work(connection))
}

/// Commits if all went well, or takes everything back.
fn end<T>(connection: &Connection, worked: Result<T, Trouble>) -> Result<T, Trouble> {
    let committed = worked.and_then(|value| {
        connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(value)
    });
    if committed.is_err() && !connection.is_autocommit() {
        // Fails only where SQLite has rolled back by itself.
        let _ = connection.execute_batch("ROLLBACK");
    }
    committed
}

pub(super) fn get(connection: &Connection, key: &str) -> Result<Option<Entry>, Trouble> {
    let mut statement = connection.prepare_cached("SELECT value FROM Dict WHERE key = ?1")?;
    let mut rows = statement.query([key.as_bytes()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let frame = match row.get_ref(0)?.as_bytes_or_null() {
        Ok(Some(bytes)) => Bytes::copy_from_slice(bytes),
        _ => Bytes::new(),
    };
    Ok(Some(Entry::from_frame(&frame)))
}

/// What tells one value of a key from the next: its row, and the beginning of
/// its header, since a row's number can come back after the last one was deleted.
pub(super) type Mark = (i64, Vec<u8>);

pub(super) fn mark(connection: &Connection, key: &str) -> Result<Option<Mark>, Trouble> {
    let sql = "SELECT rowid, CAST(substr(value, 1, 64) AS BLOB) FROM Dict WHERE key = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mark = statement.query_row([key.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)));
    Ok(mark.optional()?)
}

/// From here on, all that is read is as it was at one moment.
pub(super) fn begin_reading(connection: &Connection) -> Result<(), Trouble> {
    connection.prepare_cached("BEGIN")?.execute([])?;
    Ok(())
}

pub(super) fn end_reading(connection: &Connection) -> Result<(), Trouble> {
    end(connection, Ok(()))
}

/// Each of `keys`, all as they were at one moment.
pub(super) fn get_all(
    connection: &Connection,
    keys: &[String],
) -> Result<Vec<Option<Entry>>, Trouble> {
    begin_reading(connection)?;
    end(connection, keys.iter().map(|key| get(connection, key)).collect())
}

pub(super) fn put(connection: &Connection, key: &str, frame: &[u8]) -> Result<(), Trouble> {
    let sql = "REPLACE INTO Dict (key, value) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute(params![key.as_bytes(), frame])?;
    Ok(())
}

pub(super) fn delete(connection: &Connection, key: &str) -> Result<(), Trouble> {
    connection.prepare_cached("DELETE FROM Dict WHERE key = ?1")?.execute([key.as_bytes()])?;
    Ok(())
}

pub(super) fn clear(connection: &Connection) -> Result<(), Trouble> {
    connection.execute_batch(
        "DELETE FROM Dict; UPDATE dogpile_size SET entries = 0, bytes = 0 WHERE id = 1;",
    )?;
    Ok(())
}

pub(super) fn size(connection: &Connection) -> Result<Size, Trouble> {
    let mut statement = connection.prepare_cached("SELECT entries, bytes FROM dogpile_size")?;
    let counted = statement.query_row([], |row| {
        let (entries, bytes): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok(Size { entries: entries.max(0).cast_unsigned(), bytes: bytes.max(0).cast_unsigned() })
    });
    Ok(counted.optional()?.unwrap_or(Size { entries: 0, bytes: 0 }))
}

/// Counts again: numbers that anybody can write to are believed only so far.
pub(super) fn recount(connection: &Connection) -> Result<(), Trouble> {
    let sql = concat!(
        "REPLACE INTO dogpile_size SELECT 1, count(*), coalesce(sum(",
        cost!(""),
        "), 0) FROM Dict"
    );
    connection.execute(sql, [])?;
    Ok(())
}

/// Removes the `count` entries stored longest ago, of those that are not `spared`; how
/// many there were.
pub(super) fn evict(
    connection: &Connection,
    count: u64,
    spared: &dyn Fn(&[u8]) -> bool,
) -> Result<usize, Trouble> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut oldest: Vec<i64> = Vec::new();
    {
        let mut statement =
            connection.prepare_cached("SELECT rowid, key FROM Dict ORDER BY rowid")?;
        let mut rows = statement.query([])?;
        while oldest.len() < count
            && let Some(row) = rows.next()?
        {
            if !spared(row.get_ref(1)?.as_bytes().unwrap_or_default()) {
                oldest.push(row.get(0)?);
            }
        }
    }
    remove_rows(connection, &oldest)?;
    Ok(oldest.len())
}

fn remove_rows(connection: &Connection, rows: &[i64]) -> Result<(), Trouble> {
    let mut statement = connection.prepare_cached("DELETE FROM Dict WHERE rowid = ?1")?;
    for row in rows {
        statement.execute([row])?;
    }
    Ok(())
}

/// Removes entries created before `before`, from the oldest up to the first
/// that is younger, `most` at most; how many there were.
pub(super) fn purge(
    connection: &Connection,
    before: Timestamp,
    most: usize,
) -> Result<usize, Trouble> {
    let sql = format!(
        "SELECT rowid, substr(value, 1, {}) FROM Dict ORDER BY rowid LIMIT ?1",
        MAX_HEADER + 1
    );
    let mut old: Vec<i64> = Vec::new();
    {
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query([i64::try_from(most).unwrap_or(i64::MAX)])?;
        while let Some(row) = rows.next()? {
            let head = Bytes::copy_from_slice(row.get_ref(1)?.as_bytes().unwrap_or_default());
            // What has no readable age is of no use to anybody either.
            if Entry::from_frame(&head).metadata.ct >= before {
                break;
            }
            old.push(row.get(0)?);
        }
    }
    remove_rows(connection, &old)?;
    Ok(old.len())
}

/// Gives free pages back to the file system, once there are many, a few at a
/// time.
pub(super) fn shrink(connection: &Connection) -> Result<(), Trouble> {
    const MANY: i64 = 64;
    const AT_ONCE: c_int = 256;
    let free: i64 = pragma(connection, "freelist_count")?;
    let all: i64 = pragma(connection, "page_count")?;
    if free > MANY && free > all / 8 {
        let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({AT_ONCE})"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
    }
    Ok(())
}

/// Up to `limit` keys that begin with `prefix`, after the key `after`, in the
/// order of their bytes.
pub(super) fn list(
    connection: &Connection,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<Listed>, Trouble> {
    let sql = "SELECT key, length(value) FROM Dict
        WHERE key >= ?1 AND (?2 IS NULL OR key > ?2) ORDER BY key LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![prefix, after, limit])?;
    let mut listed = Vec::new();
    while let Some(row) = rows.next()? {
        let key = row.get_ref(0)?.as_bytes().unwrap_or_default();
        if !key.starts_with(prefix) {
            break;
        }
        let value_bytes: i64 = row.get(1)?;
        listed.push(Listed { key: key.to_vec(), value_bytes: value_bytes.max(0).cast_unsigned() });
    }
    Ok(listed)
}

/// When the oldest entry was created; `None` if there is none.
pub(super) fn oldest(connection: &Connection) -> Result<Option<Timestamp>, Trouble> {
    let sql = "SELECT value FROM Dict ORDER BY rowid LIMIT 1";
    let frame: Option<Vec<u8>> = connection.query_row(sql, [], |row| row.get(0)).optional()?;
    Ok(frame.map(|frame| Entry::from_frame(&frame.into()).metadata.ct))
}
