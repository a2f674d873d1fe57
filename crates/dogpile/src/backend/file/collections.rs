//! Collections in a file: data, revision and parts are entries like all others,
//! changed in one transaction.

use std::time::Duration;

use bytes::Bytes;
use rusqlite::Connection;

use super::File;
use super::builder::Options;
use super::database;
use super::error::FileError;
use super::joint::Change;
use super::lock::FileLocks;
use super::worker::keep_within;
use crate::backend::{
    Backend, BackendError, Changed, CollectionPlace, CollectionStore, Storing, Upload, Watch,
    revision_number,
};
use crate::clock::Timestamp;
use crate::lock::{AnyMutex, Lease};
use crate::value::{Entry, Payload};

/// The keys of a collection.
struct Keys {
    data: String,
    revision: String,
    /// The beginning of the keys of all parts.
    parts: String,
}

impl Keys {
    fn of(place: &CollectionPlace) -> Self {
        Self { data: place.data(), revision: place.revision(), parts: place.key(".parts.") }
    }

    /// Returns the prefix of the keys of the parts of `upload`.
    fn parts_of(&self, upload: &str) -> String {
        format!("{}{upload}.", self.parts)
    }
}

fn part_key(place: &CollectionPlace, upload: &str, index: u32) -> String {
    place.key(&format!(".parts.{upload}.{index}"))
}

/// In the header of a number: what the parts of its revision were written as.
const UPLOAD: &str = "upload";

fn number(entry: &Entry) -> Option<u64> {
    match &entry.payload {
        Payload::Bytes(digits) => revision_number(digits),
        _ => None,
    }
}

fn number_entry(number: u64, ct: Timestamp, upload: Option<&str>) -> Result<Bytes, FileError> {
    let mut entry = Entry::bytes(number.to_string(), ct);
    if let Some(upload) = upload {
        entry.metadata = entry.metadata.with_extra(UPLOAD, upload.into());
    }
    let frame = entry.to_frame();
    frame.ok_or_else(|| {
        FileError::Backend(BackendError::other("a number cannot be stored as a live object"))
    })
}

/// Makes room for the parts that begin with `coming`. Neither those are evicted nor
/// the present revision: if a push fails, that must be there still.
fn make_room(
    connection: &Connection,
    options: &Options,
    keys: &Keys,
    coming: Option<&str>,
) -> Result<(), FileError> {
    let present = database::get(connection, &keys.revision)?.and_then(|number| {
        let upload = number.metadata.extra(UPLOAD)?.as_str()?;
        Some(keys.parts_of(upload))
    });
    let begins = |key: &[u8], prefix: Option<&str>| {
        prefix.is_some_and(|prefix| key.starts_with(prefix.as_bytes()))
    };
    let spared = |key: &[u8]| {
        [keys.data.as_bytes(), keys.revision.as_bytes()].contains(&key)
            || begins(key, present.as_deref())
            || begins(key, coming)
    };
    if keep_within(connection, options, &spared)? {
        return Ok(());
    }
    let most = options.max_bytes;
    Err(FileError::Backend(BackendError::refused(format!(
        "two revisions of the collection, the new one and the one before, do not fit into the \
         cache file: raise its `max_bytes`, which is {most}, or its `max_entries`"
    ))))
}

/// Are all parts of an upload there, whose keys begin with `prefix`?
fn check_parts(connection: &Connection, prefix: &str, parts: u32) -> Result<(), FileError> {
    let there = database::list(connection, prefix.as_bytes(), None, usize::MAX)?.len();
    if there == parts as usize {
        return Ok(());
    }
    Err(FileError::Backend(BackendError::other(format!(
        "{there} of the {parts} parts of the collection are left: other entries pushed them out of \
         the cache file (raise its `max_bytes`), or the file was replaced"
    ))))
}

/// Does `work` as one transaction; if it fails, what begins with `upload` is removed,
/// since nobody will publish it.
fn or_remove<T>(
    connection: &Connection,
    upload: Option<&str>,
    work: impl FnOnce(&Connection) -> Result<T, FileError>,
) -> Result<T, FileError> {
    let done = database::transaction(connection, work);
    if let (Err(FileError::Backend(_)), Some(upload)) = (&done, upload) {
        // The first error is the one to return.
        let _ = database::transaction(connection, |connection| remove(connection, upload, None));
    }
    done
}

/// Removes what begins with `prefix`, except what begins with `kept`.
fn remove(connection: &Connection, prefix: &str, kept: Option<&str>) -> Result<(), FileError> {
    for found in database::list(connection, prefix.as_bytes(), None, usize::MAX)? {
        let key = String::from_utf8_lossy(&found.key);
        if !kept.is_some_and(|kept| key.starts_with(kept)) {
            database::delete(connection, &key)?;
        }
    }
    Ok(())
}

