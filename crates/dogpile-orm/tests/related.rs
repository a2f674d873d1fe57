//! Relationships: per parent in the cache, one query for all that are missing.
#![cfg(feature = "sqlx")]

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use common::{postgres, region};
use dogpile_orm::{Error, Related};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, sqlx::FromRow)]
struct Address {
    person_id: i64,
    street: String,
}

/// A hundred people; those with even numbers have a passport, and each has as many
/// addresses as their number modulo three, and a tag or two.
async fn fill() -> PgPool {
    let pool = PgPool::connect(&postgres()).await.unwrap();
    sqlx::raw_sql(
        "CREATE TABLE addresses AS
             SELECT p AS person_id, 'street ' || p || '.' || a AS street
             FROM generate_series(1::bigint, 100) p, generate_series(1, 2) a WHERE a <= p % 3;
         CREATE TABLE passports AS
             SELECT p AS person_id, 'N' || p AS number FROM generate_series(2::bigint, 100, 2) p;
         CREATE TABLE tags AS SELECT t AS id, 'tag ' || t AS name FROM generate_series(0::bigint, 9) t;
         CREATE TABLE people_tags AS
             SELECT p AS person_id, (p + d) % 10 AS tag_id
             FROM generate_series(1::bigint, 100) p, generate_series(0, 1) d;",
    )
    .execute(&pool)
    .await
    .unwrap();
    pool
}

/// Rows of (parent, row) as one list for each parent.
fn grouped<T>(parents: &[i64], rows: Vec<(i64, T)>) -> Vec<Vec<T>> {
    let mut groups: HashMap<i64, Vec<T>> = HashMap::new();
    for (parent, row) in rows {
        groups.entry(parent).or_default().push(row);
    }
    parents.iter().map(|parent| groups.remove(parent).unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_hundred_parents_are_one_query_or_none() {
    let (pool, (region, _)) = (fill().await, region("related"));
    let queries = AtomicU32::new(0);
    let addresses = async |people: Vec<i64>| {
        queries.fetch_add(1, Ordering::SeqCst);
        let query = "SELECT * FROM addresses WHERE person_id = ANY($1) ORDER BY street";
        let rows: Vec<Address> = sqlx::query_as(query).bind(&people).fetch_all(&pool).await?;
        let rows = rows.into_iter().map(|address| (address.person_id, address)).collect();
        Ok::<_, sqlx::Error>(grouped(&people, rows))
    };
    let load = async |people: std::ops::RangeInclusive<i64>| {
        Related::new(&region, "person.addresses").load(people, addresses).await.unwrap()
    };
    let count = || queries.swap(0, Ordering::SeqCst);
    let cold = load(1..=100).await;
    assert_eq!(
        (cold.len(), cold[4].len(), &*cold[4][1].street, count()),
        (100, 2, "street 5.2", 1)
    );
    assert!(cold[2].is_empty(), "that there is nothing is remembered too");
    assert_eq!((load(1..=100).await, count()), (cold.clone(), 0));
    Related::new(&region, "person.addresses").invalidate(1..=50).await.unwrap();
    assert_eq!((load(1..=100).await, count()), (cold.clone(), 1), "half warm");
    assert_eq!((load(7..=7).await, count()), (cold[6..7].to_vec(), 0), "one, or many at a time");
    assert_eq!((load(101..=101).await, count()), (vec![vec![]], 1));
}

#[tokio::test]
async fn several_relationships_are_a_query_each() {
    let (pool, (region, _)) = {
        // The other test makes the tables.
        let pool = PgPool::connect(&postgres()).await.unwrap();
        let ready = async || sqlx::query("SELECT 1 FROM people_tags").execute(&pool).await.is_ok();
        while !ready().await {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        (pool, region("several"))
    };
    let people = [1_i64, 2, 3];
    let passports = async |people: Vec<i64>| {
        let query = "SELECT person_id, number FROM passports WHERE person_id = ANY($1)";
        let rows = sqlx::query_as(query).bind(&people).fetch_all(&pool).await?;
        let one = |mut numbers: Vec<String>| numbers.pop();
        Ok::<_, sqlx::Error>(grouped(&people, rows).into_iter().map(one).collect())
    };
    let tags = async |people: Vec<i64>| {
        let query = "SELECT person_id, name FROM people_tags JOIN tags ON id = tag_id
            WHERE person_id = ANY($1) ORDER BY name";
        let rows: Vec<(i64, String)> = sqlx::query_as(query).bind(&people).fetch_all(&pool).await?;
        Ok::<_, sqlx::Error>(grouped(&people, rows))
    };
    for _ in 0..2 {
        let (passports, tags) = tokio::try_join!(
            Related::new(&region, "person.passport").load(people, passports),
            Related::new(&region, "person.tags").load(people, tags),
        )
        .unwrap();
        assert_eq!(passports, [None, Some("N2".to_owned()), None]);
        assert_eq!(tags[1], ["tag 2", "tag 3"]);
        assert_eq!(region.statistics().creations, 6);
    }
    let wrong = |_: Vec<i64>| async { Ok::<Vec<String>, sqlx::Error>(Vec::new()) };
    let wrong = Related::new(&region, "wrong").load(people, wrong).await.unwrap_err();
    assert!(matches!(wrong, Error::Cache(dogpile::Error::WrongCount { .. })));
    let unknown = Related::new("nowhere", "person.tags").load(people, tags).await.unwrap_err();
    assert!(matches!(unknown, Error::UnknownRegion { .. }));
}

#[test]
fn blocking_code_has_the_same() {
    let (region, _) = region("blocking");
    for _ in 0..2 {
        let doubled = Related::new(&region, "double").load_blocking([1, 2, 1], |missing| {
            Ok::<_, std::io::Error>(missing.iter().map(|n| 2 * n).collect::<Vec<u32>>())
        });
        assert_eq!(doubled.unwrap(), [2, 4, 2]);
    }
    assert_eq!(region.statistics().creations, 2);
}
