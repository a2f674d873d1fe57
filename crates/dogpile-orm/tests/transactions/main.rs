//! Within a transaction cached queries are its own: they read its snapshot and its changes, and
//! nobody else gets those.
#![cfg(all(feature = "sqlx", feature = "sea-orm", feature = "diesel-async"))]

#[path = "../common/mod.rs"]
mod common;

mod diesel_connections;
mod sea_orm_connections;
mod sqlx_executors;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use tempfile::TempDir;

/// A database in a file that several connections can have, where readers and a writer do not
/// wait for each other.
struct SqliteFile(TempDir);

impl SqliteFile {
    fn new() -> Self {
        let file = Self(TempDir::new().unwrap());
        let mut connection = SqliteConnection::establish(&file.path()).unwrap();
        connection.batch_execute("PRAGMA journal_mode = WAL").unwrap();
        file
    }

    fn path(&self) -> String {
        self.0.path().join("people.db").display().to_string()
    }

    fn url(&self) -> String {
        format!("sqlite://{}?mode=rwc", self.path())
    }
}

const TABLE: [&str; 2] = [
    "CREATE TABLE people (id BIGINT PRIMARY KEY, name TEXT NOT NULL)",
    "INSERT INTO people VALUES (1, 'Ada')",
];
