//! The SQLite database: how it is opened and checked, and its tables. Everything
//! here blocks.
//!
//! Values are in the table that CPython's `dbm.sqlite3` uses, so Python reads
//! what we write and the other way round. Its implicit `rowid` grows with every
//! store, which makes it the order of creation. Beside it, `dogpile_size` has
//! one row with what the entries take, kept true by triggers, whoever writes.
//! In `dogpile_creations` there are the keys that are being created; triggers
//! remove those that anybody changes meanwhile.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rusqlite::{Connection, OpenFlags};

use super::database::{pragma, transaction};
use super::error::FileError;
use super::{forked, place};
use crate::backend::BackendError;

/// Marks a file as ours: "dogp".
const APPLICATION_ID: i32 = 0x646f_6770;
/// The version of our tables.
const SCHEMA_VERSION: i32 = 2;
/// All tables, Python's first.
const OUR_TABLES: [&str; 3] = ["Dict", "dogpile_size", "dogpile_creations"];

/// The size of an entry in the file, nearly: its key is in the table and in its
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

/// Each process that opens the file reads these definitions, so they are few and short. A value that is replaced can be
/// counted only before, and what ends a creation is known only afterwards. Other files of this version have two
/// triggers for deletions and two for updates, and those of version 1 the first of the two.
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
     CREATE TABLE IF NOT EXISTS dogpile_creations (
         key BLOB PRIMARY KEY NOT NULL,
         token BLOB NOT NULL
     );
     DROP TRIGGER IF EXISTS dogpile_deleted;
     DROP TRIGGER IF EXISTS dogpile_updated;
     CREATE TRIGGER IF NOT EXISTS dogpile_inserted BEFORE INSERT ON Dict BEGIN \
         UPDATE dogpile_size SET \
             entries = entries + 1 - (SELECT count(*) FROM Dict WHERE key = NEW.key), \
             bytes = bytes + ",
    cost!("NEW."),
    " - coalesce((SELECT ",
    cost!(""),
    " FROM Dict WHERE key = NEW.key), 0); \
     END;
     CREATE TRIGGER IF NOT EXISTS dogpile_insert_ends AFTER INSERT ON Dict BEGIN \
         DELETE FROM dogpile_creations WHERE key = NEW.key; \
     END;
     CREATE TRIGGER IF NOT EXISTS dogpile_delete AFTER DELETE ON Dict BEGIN \
         UPDATE dogpile_size SET entries = entries - 1, bytes = bytes - ",
    cost!("OLD."),
    "; \
         DELETE FROM dogpile_creations WHERE key = OLD.key; \
     END;
     CREATE TRIGGER IF NOT EXISTS dogpile_update AFTER UPDATE ON Dict BEGIN \
         UPDATE dogpile_size SET bytes = bytes + ",
    cost!("NEW."),
    " - ",
    cost!("OLD."),
    "; \
         DELETE FROM dogpile_creations WHERE key = OLD.key OR key = NEW.key; \
     END;"
);

/// Counts the entries and what they take.
const RECOUNT: &str = concat!(
    "REPLACE INTO dogpile_size SELECT 1, count(*), coalesce(sum(",
    cost!(""),
    "), 0) FROM Dict"
);

/// Counts again: numbers that anybody can write to are believed only so far.
pub(super) fn recount(connection: &Connection) -> Result<(), FileError> {
    connection.execute(RECOUNT, [])?;
    Ok(())
}

