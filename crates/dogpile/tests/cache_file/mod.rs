//! A cache file under test.

#![allow(dead_code, reason = "each program of tests needs some of it")]

use std::path::{Path, PathBuf};

use dogpile::backend::inspect::Inspect;
use dogpile::backend::{Backend, File};
use dogpile::value::{Entry, Payload};
use rusqlite::Connection;
use tempfile::TempDir;

pub(crate) fn place() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("cache.db");
    (directory, path)
}

pub(crate) fn entry(payload: &[u8], ct: f64) -> Entry {
    Entry::bytes(payload.to_vec(), ct)
}

pub(crate) async fn payload(file: &File, key: &str) -> Option<Vec<u8>> {
    match file.get(key).await.unwrap()?.payload {
        Payload::Bytes(bytes) => Some(bytes.to_vec()),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn entries(file: &File) -> u64 {
    info(file, "entries").await.as_u64().unwrap()
}

pub(crate) async fn info(file: &File, name: &str) -> serde_json::Value {
    let info = file.info().await.unwrap();
    info.into_iter().find(|(known, _)| *known == name).unwrap().1
}

/// Fills a sound cache file with some entries and closes it.
pub(crate) async fn filled(path: &Path) {
    let file = File::open(path).unwrap();
    for n in 0..200 {
        file.set(&format!("key-{n}"), entry(&[b'x'; 500], 1.0)).await.unwrap();
    }
    drop(file);
    let connection = Connection::open(path).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}
