//! Collections in a file: data, revision and parts are entries like all others,
//! changed in one transaction.

use bytes::Bytes;
use rusqlite::Connection;

use super::database::{self, Trouble};
use super::writer::keep_within;
use super::{Change, File};
use crate::backend::{
    Backend, BackendError, Changed, CollectionPlace, CollectionStore, Storing, Watch,
};
use crate::clock::Timestamp;
use crate::lock::{AnyMutex, Lease};
use crate::value::{Entry, Payload};

/// What the keys of all parts begin with.
fn parts(place: &CollectionPlace) -> String {
    place.key(".parts.")
}

fn part_key(place: &CollectionPlace, upload: &str, index: u32) -> String {
    place.key(&format!(".parts.{upload}.{index}"))
}

fn number(entry: &Entry) -> Option<u64> {
    match &entry.payload {
        Payload::Bytes(digits) => std::str::from_utf8(digits).ok()?.parse().ok(),
        _ => None,
    }
}

fn number_entry(number: u64, ct: Timestamp) -> Result<Bytes, Trouble> {
    let frame = Entry::bytes(number.to_string(), ct).to_frame();
    frame.ok_or_else(|| Trouble::Fault(BackendError::other("a number is no object")))
}

/// Removes what begins with `prefix`, except what begins with `kept`.
fn remove(connection: &Connection, prefix: &str, kept: Option<&str>) -> Result<(), Trouble> {
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
            let data = data.as_ref().and_then(Entry::to_frame);
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
        let entry = Entry::bytes(part, self.0.options.clock.now());
        Box::pin(async move { self.set(&part_key(place, upload, index), entry).await })
    }

    fn publish<'a>(
        &'a self,
        place: &'a CollectionPlace,
        data: Bytes,
        upload: Option<&'a str>,
        above: u64,
        lease: Lease,
    ) -> Storing<'a, Option<u64>> {
        let (options, parts) = (self.0.options.clone(), parts(place));
        let kept = upload.map(|upload| format!("{parts}{upload}."));
        let (data_key, revision_key) = (place.data(), place.revision());
        Box::pin(async move {
            // Refused here if it is too large for the file.
            let change = self.frame(&data_key, &Entry::from_frame(&data));
            let Change::Put { frame, .. } = change? else { return Ok(None) };
            let publish = move |connection: &Connection| {
                database::transaction(connection, |connection| {
                    let stored = database::get(connection, &revision_key)?;
                    let stored = stored.as_ref().and_then(number).unwrap_or(0);
                    let next = stored.max(above).saturating_add(1);
                    remove(connection, &parts, kept.as_deref())?;
                    database::put(connection, &data_key, &frame)?;
                    let revision = number_entry(next, options.clock.now())?;
                    database::put(connection, &revision_key, &revision)?;
                    keep_within(connection, &options)?;
                    Ok(next)
                })
            };
            let next = self.0.writer.ask(publish).await?;
            drop(lease);
            Ok(Some(next))
        })
    }

    fn purge<'a>(&'a self, place: &'a CollectionPlace) -> Storing<'a, bool> {
        let (parts, keys) = (parts(place), [place.data(), place.revision()]);
        Box::pin(async move {
            let purge = move |connection: &Connection| {
                database::transaction(connection, |connection| {
                    remove(connection, &parts, None)?;
                    let mut found = false;
                    for key in &keys {
                        found |= database::get(connection, key)?.is_some();
                        database::delete(connection, key)?;
                    }
                    Ok(found)
                })
            };
            self.0.writer.ask(purge).await
        })
    }

    fn mutex(&self) -> AnyMutex {
        if self.0.options.creation_locks {
            AnyMutex::new(self.0.locks.clone())
        } else {
            AnyMutex::new(self.0.local_locks.clone())
        }
    }

    fn watch(&self, place: &CollectionPlace, changed: Changed) -> Option<Watch> {
        Backend::watch(self, &place.revision(), changed)
    }
}