/// The sizes, counted at each look.
const COUNTED: &str = concat!(
    "CREATE TEMP VIEW dogpile_size AS
         SELECT 1 AS id, count(*) AS entries, coalesce(sum(",
    cost!(""),
    "), 0) AS bytes FROM Dict"
);

/// The pages that connections keep in memory, as far as they have seen so many: those of a great
/// many keys would be read and written again and again otherwise.
const WRITER_KIB: u32 = 32 * 1024;
const READER_KIB: u32 = 8 * 1024;

/// The time that set-up goes on trying while other processes do the same, at least.
const SETUP_LIMIT: Duration = Duration::from_secs(2);
const SETUP_PAUSE: Duration = Duration::from_millis(10);

/// Opens the file at `path`, makes it if there is none, and adds our tables
/// to one that Python made.
pub(super) fn open(
    path: &Path,
    busy_timeout: Duration,
    mode: Option<u32>,
) -> Result<Connection, FileError> {
    check_path(path).map_err(FileError::Backend)?;
    place::create(path, mode).map_err(|error| {
        FileError::Backend(BackendError::unavailable(format!("`{}`: {error}", path.display())))
    })?;
    let connection = connect(path, OpenFlags::SQLITE_OPEN_CREATE)?;
    connection.busy_timeout(busy_timeout)?;
    let began = Instant::now();
    loop {
        match set_up(&connection) {
            // Switching to WAL does not wait by itself; the rest does.
            Err(FileError::Busy) if began.elapsed() < busy_timeout.max(SETUP_LIMIT) => {
                std::thread::sleep(SETUP_PAUSE);
            }
            other => return other.map(|()| connection),
        }
    }
}

/// A connection for reading. It never waits: what is busy is asked of the
/// writer.
pub(super) fn open_reader(path: &Path) -> Result<Connection, FileError> {
    let connection = connect(path, OpenFlags::empty())?;
    connection.busy_timeout(Duration::ZERO)?;
    connection.execute_batch(&format!("PRAGMA cache_size = -{READER_KIB};"))?;
    Ok(connection)
}

/// A reading connection to a file that needs no set-up; `None` if it does.
pub(super) fn open_ready(path: &Path) -> Result<Option<Connection>, FileError> {
    if is_empty(path)? {
        return Ok(None);
    }
    let connection = open_reader(path)?;
    Ok(is_set_up(&connection)?.then_some(connection))
}

fn connect(path: &Path, more: OpenFlags) -> Result<Connection, FileError> {
    forked::adopt(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;")?;
    Ok(connection)
}

/// A file that is there must be a regular one; if there is none, its directory
/// must be there.
pub(super) fn check_path(path: &Path) -> Result<(), BackendError> {
    if path.as_os_str().is_empty() {
        return Err(BackendError::other("the path of the cache file is empty"));
    }
    let problem = match fs::metadata(path) {
        Ok(found) if found.is_file() => return Ok(()),
        Ok(_) => format!("`{}` is not a regular file", path.display()),
        Err(error) if error.kind() == ErrorKind::NotFound => match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => {
                let parent = parent.display();
                let problem = format!("there is no directory `{parent}`: create it first");
                return Err(BackendError::other(problem));
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
fn is_empty(path: &Path) -> Result<bool, FileError> {
    check_path(path).map_err(FileError::Backend)?;
    Ok(fs::metadata(path).map_or(true, |found| found.len() == 0))
}

/// Prepares a connection that only looks, at a file that may have none of our tables, or only
/// Python's: what is missing is there for this connection, and empty or computed.
pub(super) fn stand_in(connection: &Connection) -> Result<(), FileError> {
    if is_set_up(connection)? {
        return Ok(());
    }
    refuse_foreign(connection)?;
    let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'Dict'";
    if connection.query_row(sql, [], |row| row.get::<_, i64>(0))? == 0 {
        connection.execute_batch("CREATE TEMP TABLE Dict (key BLOB, value BLOB)")?;
    }
    connection.execute_batch(COUNTED)?;
    Ok(())
}

fn set_up(connection: &Connection) -> Result<(), FileError> {
    let ready = is_set_up(connection)?;
    if !ready {
        refuse_foreign(connection)?;
    }
    connection
        .execute_batch(&format!("PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 4194304; PRAGMA cache_size = -{WRITER_KIB};"))?;
    if ready {
        return Ok(());
    }
    // Has an effect only while the file is empty.
    connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL;")?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    transaction(connection, |connection| {
        // Another process may have been faster, and of a newer version.
        if !is_set_up(connection)? {
            connection.execute_batch(&format!(
                "{TABLES} PRAGMA application_id = {APPLICATION_ID};
                 PRAGMA user_version = {SCHEMA_VERSION};"
            ))?;
        }
        Ok(())
    })
}

/// Are our tables there, as this version makes them?
fn is_set_up(connection: &Connection) -> Result<bool, FileError> {
    if pragma::<i32>(connection, "application_id")? != APPLICATION_ID {
        return Ok(false);
    }
    let version: i32 = pragma(connection, "user_version")?;
    if version > SCHEMA_VERSION {
        let message = "the cache file was made by a newer version of dogpile";
        return Err(FileError::Backend(BackendError::other(message)));
    }
    Ok(version == SCHEMA_VERSION)
}

/// Refuses the database of another program. One of ours may have whatever was added to it.
pub(super) fn check_ours(connection: &Connection) -> Result<(), FileError> {
    if pragma::<i32>(connection, "application_id")? == APPLICATION_ID {
        return Ok(());
    }
    refuse_foreign(connection)
}

/// A database of another program's is left alone.
fn refuse_foreign(connection: &Connection) -> Result<(), FileError> {
    let application_id: i32 = pragma(connection, "application_id")?;
    let refuse = |what: String| {
        let message = format!(
            "the file is another program's SQLite database ({what}): give the cache a file of its own"
        );
        Err(FileError::Backend(BackendError::other(message)))
    };
    if application_id != 0 && application_id != APPLICATION_ID {
        return refuse(format!("its application id is {application_id}"));
    }
    let mut statement = connection.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    )?;
    let tables: Vec<String> =
        statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    if let Some(table) = tables.iter().find(|name| !OUR_TABLES.contains(&&***name)) {
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
