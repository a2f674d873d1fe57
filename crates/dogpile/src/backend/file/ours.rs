//! Whether a file is ours, before anything is done with it: what was never a cache is not
//! renamed, locked or written to, and neither is what has a name that we derive from it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::FileError;
use super::place::{self, with_suffix};
use super::still::Still;
use super::{forked, schema};
use crate::backend::BackendError;

/// The file that is at a path.
#[derive(Debug)]
enum Found {
    /// Nothing, or an empty file.
    Nothing,
    /// A cache, or a database that can become one.
    Cache,
    /// No database, for this reason: something else, or a cache that is damaged.
    Junk(String),
}

/// Looks at what is at `path`, and leaves it as it is.
///
/// # Errors
///
/// If it is the database of another program, or cannot be read.
fn examine(path: &Path) -> Result<Found, BackendError> {
    if fs::metadata(path).map_or(true, |found| found.len() == 0) {
        return Ok(Found::Nothing);
    }
    let examined =
        connect(path, READ, "immutable=1").and_then(|connection| schema::check_ours(&connection));
    match examined {
        Ok(()) | Err(FileError::Busy | FileError::Replaced) => Ok(Found::Cache),
        Err(FileError::Damaged(why)) => Ok(Found::Junk(why)),
        Err(FileError::Backend(error)) => Err(error),
    }
}

/// Refuses what is at `path` unless it is a cache, or one that was damaged: `was_ours` says
/// whether the file with this number was one.
///
/// That is asked each time before SQLite opens the file to write. It may be another one by
/// now, and the log of the one before may still be beside it.
pub(super) fn refuse_others(
    path: &Path,
    was_ours: impl FnOnce(u64) -> Result<bool, BackendError>,
) -> Result<(), BackendError> {
    match examine(path)? {
        Found::Junk(why) if !was_ours(place::number_of(path))? => Err(not_a_cache(path, &why)),
        _ => Ok(()),
    }
}

const READ: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY;

/// Opens the database at `path` to read it; `how` are parameters of SQLite's.
///
/// Only SQLite opens the file, also to look at it: it knows which locks this process holds.
fn connect(path: &Path, access: OpenFlags, how: &str) -> Result<Connection, FileError> {
    forked::adopt(path)?;
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri(path, how), flags)?;
    connection.execute_batch(
        "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;",
    )?;
    Ok(connection)
}

/// The number of looks at a file that others open and close meanwhile, and the pause
/// in between.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(10);

/// A connection that only looks, with the state of the file in which it does.
pub(super) type Look = (Connection, Option<Still>);

/// A connection that only looks: it creates no file, changes none, and needs no permission to.
/// It is for one look: what others write later may not be seen by it. Over a file that is still,
/// it is good as long as that lasts.
pub(super) fn look(path: &Path) -> Result<Look, FileError> {
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let ready = |connection| schema::stand_in(&connection).map(|()| connection);
        if let Some(still) = Still::of(path) {
            let looked = connect(path, READ, "immutable=1").and_then(ready);
            return looked.map(|connection| (connection, Some(still)));
        }
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let has = |suffix| fs::metadata(with_suffix(&real, suffix)).is_ok_and(|it| it.len() > 0);
        let has_log = has("-wal");
        if !has_log && path.exists() && tries > 0 {
            std::thread::sleep(PAUSE);
            continue;
        }
        let looked = match (has_log, has("-shm")) {
            // Without a log everything is in the file itself.
            (false, _) => connect(path, READ, "immutable=1"),
            (true, true) => connect(path, READ, "readonly_shm=1"),
            (true, false) => connect_alone(path),
        };
        let looked = looked.and_then(ready).map(|connection| (connection, None));
        match looked {
            // Others may just have opened it, or closed it as the last: it is another case now.
            Err(_) if has_log && tries > 0 => {
                // It went before it was opened, and SQLite has made another.
                if is_log_empty(&real) {
                    let _ = alone(path).and_then(|connection| with_log(connection, &real));
                }
                std::thread::sleep(PAUSE);
            }
            looked => return looked,
        }
    }
}

/// Reads the log of a process that ended before it could clear up. The log's index is gone
/// (the last one to close removes it first), and nobody has the file open: a new index is made
/// in memory, which takes SQLite's exclusive lock for the time of the look. The log stays as
/// it is.
fn connect_alone(path: &Path) -> Result<Connection, FileError> {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let to_read = || with_log(alone(path)?, &real);
    to_read().map_err(|error| match error {
        FileError::Backend(error) => {
            let why = "its last process was killed, and to look at it needs permission to write";
            FileError::Backend(BackendError::unavailable(format!(
                "`{}`: {why} ({error})",
                path.display()
            )))
        }
        other => other,
    })
}

/// Opens the database at `path` while nobody else has it open.
fn alone(path: &Path) -> Result<Connection, FileError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, "")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE;")?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

/// Returns the connection if there is a log for it to read. An empty one is its own: who had the file
/// open has cleared up meanwhile. It goes with the connection.
fn with_log(connection: Connection, real: &Path) -> Result<Connection, FileError> {
    if !is_log_empty(real) {
        return Ok(connection);
    }
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Err(FileError::Busy)
}

fn is_log_empty(path: &Path) -> bool {
    fs::metadata(with_suffix(path, "-wal")).is_ok_and(|log| log.len() == 0)
}

fn uri(path: &Path, how: &str) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut uri = String::from("file:");
    for &byte in absolute.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte) {
            uri.push(byte.into());
        } else {
            let _ = write!(uri, "%{byte:02x}");
        }
    }
    uri + "?" + how
}

/// The size that SQLite gives an index before anything is in it.
const NEW_INDEX: u64 = 3;

/// Refuses a place where SQLite's own files would replace others.
pub(super) fn check_beside(path: &Path) -> Result<(), BackendError> {
    for suffix in ["-wal", "-shm", "-journal"] {
        let beside = with_suffix(path, suffix);
        let Ok(found) = fs::symlink_metadata(&beside) else { continue };
        let may_be = match suffix {
            // It may be in use, and opening it would drop SQLite's locks on it.
            "-shm" => found.len() == NEW_INDEX || found.len() % 0x1000 == 0,
            "-wal" => starts_with(&beside, &[&[0x37, 0x7f, 0x06]]),
            _ => starts_with(&beside, &[&[0xd9, 0xd5, 0x05, 0xf9], &[0; 8]]),
        };
        if !found.is_file() || found.len() > 0 && !may_be {
            let (path, beside) = (path.display(), beside.display());
            return Err(BackendError::other(format!(
                "`{beside}` is not SQLite's: a cache at `{path}` would replace it"
            )));
        }
    }
    Ok(())
}

/// Does the file begin with one of `magics`? One that cannot be read may.
fn starts_with(path: &Path, magics: &[&[u8]]) -> bool {
    let Ok(file) = File::open(path) else { return true };
    let mut head = Vec::new();
    let read = file.take(8).read_to_end(&mut head);
    read.is_err() || magics.iter().any(|magic| head.starts_with(magic))
}

/// The error for a file that was never a cache.
pub(super) fn not_a_cache(path: &Path, why: &str) -> BackendError {
    BackendError::other(format!(
        "`{}` is not a cache file, or damaged beyond recognition ({why}): it is left as it is",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_themselves() {
        assert_eq!(uri(Path::new("/a b?c#%/ü.db"), "x=1"), "file:/a%20b%3fc%23%25/%c3%bc.db?x=1");
    }
}
