//! A session's cache before the region, and invalidation by table.
#![cfg(all(feature = "sqlx", feature = "axum"))]

mod common;

use std::sync::Arc;

use axum_core::extract::FromRequestParts;
use common::region;
use dogpile::Mode;
use dogpile_orm::sqlx::FromCacheExt;
use dogpile_orm::{Session, invalidate_tables};
use sqlx::SqlitePool;

async fn people() -> SqlitePool {
    let options = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
    let pool = options.connect("sqlite::memory:").await.unwrap();
    let table = "CREATE TABLE people (name TEXT); INSERT INTO people VALUES ('Ada')";
    sqlx::raw_sql(table).execute(&pool).await.unwrap();
    pool
}

type Scalar = sqlx::query::QueryScalar<
    'static,
    sqlx::Sqlite,
    String,
    <sqlx::Sqlite as sqlx::Database>::Arguments,
>;

fn names() -> Scalar {
    sqlx::query_scalar("SELECT name FROM people")
}

async fn rename(pool: &SqlitePool, name: &str) {
    sqlx::query("UPDATE people SET name = ?").bind(name).execute(pool).await.unwrap();
}

#[tokio::test]
async fn within_a_session_a_result_is_the_same_object() {
    let (pool, (region, _)) = (people().await, region("people"));
    let (session, other) = (Session::new(), Session::new());
    let load = async |session: &Session| {
        names().from_cache(&region).in_session(session).fetch_all(&pool).await.unwrap()
    };
    let first = load(&session).await;
    assert!(Arc::ptr_eq(&first, &load(&session).await));
    let one = names().from_cache(&region).in_session(&session).fetch_one(&pool).await.unwrap();
    let again = names().from_cache(&region).in_session(&session).fetch_one(&pool).await.unwrap();
    assert!(Arc::ptr_eq(&one, &again) && *one == "Ada");
    assert!(!Arc::ptr_eq(&first, &load(&other).await), "another session, another object");
    assert_eq!(region.statistics().creations, 2, "but the same query");

    // Neither the cache nor the database changes what a session has.
    rename(&pool, "Alan").await;
    region.invalidate(Mode::Hard).await.unwrap();
    assert!(Arc::ptr_eq(&first, &load(&session).await));
    session.clear();
    assert!(session.is_empty());
    assert_eq!((load(&session).await.concat(), first.concat()), ("Alan".into(), "Ada".into()));

    // What the session itself refreshes or invalidates, it has anew.
    rename(&pool, "Grace").await;
    let refreshed = names().from_cache(&region).in_session(&session).refresh();
    assert_eq!(refreshed.fetch_all(&pool).await.unwrap().concat(), "Grace");
    assert_eq!(load(&session).await.concat(), "Grace");
    rename(&pool, "Edith").await;
    names().from_cache(&region).in_session(&session).invalidate().await.unwrap();
    assert_eq!(load(&session).await.concat(), "Edith");
}

#[tokio::test]
async fn a_request_has_a_session() {
    let (mut parts, ()) = http::Request::new(()).into_parts();
    let one = Session::from_request_parts(&mut parts, &()).await.unwrap();
    let again = Session::from_request_parts(&mut parts, &()).await.unwrap();
    let (pool, (region, _)) = (people().await, region("people"));
    let load = async |session: &Session| {
        names().from_cache(&region).in_session(session).fetch_all(&pool).await.unwrap()
    };
    assert!(Arc::ptr_eq(&load(&one).await, &load(&again).await));
    let (mut next, ()) = http::Request::new(()).into_parts();
    let next = Session::from_request_parts(&mut next, &()).await.unwrap();
    assert!(next.is_empty());
}

#[tokio::test]
async fn a_table_is_invalidated_with_all_that_was_read_from_it() {
    let (pool, (region, clock)) = (people().await, region("people"));
    let of_people = || names().from_cache(&region).of_table("people");
    let of_both = || names().from_cache(&region).of_table("people").of_table("pets");
    let others = || names().from_cache(&region).of_table("pets");
    let all = async || {
        let load =
            async |query: dogpile_orm::FromCache<'_, Scalar>| query.fetch_one(&pool).await.unwrap();
        [load(of_people()).await, load(of_both()).await, load(others()).await]
    };
    assert_eq!(all().await, ["Ada"; 3]);
    rename(&pool, "Alan").await;
    assert_eq!(all().await, ["Ada"; 3]);
    invalidate_tables(&region, ["people"]).await.unwrap();
    assert_eq!(all().await, ["Alan", "Alan", "Ada"]);
    // The versions do not expire.
    clock.advance(std::time::Duration::from_secs(59));
    rename(&pool, "Grace").await;
    assert_eq!(all().await, ["Alan", "Alan", "Ada"]);
    of_people().invalidate().await.unwrap();
    assert_eq!(all().await, ["Grace", "Alan", "Ada"]);
    assert!(invalidate_tables("nowhere", ["people"]).await.is_err());
}
