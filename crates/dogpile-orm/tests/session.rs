//! A session's cache before the region, and invalidation by table.
#![cfg(all(feature = "sqlx", feature = "axum"))]

mod common;

use std::sync::Arc;

use axum_core::extract::FromRequestParts;
use common::region;
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
    region.invalidate_all().await.unwrap();
    assert!(Arc::ptr_eq(&first, &load(&session).await));
    session.clear();
    assert!(session.is_empty());
    assert_eq!((load(&session).await.concat(), first.concat()), ("Alan".into(), "Ada".into()));

    // What the session itself refreshes or invalidates, it has again.
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

/// What a session has needs no look into the cache, not for the versions either.
#[tokio::test]
async fn a_session_asks_nobody_twice() {
    let (pool, (region, _)) = (people().await, region("people"));
    let session = Session::new();
    let names = || names().from_cache(&region).of_table("people").in_session(&session);
    let first = names().fetch_all(&pool).await.unwrap();
    invalidate_tables(&region, ["people"]).await.unwrap();
    let before = region.statistics();
    assert!(Arc::ptr_eq(&first, &names().fetch_all(&pool).await.unwrap()));
    let after = region.statistics();
    assert_eq!((before.hits, before.misses), (after.hits, after.misses));
    names().invalidate().await.unwrap();
    assert!(!Arc::ptr_eq(&first, &names().fetch_all(&pool).await.unwrap()));
}

/// When the cache is away, a query that names a table runs one at a time: what it says goes
/// to the callers that waited for it, the next to those who came meanwhile. It is not stored, and not
/// taken for what was there before.
#[tokio::test]
async fn without_the_cache_a_query_of_a_table_runs_one_at_a_time() {
    use dogpile::backend::SerializedMemory;
    use dogpile::testing::Faults;
    use dogpile::{Config, Region};
    use std::sync::atomic::{AtomicU32, Ordering};

    let (faults, region) = (Faults::new(), Region::named("away"));
    let config = Config::new(SerializedMemory::new(100)).proxy(faults.clone());
    region.configure(config).unwrap();
    let (ran, region) = (AtomicU32::new(0), &region);
    let load = async |names: &str| {
        let crowd = Arc::new(tokio::sync::Barrier::new(20));
        let asking = (0..20).map(|_| {
            let crowd = crowd.clone();
            let load = async |ids: Vec<u32>| {
                ran.fetch_add(1, Ordering::SeqCst);
                // So that all have asked before it ends.
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                Ok::<_, std::io::Error>(ids.iter().map(|_| names.to_owned()).collect())
            };
            async move {
                crowd.wait().await;
                let related = dogpile_orm::Related::new(region, "names").of_table("people");
                related.load([1_u32], load).await.unwrap().concat()
            }
        });
        futures_util::future::join_all(asking).await
    };
    faults.down();
    assert_eq!(load("Ada").await, ["Ada"; 20]);
    assert!(ran.swap(0, Ordering::SeqCst) <= 2);
    faults.clear();
    assert_eq!(load("Alan").await, ["Alan"; 20]);
    assert_eq!(ran.swap(0, Ordering::SeqCst), 1);
    faults.down();
    assert_eq!(load("Grace").await, ["Grace"; 20]);
    assert!(ran.swap(0, Ordering::SeqCst) <= 2);
}

#[tokio::test]
async fn a_table_is_invalidated_with_all_that_was_read_from_it() {
    let (pool, (region, clock)) = (people().await, region("people"));
    let of_people = || names().from_cache(&region).of_table("people");
    let of_both = || names().from_cache(&region).of_table("people").of_table("pets");
    let in_any_order = || names().from_cache(&region).of_table("pets").of_table("people");
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
    // The versions do not expire, where the results do.
    clock.advance(std::time::Duration::from_secs(3_600));
    let hour = std::time::Duration::from_secs(2 * 3_600);
    rename(&pool, "Grace").await;
    let kept = of_people().expiration(hour).fetch_one(&pool).await.unwrap();
    assert_eq!((&*kept, all().await), ("Alan", ["Grace"; 3].map(str::to_owned)));
    rename(&pool, "Edith").await;
    of_people().invalidate().await.unwrap();
    in_any_order().invalidate().await.unwrap();
    assert_eq!(all().await, ["Edith", "Edith", "Grace"]);
    dogpile_orm::invalidate_tables_blocking(&region, ["pets"]).unwrap();
    assert_eq!(all().await, ["Edith"; 3]);
    assert!(invalidate_tables("nowhere", ["people"]).await.is_err());
}