impl CollectionStore for File {
    fn revision<'a>(&'a self, place: &'a CollectionPlace) -> Storing<'a, Option<u64>> {
        Box::pin(async move {
            let entry = Backend::get(self, &place.revision()).await?;
            Ok(entry.as_ref().and_then(number))
        })
    }

    fn read<'a>(&'a self, place: &'a CollectionPlace) -> Storing<'a, Option<(u64, Option<Bytes>)>> {
        Box::pin(async move {
            let keys = [place.revision(), place.data()];
            let found = Backend::get_multi(self, &[&keys[0], &keys[1]]).await?;
            let [revision, data] = &found[..] else { return Ok(None) };
            let is_entry = |data: &&Entry| matches!(data.payload, Payload::Bytes(_));
            let data = data.as_ref().filter(is_entry).and_then(Entry::to_frame);
            Ok(revision.as_ref().and_then(number).map(|number| (number, data)))
        })
    }

    fn read_part<'a>(
        &'a self,
        place: &'a CollectionPlace,
        upload: &'a str,
        index: u32,
    ) -> Storing<'a, Option<Bytes>> {
        Box::pin(async move {
            let entry = Backend::get(self, &part_key(place, upload, index)).await?;
            Ok(entry.and_then(|entry| match entry.payload {
                Payload::Bytes(part) => Some(part),
                _ => None,
            }))
        })
    }

    fn write_part<'a>(
        &'a self,
        place: &'a CollectionPlace,
        upload: &'a str,
        index: u32,
        part: Bytes,
    ) -> Storing<'a, ()> {
        let (options, keys) = (self.0.options.clone(), Keys::of(place));
        let entry = Entry::bytes(part, options.clock.now());
        Box::pin(async move {
            let key = part_key(place, upload, index);
            let Change::Put { frame, .. } = self.frame(&key, &entry)? else { return Ok(()) };
            let coming = keys.parts_of(upload);
            let write = move |connection: &Connection| {
                or_remove(connection, Some(&coming), |connection| {
                    database::put(connection, &key, &frame)?;
                    make_room(connection, &options, &keys, Some(&coming))
                })
            };
            self.shared()?.writer.change(write).await
        })
    }

    fn publish<'a>(
        &'a self,
        place: &'a CollectionPlace,
        data: Bytes,
        upload: Option<Upload<'a>>,
        above: u64,
        lease: Lease,
    ) -> Storing<'a, Option<u64>> {
        let (options, keys) = (self.0.options.clone(), Keys::of(place));
        let id = upload.map(|upload| upload.id.to_owned());
        let parts = upload.map(|upload| (keys.parts_of(upload.id), upload.parts));
        Box::pin(async move {
            // Refused here if it is too large for the file.
            let change = self.frame(&keys.data, &Entry::from_frame(&data));
            let Change::Put { frame, .. } = change? else { return Ok(None) };
            let publish = move |connection: &Connection| {
                // Here, because whoever asked may have given up waiting.
                let _held = &lease;
                let coming = parts.as_ref().map(|(prefix, _)| &**prefix);
                or_remove(connection, coming, |connection| {
                    if let Some((prefix, count)) = &parts {
                        check_parts(connection, prefix, *count)?;
                    }
                    let stored = database::get(connection, &keys.revision)?;
                    let stored = stored.as_ref().and_then(number).unwrap_or(0);
                    let next = stored.max(above) + 1;
                    remove(connection, &keys.parts, coming)?;
                    database::put(connection, &keys.data, &frame)?;
                    let revision = number_entry(next, options.clock.now(), id.as_deref())?;
                    database::put(connection, &keys.revision, &revision)?;
                    make_room(connection, &options, &keys, coming)?;
                    Ok(next)
                })
            };
            self.shared()?.writer.change(publish).await.map(Some)
        })
    }

    fn purge<'a>(&'a self, place: &'a CollectionPlace) -> Storing<'a, bool> {
        let keys = Keys::of(place);
        Box::pin(async move {
            let purge = move |connection: &Connection| {
                database::transaction(connection, |connection| {
                    remove(connection, &keys.parts, None)?;
                    let mut found = false;
                    for key in [&keys.data, &keys.revision] {
                        found |= database::get(connection, key)?.is_some();
                        database::delete(connection, key)?;
                    }
                    Ok(found)
                })
            };
            self.shared()?.writer.change(purge).await
        })
    }

    fn mutex(&self, _load: Duration) -> AnyMutex {
        if self.0.options.creation_locks {
            AnyMutex::new(FileLocks(self.clone()))
        } else {
            AnyMutex::new(self.0.local_locks.clone())
        }
    }

    fn watch(&self, place: &CollectionPlace, changed: Changed) -> Option<Watch> {
        Backend::watch(self, &place.revision(), changed)
    }
}
