//! Requests to the SQLite database. Everything here blocks.

use std::ffi::c_int;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};

use super::error::FileError;
use crate::backend::{IfChanged, Version};
use crate::clock::Timestamp;
use crate::value::{Entry, MAX_HEADER, Metadata};

/// One stored key.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) key: Vec<u8>,
    pub(super) value_bytes: u64,
}

/// The size of the entries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

pub(super) fn pragma<T: rusqlite::types::FromSql>(
    connection: &Connection,
    name: &str,
) -> Result<T, FileError> {
    Ok(connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))?)
}

/// Runs `work` as one transaction that may write.
pub(super) fn transaction<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, FileError>,
) -> Result<T, FileError> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    end(connection, work(connection))
}

/// Commits if all went well, or takes everything back.
fn end<T>(connection: &Connection, worked: Result<T, FileError>) -> Result<T, FileError> {
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

pub(super) fn get(
    connection: &Connection,
    key: impl AsRef<[u8]>,
) -> Result<Option<Entry>, FileError> {
    with_frame(connection, key.as_ref(), Entry::copied_from)
}

/// Calls `read` with what is stored under `key`, if anything is, where it lies.
fn with_frame<T>(
    connection: &Connection,
    key: &[u8],
    read: impl FnOnce(&[u8]) -> T,
) -> Result<Option<T>, FileError> {
    let mut statement = connection.prepare_cached("SELECT value FROM Dict WHERE key = ?1")?;
    let mut rows = statement.query([key])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let frame = row.get_ref(0)?.as_bytes_or_null().ok().flatten();
    Ok(Some(read(frame.unwrap_or_default())))
}

/// Returns the entry stored under `key`, unless it is `since`. All its bytes are compared: other
/// programs may change a row in its place, and a clock that stands still gives two values one
/// creation time.
pub(super) fn get_if_changed(
    connection: &Connection,
    key: &str,
    since: Option<Version>,
) -> Result<IfChanged, FileError> {
    let read = with_frame(connection, key.as_bytes(), |frame| {
        let version = Version::of_bytes(frame);
        let entry = (Some(version) != since).then(|| Entry::copied_from(frame));
        IfChanged::compare(entry, Some(version), since, true)
    })?;
    Ok(read.unwrap_or_else(|| IfChanged::compare(None, None, since, true)))
}

/// Returns a number that is another one once any other connection has changed the file.
pub(super) fn data_version(connection: &Connection) -> Result<i64, FileError> {
    let mut statement = connection.prepare_cached("PRAGMA data_version")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// Returns the entry stored under `key`, as far as its header goes.
pub(super) fn head(connection: &Connection, key: &str) -> Result<Option<Entry>, FileError> {
    // Of an empty value it is null.
    let sql = "SELECT coalesce(CAST(substr(value, 1, ?2) AS BLOB), X'') FROM Dict WHERE key = ?1";
    let most = i64::try_from(HEAD).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(sql)?;
    let head = statement.query_row(params![key.as_bytes(), most], |row| row.get(0));
    let head: Option<Vec<u8>> = head.optional()?;
    Ok(head.map(|head| Entry::from_frame(&head.into())))
}

/// The identity of a stored value: its row, and the beginning of
/// its header, since a row's number can come back after the last one was deleted.
pub(super) type Mark = (i64, Vec<u8>);

pub(super) fn mark(connection: &Connection, key: &str) -> Result<Option<Mark>, FileError> {
    let sql =
        "SELECT rowid, coalesce(CAST(substr(value, 1, 64) AS BLOB), X'') FROM Dict WHERE key = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mark = statement.query_row([key.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)));
    Ok(mark.optional()?)
}

/// From here on, all that is read is as it was at one moment.
pub(super) fn begin_reading(connection: &Connection) -> Result<(), FileError> {
    connection.prepare_cached("BEGIN")?.execute([])?;
    Ok(())
}

pub(super) fn end_reading(connection: &Connection) -> Result<(), FileError> {
    end(connection, Ok(()))
}

/// Each of `keys`, all as they were at one moment.
pub(super) fn get_all(
    connection: &Connection,
    keys: &[String],
) -> Result<Vec<Option<Entry>>, FileError> {
    begin_reading(connection)?;
    end(connection, keys.iter().map(|key| get(connection, key)).collect())
}

pub(super) fn put(connection: &Connection, key: &str, frame: &[u8]) -> Result<(), FileError> {
    let sql = "REPLACE INTO Dict (key, value) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute(params![key.as_bytes(), frame])?;
    Ok(())
}

pub(super) fn delete(connection: &Connection, key: &str) -> Result<(), FileError> {
    connection.prepare_cached("DELETE FROM Dict WHERE key = ?1")?.execute([key.as_bytes()])?;
    Ok(())
}

/// Deletes a key of any bytes, and ends the creation of it.
pub(super) fn delete_of(connection: &Connection, key: &[u8]) -> Result<(), FileError> {
    connection.execute("DELETE FROM Dict WHERE key = ?1", [key])?;
    connection.execute("DELETE FROM dogpile_creations WHERE key = ?1", [key])?;
    Ok(())
}

/// The same for all keys that begin with `prefix`.
pub(super) fn clear_of(connection: &Connection, prefix: &[u8]) -> Result<(), FileError> {
    for table in ["Dict", "dogpile_creations"] {
        let sql = format!(
            "DELETE FROM {table} WHERE substr(CAST(key AS BLOB), 1, length(?1)) = CAST(?1 AS BLOB)"
        );
        connection.execute(&sql, [prefix])?;
    }
    Ok(())
}

pub(super) fn clear(connection: &Connection) -> Result<(), FileError> {
    connection.execute_batch(
        "DELETE FROM Dict; DELETE FROM dogpile_creations;
         UPDATE dogpile_size SET entries = 0, bytes = 0 WHERE id = 1;",
    )?;
    Ok(())
}

pub(super) fn size(connection: &Connection) -> Result<Size, FileError> {
    let mut statement = connection.prepare_cached("SELECT entries, bytes FROM dogpile_size")?;
    let counted = statement.query_row([], |row| {
        let (entries, bytes): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok(Size { entries: entries.max(0).cast_unsigned(), bytes: bytes.max(0).cast_unsigned() })
    });
    Ok(counted.optional()?.unwrap_or(Size { entries: 0, bytes: 0 }))
}

/// The head of a value: as much as is searched for its header, in bytes.
const HEAD: usize = MAX_HEADER + 1;

/// Removes the `count` entries stored longest ago, of those that are neither kept nor `spared`;
/// how many there were.
pub(super) fn evict(
    connection: &Connection,
    count: u64,
    spared: &dyn Fn(&[u8]) -> bool,
) -> Result<usize, FileError> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut oldest: Vec<i64> = Vec::new();
    {
        let sql = format!("SELECT rowid, key, substr(value, 1, {HEAD}) FROM Dict ORDER BY rowid");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query([])?;
        while oldest.len() < count
            && let Some(row) = rows.next()?
        {
            let is_spared = spared(row.get_ref(1)?.as_bytes().unwrap_or_default());
            if !is_spared && !metadata_of(row.get_ref(2)?).kept {
                oldest.push(row.get(0)?);
            }
        }
    }
    remove_rows(connection, &oldest)?;
    Ok(oldest.len())
}

fn remove_rows(connection: &Connection, rows: &[i64]) -> Result<(), FileError> {
    let mut statement = connection.prepare_cached("DELETE FROM Dict WHERE rowid = ?1")?;
    for row in rows {
        statement.execute([row])?;
    }
    Ok(())
}

/// The metadata of the entry that begins with `head`.
fn metadata_of(head: ValueRef<'_>) -> Metadata {
    Entry::copied_from(head.as_bytes().unwrap_or_default()).metadata
}

/// Removes entries created before `before`, from the oldest up to the first
/// that is younger, `most` at most; how many there were. Those that are kept stay.
pub(super) fn purge(
    connection: &Connection,
    before: Timestamp,
    most: usize,
) -> Result<usize, FileError> {
    let mut old: Vec<i64> = Vec::new();
    {
        let sql = format!("SELECT rowid, substr(value, 1, {HEAD}) FROM Dict ORDER BY rowid");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query([])?;
        while old.len() < most
            && let Some(row) = rows.next()?
        {
            let metadata = metadata_of(row.get_ref(1)?);
            if metadata.kept {
                continue;
            }
            // What has no readable age is of no use to anybody either.
            if metadata.ct >= before {
                break;
            }
            old.push(row.get(0)?);
        }
    }
    remove_rows(connection, &old)?;
    Ok(old.len())
}

/// Are there many free pages?
pub(super) fn has_room(connection: &Connection) -> Result<bool, FileError> {
    const MANY: i64 = 64;
    let count = |sql| connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
    let free = count("PRAGMA freelist_count")?;
    Ok(free > MANY && free > count("PRAGMA page_count")? / 8)
}

/// Gives free pages back to the file system, once there are many, a few at a
/// time.
pub(super) fn shrink(connection: &Connection) -> Result<(), FileError> {
    const AT_ONCE: c_int = 256;
    if has_room(connection)? {
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
) -> Result<Vec<Listed>, FileError> {
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
pub(super) fn oldest(connection: &Connection) -> Result<Option<Timestamp>, FileError> {
    let sql = "SELECT value FROM Dict ORDER BY rowid LIMIT 1";
    let frame: Option<Vec<u8>> = connection.query_row(sql, [], |row| row.get(0)).optional()?;
    Ok(frame.map(|frame| Entry::from_frame(&frame.into()).metadata.ct))
}
