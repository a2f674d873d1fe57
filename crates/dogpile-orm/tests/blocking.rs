//! Blocking queries on the only thread of a runtime, where waiting is refused.
#![cfg(feature = "diesel")]

use std::sync::Arc;

use diesel::prelude::*;
use dogpile::backend::{AnyBackend, BackendError, Memory};
use dogpile::proxy::Proxy;
use dogpile::value::Entry;
use dogpile::{Config, Region};
use dogpile_orm::diesel::FromCacheExt;
use dogpile_orm::{Error, Session};

#[allow(missing_docs, reason = "Diesel makes it")]
mod schema {
    diesel::table! {
        people (id) { id -> BigInt, name -> Text, }
    }
}

use schema::people;

fn sqlite() -> SqliteConnection {
    let mut connection = SqliteConnection::establish(":memory:").unwrap();
    let table = "CREATE TABLE people (id BIGINT PRIMARY KEY, name TEXT NOT NULL)";
    diesel::sql_query(table).execute(&mut connection).unwrap();
    let rows = "INSERT INTO people VALUES (1, 'Ada'), (2, 'Alan')";
    diesel::sql_query(rows).execute(&mut connection).unwrap();
    connection
}

/// A backend whose reads, or writes, have to wait.
struct Slow {
    reads: bool,
}

impl Proxy for Slow {
    async fn get(&self, next: &AnyBackend, key: &str) -> Result<Option<Entry>, BackendError> {
        if self.reads {
            tokio::task::yield_now().await;
        }
        next.get(key).await
    }

    async fn set(&self, next: &AnyBackend, key: &str, entry: Entry) -> Result<(), BackendError> {
        tokio::task::yield_now().await;
        next.set(key, entry).await
    }
}

fn region(slow: Slow) -> Region {
    let region = Region::new("slow");
    region.configure(Config::new(Memory::new(10)).proxy(slow)).unwrap();
    region
}

fn on_the_only_thread<T>(call: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { call() })
}

fn names() -> people::table {
    people::table
}

#[test]
fn a_call_of_the_cache_only_never_asks_the_database() {
    let (mut connection, region) = (sqlite(), region(Slow { reads: true }));
    let found: Result<Vec<(i64, String)>, _> =
        on_the_only_thread(|| names().from_cache(&region).cache_only().load(&mut connection));
    let refused = found.unwrap_err();
    assert!(matches!(refused, Error::Cache(dogpile::Error::WouldDeadlock { .. })), "{refused:?}");
}

#[test]
fn rows_that_were_read_before_waiting_was_refused_are_returned() {
    let (mut connection, region) = (sqlite(), region(Slow { reads: false }));
    let found: Result<Vec<(i64, String)>, _> =
        on_the_only_thread(|| names().from_cache(&region).load(&mut connection));
    assert_eq!(found.unwrap().len(), 2);
}

#[test]
fn a_session_keeps_rows_that_were_read_past_the_cache() {
    let (mut connection, region) = (sqlite(), region(Slow { reads: true }));
    let session = Session::new();
    let mut load = || -> Arc<Vec<(i64, String)>> {
        let query = names().from_cache(&region).in_session(&session);
        on_the_only_thread(|| query.load(&mut connection)).unwrap()
    };
    let first = load();
    assert!(Arc::ptr_eq(&first, &load()));
}
