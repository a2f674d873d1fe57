//! Relationships: per parent in the cache, one query for all that are missing.
#![cfg(feature = "sqlx")]

mod common;

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::sync::Arc;
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
    let (pool, (region, _)) = (fill().await, region("several"));
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

/// Numbers, and how often they were asked for.
struct Doubled(AtomicU32);

impl Doubled {
    fn of(&self, numbers: Vec<u32>) -> Ready<Result<Vec<u32>, std::io::Error>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        ready(Ok(numbers.into_iter().map(|number| 2 * number).collect()))
    }

    fn asked(&self) -> u32 {
        self.0.swap(0, Ordering::SeqCst)
    }
}

#[tokio::test]
async fn relationships_have_the_options_of_queries() {
    let ((region, clock), double) = (region("options"), Doubled(AtomicU32::new(0)));
    let related = || Related::new(&region, "double");
    let load = |numbers| double.of(numbers);
    let missed = related().cache_only().load([1_u32], load).await.unwrap_err();
    assert!(matches!(missed, Error::NotCached { key, .. } if key == "related:double:1"));
    assert_eq!(related().load([1, 2, 1], load).await.unwrap(), [2, 4, 2]);
    assert_eq!(related().cache_only().load([2, 1], load).await.unwrap(), [4, 2]);
    assert_eq!(double.asked(), 1);

    let refreshed = related().refresh().load([1, 1, 3], load).await.unwrap();
    assert_eq!((refreshed, double.asked()), (vec![2, 2, 6], 1));
    assert_eq!(related().cache_only().load([3], load).await.unwrap(), [6]);

    let large = |double: &u32| *double > 10;
    assert_eq!(related().should_cache(large).load([5, 6], load).await.unwrap(), [10, 12]);
    assert_eq!(related().refresh().should_cache(large).load([5], load).await.unwrap(), [10]);
    assert!(related().cache_only().load([5], load).await.is_err());
    assert_eq!(related().cache_only().load([6], load).await.unwrap(), [12]);
    let larger = |double: &u32| *double > 12;
    let creations = region.statistics().creations;
    let refreshed = related().refresh().should_cache(larger).load([6, 7], load).await.unwrap();
    assert_eq!((refreshed, region.statistics().creations), (vec![12, 14], creations + 2));
    assert!(related().cache_only().load([6], load).await.is_err(), "it is out of date");
    assert_eq!(related().cache_only().load([7], load).await.unwrap(), [14]);
    double.asked();

    let tenant = related().key_part("tenant").load([1], load).await.unwrap();
    assert_eq!((tenant, double.asked()), (vec![2], 1));
    clock.advance(std::time::Duration::from_secs(3_600));
    let hours = std::time::Duration::from_secs(2 * 3_600);
    related().expiration(hours).load([1], load).await.unwrap();
    assert_eq!(double.asked(), 0);
    related().load([1], load).await.unwrap();
    assert_eq!(double.asked(), 1);

    let of_table = || related().of_table("numbers");
    of_table().load([1], load).await.unwrap();
    dogpile_orm::invalidate_tables(&region, ["numbers"]).await.unwrap();
    of_table().load([1], load).await.unwrap();
    of_table().load([1], load).await.unwrap();
    assert_eq!(double.asked(), 2);
    of_table().invalidate([1]).await.unwrap();
    of_table().load([1], load).await.unwrap();
    assert_eq!(double.asked(), 1);
}

/// What is loaded already runs no query, and asks no cache.
#[tokio::test]
async fn within_a_session_related_rows_are_the_same_objects() {
    let ((region, _), double) = (region("session"), Doubled(AtomicU32::new(0)));
    let session = dogpile_orm::Session::new();
    let load = async |numbers: &[u32]| {
        let related = Related::new(&region, "double").in_session(&session);
        related.load(numbers.to_vec(), |missing| double.of(missing)).await.unwrap()
    };
    let first = load(&[1, 2]).await;
    region.invalidate_all().await.unwrap();
    let again = load(&[2, 3, 1, 2]).await;
    assert!(Arc::ptr_eq(&first[0], &again[2]) && Arc::ptr_eq(&first[1], &again[0]));
    assert!(Arc::ptr_eq(&again[0], &again[3]));
    assert_eq!((*again[1], double.asked()), (6, 2));
    let misses = region.statistics().misses;
    load(&[1, 2, 3]).await;
    assert_eq!((region.statistics().misses, double.asked()), (misses, 0));
}

/// No two relationships, parts and parents have one key.
#[tokio::test]
async fn names_may_have_colons() {
    let (region, _) = region("names");
    let load = async |name: &str, part: Option<&str>, parent: &'static str| {
        let related = Related::new(&region, name);
        let related =
            part.map_or_else(|| Related::new(&region, name), |part| related.key_part(part));
        let made = |parents: Vec<&str>| {
            let made = vec![format!("{name} {part:?} {parents:?}")];
            async { Ok::<_, std::io::Error>(made) }
        };
        related.load([parent], made).await.unwrap().concat()
    };
    let all = [
        ("a", None, "b:c"),
        ("a:b", None, "c"),
        ("a", Some("b"), "c"),
        ("a@b", None, "c"),
        ("a", Some("b:c"), ""),
        ("a%3Ab", None, "c"),
    ];
    for (name, part, parent) in all {
        let expected = format!("{name} {part:?} {:?}", [parent]);
        assert_eq!(load(name, part, parent).await, expected);
    }
}

/// Rows that were stored before a column was added are loaded again.
#[tokio::test]
async fn a_new_column_makes_old_rows_misses() {
    mod before {
        #[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
        pub(super) struct Pet {
            pub(super) id: u32,
        }
    }
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Pet {
        id: u32,
        name: Option<String>,
    }
    let (region, _) = region("pets");
    let related = || Related::new(&region, "person.pets");
    let old = async |ids: Vec<u32>| {
        Ok::<_, Error<()>>(ids.iter().map(|&id| vec![before::Pet { id }]).collect())
    };
    assert_eq!(related().load([1_u32], old).await.unwrap()[0][0].id, 1);
    let pet = |&id: &u32| vec![Pet { id, name: Some("Rex".to_owned()) }];
    let new = async |ids: Vec<u32>| Ok::<_, Error<()>>(ids.iter().map(pet).collect());
    for _ in 0..2 {
        assert_eq!(related().load([1_u32], new).await.unwrap(), [pet(&1)]);
    }
    assert_eq!(region.statistics().creations, 2);
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
    let related = || Related::new(&region, "double");
    let triple = |numbers: Vec<u32>| {
        Ok::<_, std::io::Error>(numbers.iter().map(|number| 3 * number).collect::<Vec<_>>())
    };
    assert_eq!(related().cache_only().load_blocking([2, 1], triple).unwrap(), [4, 2]);
    assert!(related().cache_only().load_blocking([3], triple).is_err());
    assert_eq!(related().refresh().load_blocking([1], triple).unwrap(), [3]);
    assert_eq!(related().load_blocking([1, 2], triple).unwrap(), [3, 4]);
    let none = |_: &u32| false;
    related().refresh().should_cache(none).load_blocking([1], triple).unwrap();
    assert!(related().cache_only().load_blocking([1], triple).is_err());
    related().invalidate_blocking([2]).unwrap();
    let session = dogpile_orm::Session::new();
    let one = related().in_session(&session).load_blocking([2], triple).unwrap();
    let two = related().in_session(&session).load_blocking([2], triple).unwrap();
    assert!(Arc::ptr_eq(&one[0], &two[0]) && *one[0] == 6);
}
