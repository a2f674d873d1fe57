//! Queries of sqlx, on SQLite, PostgreSQL and MariaDB.
#![cfg(feature = "sqlx")]

mod common;

use std::time::Duration;

use common::{mariadb, postgres, region};
use dogpile_orm::Error;
use dogpile_orm::sqlx::FromCacheExt;
use serde::{Deserialize, Serialize};
use sqlx::types::chrono::{DateTime, Utc};
use sqlx::types::{Decimal, Json, Uuid};
use sqlx::{MySql, MySqlPool, PgPool, Postgres, Sqlite, SqlitePool};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, sqlx::FromRow)]
struct Person {
    id: i64,
    name: String,
}

async fn sqlite() -> SqlitePool {
    let options = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
    let pool = options.connect("sqlite::memory:").await.unwrap();
    sqlx::raw_sql(
        "CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
         INSERT INTO people VALUES (1, 'Ada'), (2, 'Alan'), (3, 'Grace');",
    )
    .execute(&pool)
    .await
    .unwrap();
    pool
}

async fn rename(pool: &SqlitePool, id: i64, name: &str) {
    let update = sqlx::query("UPDATE people SET name = ? WHERE id = ?").bind(name).bind(id);
    update.execute(pool).await.unwrap();
}

type Query<T> = sqlx::query::QueryAs<'static, Sqlite, T, <Sqlite as sqlx::Database>::Arguments>;

fn one(id: i64) -> Query<Person> {
    sqlx::query_as("SELECT * FROM people WHERE id = ?").bind(id)
}

#[tokio::test]
async fn a_result_is_kept_until_it_expires() {
    let (pool, (region, clock)) = (sqlite().await, region("people"));
    let name = async |id| one(id).from_cache(&region).fetch_one(&pool).await.unwrap().name;
    assert_eq!((name(1).await, name(2).await), ("Ada".into(), "Alan".into()));
    rename(&pool, 1, "Augusta").await;
    assert_eq!(name(1).await, "Ada");
    clock.advance(Duration::from_secs(61));
    assert_eq!(name(1).await, "Augusta");
    assert_eq!(region.statistics().creations, 3);
}

#[tokio::test]
async fn a_result_is_invalidated_by_the_same_statement_and_values() {
    let (pool, (region, _)) = (sqlite().await, region("people"));
    let all = async |id| one(id).from_cache(&region).fetch_all(&pool).await.unwrap();
    let first = async |id| one(id).from_cache(&region).fetch_optional(&pool).await.unwrap();
    for id in [1, 2] {
        assert_eq!(all(id).await.first(), first(id).await.as_ref());
    }
    rename(&pool, 1, "Augusta").await;
    rename(&pool, 2, "Alonzo").await;
    one(1).from_cache(&region).invalidate().await.unwrap();
    assert_eq!(
        (all(1).await[0].name.as_str(), &*first(1).await.unwrap().name),
        ("Augusta", "Augusta")
    );
    assert_eq!((all(2).await[0].name.as_str(), &*first(2).await.unwrap().name), ("Alan", "Alan"));
}

#[tokio::test]
async fn what_is_not_there_is_remembered_and_errors_are_not() {
    let (pool, (region, _)) = (sqlite().await, region("people"));
    let missing = async || one(9).from_cache(&region).fetch_optional(&pool).await.unwrap();
    assert_eq!((missing().await, missing().await), (None, None));
    assert_eq!(region.statistics().creations, 1);
    let not_found = one(9).from_cache(&region).fetch_one(&pool).await.unwrap_err();
    assert!(matches!(not_found, Error::Database(sqlx::Error::RowNotFound)));

    let broken = || sqlx::query_as::<_, Person>("SELECT * FROM nowhere").from_cache(&region);
    assert!(matches!(broken().fetch_all(&pool).await, Err(Error::Database(_))));
    sqlx::raw_sql("CREATE TABLE nowhere (id INTEGER, name TEXT)").execute(&pool).await.unwrap();
    assert_eq!(broken().fetch_all(&pool).await.unwrap(), []);
}

#[tokio::test]
async fn a_stale_result_stands_in_for_a_database_that_fails() {
    let (pool, (region, clock)) = (sqlite().await, region("people"));
    let minute = Duration::from_secs(60);
    let options = dogpile::EntryOptions::new().expiration(minute).resilient();
    let cached = || one(1).from_cache(&region).options(options.clone()).fetch_one(&pool);
    let before = cached().await.unwrap();
    sqlx::raw_sql("DROP TABLE people").execute(&pool).await.unwrap();
    clock.advance(10 * minute);
    assert_eq!(cached().await.unwrap(), before);
    assert_eq!(region.statistics().stale_on_error, 1);
    assert!(one(1).from_cache(&region).expiration(minute).fetch_one(&pool).await.is_err());
}

#[tokio::test]
async fn calls_have_options() {
    let (pool, (region, clock)) = (sqlite().await, region("people"));
    let cached = || one(1).from_cache(&region);
    let missed = cached().cache_only().fetch_one(&pool).await.unwrap_err();
    assert!(matches!(missed, Error::NotCached { .. }), "{missed}");
    let long = cached().expiration(Duration::from_secs(3_600)).fetch_one(&pool).await.unwrap();
    rename(&pool, 1, "Augusta").await;
    clock.advance(Duration::from_secs(1800));
    let hour = Duration::from_secs(3_600);
    assert_eq!(cached().expiration(hour).fetch_one(&pool).await.unwrap(), long);
    clock.advance(Duration::from_secs(9 * 3_600));
    assert_eq!(cached().cache_only().fetch_one(&pool).await.unwrap(), long, "however old");

    let tenant = |part: &str| one(1).from_cache(&region).key_part(part);
    assert_eq!(tenant("a").fetch_one(&pool).await.unwrap().name, "Augusta");
    let few = |people: &Vec<Person>| people.len() < 2;
    let everybody = || sqlx::query_as::<_, Person>("SELECT * FROM people").from_cache(&region);
    let before = region.statistics().vetoed;
    assert_eq!(everybody().should_cache(few).fetch_all(&pool).await.unwrap().len(), 3);
    assert_eq!(region.statistics().vetoed, before + 1);
    let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM people");
    assert_eq!(count.from_cache(&region).fetch_one(&pool).await.unwrap(), 3);
}

#[tokio::test]
async fn regions_go_by_their_names() {
    let pool = sqlite().await;
    let settings = dogpile::config::Settings::from_toml("[long]\nbackend = \"memory\"").unwrap();
    assert_eq!(dogpile_orm::configure(&settings).unwrap(), ["long"]);
    assert_eq!(one(1).from_cache("long").fetch_one(&pool).await.unwrap().name, "Ada");
    assert_eq!(dogpile_orm::region("long").unwrap().statistics().creations, 1);
    let unknown = one(1).from_cache("short").fetch_one(&pool).await.unwrap_err();
    assert!(unknown.to_string().contains("`short`") && unknown.to_string().contains("long"));
    let broken = dogpile::config::Settings::from_iter([("x.backend", "radis")]);
    let refused = dogpile_orm::configure(&broken).unwrap_err().to_string();
    assert!(refused.contains("`x`") && refused.contains("radis"), "{refused}");

    // A static one; in a test nobody need configure it.
    static STATIC: dogpile::Region = dogpile::Region::new("static");
    dogpile_orm::register(&STATIC);
    assert_eq!(one(1).from_cache("static").fetch_one(&pool).await.unwrap().name, "Ada");
    one(1).from_cache("static").invalidate().await.unwrap();
    dogpile_orm::invalidate_tables("static", ["people"]).await.unwrap();
}

#[tokio::test]
async fn a_new_column_makes_old_rows_misses() {
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, sqlx::FromRow)]
    struct Before {
        id: i64,
    }
    let (pool, (region, _)) = (sqlite().await, region("people"));
    let query = "SELECT * FROM people WHERE id = 1";
    let before = sqlx::query_as::<_, Before>(query).from_cache(&region);
    assert_eq!(before.fetch_one(&pool).await.unwrap(), Before { id: 1 });
    // The same struct after a migration, as far as its name goes.
    mod after {
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, sqlx::FromRow)]
        pub(super) struct Before {
            pub(super) id: i64,
            pub(super) name: Option<String>,
        }
    }
    let after = sqlx::query_as::<_, after::Before>(query).from_cache(&region);
    let name = Some("Ada".to_owned());
    assert_eq!(after.fetch_one(&pool).await.unwrap(), after::Before { id: 1, name });
}

/// Calls from spawned tasks, within functions that return sqlx's own error.
#[tokio::test]
async fn one_query_for_a_crowd() {
    let (pool, (region, _)) = (sqlite().await, region("people"));
    let tasks = (0..50).map(|_| {
        let (pool, region) = (pool.clone(), region.clone());
        tokio::spawn(async move {
            let people = one(3).from_cache(&region).fetch_all(&pool).await?;
            Ok::<_, sqlx::Error>(people[0].name.clone())
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        assert_eq!(task.await.unwrap().unwrap(), "Grace");
    }
    assert_eq!(region.statistics().creations, 1);
}

type PgQuery =
    sqlx::query::QueryAs<'static, Postgres, (bool,), <Postgres as sqlx::Database>::Arguments>;

/// Values that differ, or only their types do, have different keys; equal ones have
/// the same.
#[tokio::test]
async fn keys_tell_values_and_their_types_apart() {
    #[derive(Debug, Clone, Copy, sqlx::Type)]
    #[sqlx(type_name = "mood", rename_all = "lowercase")]
    enum Mood {
        Happy,
        Sad,
    }
    let pool = PgPool::connect(&postgres()).await.unwrap();
    sqlx::raw_sql("CREATE TYPE mood AS ENUM ('happy', 'sad')").execute(&pool).await.unwrap();
    let (region, _) = region("values");
    let bind = || sqlx::query_as("SELECT $1 IS NULL");
    let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    let uuid = |n| Uuid::from_u128(n);
    let all = || -> Vec<PgQuery> {
        vec![
            bind().bind(1_i16),
            bind().bind(1_i32),
            bind().bind(1_i64),
            bind().bind(2_i64),
            bind().bind(1_f32),
            bind().bind(1_f64),
            bind().bind("1"),
            bind().bind(""),
            bind().bind("a"),
            bind().bind(b"a".to_vec()),
            bind().bind(b"1".to_vec()),
            bind().bind(true),
            bind().bind(false),
            bind().bind(None::<i32>),
            bind().bind(None::<i64>),
            bind().bind(None::<String>),
            bind().bind(Decimal::new(10, 1)),
            bind().bind(Decimal::new(1, 0)),
            bind().bind(uuid(1)),
            bind().bind(uuid(2)),
            bind().bind(Json(serde_json::json!({"a": 1}))),
            bind().bind(Json(serde_json::json!({"a": "1"}))),
            bind().bind(vec![1_i32, 2]),
            bind().bind(vec![2_i32, 1]),
            bind().bind(vec![1_i64, 2]),
            bind().bind(vec!["1", "2"]),
            bind().bind(vec!["12"]),
            bind().bind(time("2026-01-02T03:04:05Z")),
            bind().bind(time("2026-01-02T03:04:05Z").naive_utc()),
            bind().bind(time("2026-01-02T03:04:06Z")),
            bind().bind(Mood::Happy),
            bind().bind(Mood::Sad),
        ]
    };
    let count = all().len();
    for round in 1..=2_u64 {
        for query in all() {
            let query = query.persistent(false);
            query.from_cache(&region).fetch_one(&pool).await.unwrap();
        }
        assert_eq!(region.statistics().creations, count as u64, "round {round}");
    }
}

type MyQuery = sqlx::query::QueryAs<'static, MySql, (i32,), <MySql as sqlx::Database>::Arguments>;

#[tokio::test]
async fn the_same_on_mariadb() {
    let pool = MySqlPool::connect(&mariadb()).await.unwrap();
    let (region, _) = region("values");
    let bind = || sqlx::query_as("SELECT 1 FROM DUAL WHERE ? IS NULL OR 1 = 1");
    let all = || -> Vec<MyQuery> {
        vec![
            bind().bind(1_i8),
            bind().bind(1_i16),
            bind().bind(1_i32),
            bind().bind(1_i64),
            bind().bind(2_i64),
            bind().bind(1_u64),
            bind().bind(1_f32),
            bind().bind(1_f64),
            bind().bind("1"),
            bind().bind(""),
            bind().bind(b"1".to_vec()),
            bind().bind(None::<i32>),
            bind().bind(None::<String>),
            bind().bind(Decimal::new(10, 1)),
            bind().bind(Uuid::from_u128(1)),
            bind().bind(Uuid::from_u128(2)),
            bind().bind(Json(serde_json::json!([1]))),
            bind().bind("2026-01-02T03:04:05Z".parse::<DateTime<Utc>>().unwrap()),
        ]
    };
    for round in 1..=2_u64 {
        for query in all() {
            let query = query.persistent(false);
            query.from_cache(&region).fetch_one(&pool).await.unwrap();
        }
        assert_eq!(region.statistics().creations, all().len() as u64, "round {round}");
    }
    sqlx::raw_sql("CREATE TABLE own (id BIGINT, name TEXT)").execute(&pool).await.unwrap();
    sqlx::raw_sql("INSERT INTO own VALUES (1, 'Ada')").execute(&pool).await.unwrap();
    let query = || sqlx::query_as::<_, Person>("SELECT * FROM own WHERE id = ?").bind(1);
    assert_eq!(query().from_cache(&region).fetch_one(&pool).await.unwrap().name, "Ada");
    sqlx::raw_sql("UPDATE own SET name = 'Alan'").execute(&pool).await.unwrap();
    assert_eq!(query().from_cache(&region).fetch_one(&pool).await.unwrap().name, "Ada");
    query().from_cache(&region).invalidate().await.unwrap();
    assert_eq!(query().from_cache(&region).fetch_one(&pool).await.unwrap().name, "Alan");
}

/// Rows of every kind come out of the cache as they went in.
#[tokio::test]
async fn rows_survive_the_cache() {
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, sqlx::Type)]
    #[sqlx(type_name = "colour", rename_all = "lowercase")]
    enum Colour {
        Red,
        Green,
    }
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, sqlx::FromRow)]
    struct Everything {
        small: i16,
        medium: i32,
        large: i64,
        real: f32,
        double: f64,
        exact: Decimal,
        id: Uuid,
        document: Json<serde_json::Value>,
        numbers: Vec<i64>,
        words: Vec<Option<String>>,
        at: DateTime<Utc>,
        bytes: Vec<u8>,
        nothing: Option<i32>,
        colour: Colour,
    }
    let pool = PgPool::connect(&postgres()).await.unwrap();
    sqlx::raw_sql("CREATE TYPE colour AS ENUM ('red', 'green')").execute(&pool).await.unwrap();
    let query = || {
        sqlx::query_as::<_, Everything>(
            "SELECT (-32768)::int2 AS small, 2147483647 AS medium, (-9223372036854775808)::int8 AS large,
                0.1::float4 AS real, 1e-300::float8 AS double, 123456789.123456789::numeric AS exact,
                '6f2b1c9e-0000-4000-8000-000000000001'::uuid AS id, '{\"a\": [1, null]}'::jsonb AS document,
                '{1,-2}'::int8[] AS numbers, ARRAY['a', NULL] AS words,
                '2026-01-02 03:04:05.678901+02'::timestamptz AS at, '\\x00ff'::bytea AS bytes,
                NULL::int4 AS nothing, colour FROM unnest(ARRAY['red', 'green']::colour[]) colour",
        )
    };
    let (region, _) = region("everything");
    let direct = query().fetch_all(&pool).await.unwrap();
    for _ in 0..2 {
        assert_eq!(query().from_cache(&region).fetch_all(&pool).await.unwrap(), direct);
        assert_eq!(region.statistics().creations, 1);
    }
    assert_eq!((direct[0].colour.clone(), direct[1].colour.clone()), (Colour::Red, Colour::Green));
}

/// A NULL is a row, and not the same as none.
#[tokio::test]
async fn a_row_that_is_null_is_remembered_as_one() {
    let (pool, (region, _)) = (sqlite().await, region("null"));
    let greatest =
        || sqlx::query_scalar::<_, Option<i64>>("SELECT max(id) FROM people WHERE id > 9");
    for _ in 0..2 {
        assert_eq!(greatest().from_cache(&region).fetch_one(&pool).await.unwrap(), None);
        let row = greatest().from_cache(&region).fetch_optional(&pool).await.unwrap();
        assert_eq!(row, Some(None));
    }
    assert_eq!(region.statistics().creations, 1);
    let none = sqlx::query_scalar::<_, Option<i64>>("SELECT id FROM people WHERE id > 9");
    let seen = |row: &Option<Option<i64>>| row.is_some();
    let kept = none.from_cache(&region).should_cache(seen).fetch_optional(&pool).await.unwrap();
    assert_eq!((kept, region.statistics().vetoed), (None, 1));
}

/// Rows that would come out of the cache with a default in them do not come at all.
#[tokio::test]
async fn a_field_that_is_lost_is_an_error() {
    #[derive(Debug, Clone, Serialize, Deserialize, sqlx::FromRow)]
    struct Lossy {
        #[serde(skip_deserializing)]
        id: i64,
        name: String,
    }
    let (pool, (region, _)) = (sqlite().await, region("lossy"));
    let query = || sqlx::query_as::<_, Lossy>("SELECT * FROM people").from_cache(&region);
    for _ in 0..2 {
        let lost = query().fetch_all(&pool).await.unwrap_err();
        assert!(matches!(&lost, Error::LostField { field, .. } if field == "id"), "{lost}");
        assert!(lost.to_string().contains("serde skips it"));
        assert!(query().fetch_one(&pool).await.is_err());
    }
}

/// Nested structs may gain columns too.
#[tokio::test]
async fn a_new_column_of_a_struct_within_makes_old_rows_misses() {
    mod before {
        #[derive(Debug, Clone, serde::Serialize, serde::Deserialize, sqlx::FromRow)]
        pub(super) struct Name {
            pub(super) name: String,
        }
        #[derive(Debug, Clone, serde::Serialize, serde::Deserialize, sqlx::FromRow)]
        pub(super) struct Person {
            pub(super) id: i64,
            #[sqlx(flatten)]
            pub(super) name: Name,
        }
    }
    mod after {
        #[derive(Debug, Clone, serde::Serialize, serde::Deserialize, sqlx::FromRow)]
        pub(super) struct Name {
            pub(super) name: String,
            pub(super) born: Option<i64>,
        }
        #[derive(Debug, Clone, serde::Serialize, serde::Deserialize, sqlx::FromRow)]
        pub(super) struct Person {
            pub(super) id: i64,
            #[sqlx(flatten)]
            pub(super) name: Name,
        }
    }
    let (pool, (region, _)) = (sqlite().await, region("people"));
    let query = "SELECT *, 1815 AS born FROM people WHERE id = 1";
    let old = sqlx::query_as::<_, before::Person>(query).from_cache(&region);
    let old = old.fetch_one(&pool).await.unwrap();
    assert_eq!((old.id, &*old.name.name), (1, "Ada"));
    let new = sqlx::query_as::<_, after::Person>(query).from_cache(&region);
    let new = new.fetch_one(&pool).await.unwrap();
    assert_eq!((new.id, &*new.name.name, new.name.born), (1, "Ada", Some(1815)));
}

/// What locks rows or writes is not answered from a cache, also where it is read first.
#[tokio::test]
async fn statements_that_must_run_are_refused() {
    let (region, _) = region("effects");
    let pool = PgPool::connect(&postgres()).await.unwrap();
    let statements = [
        "SELECT 1::bigint AS id, 'x' AS name FOR UPDATE",
        "WITH a AS (INSERT INTO nowhere VALUES (1) RETURNING id) SELECT id, 'x' AS name FROM a",
        "UPDATE nowhere SET a = 1 RETURNING id, name",
    ];
    for text in statements {
        let query = || sqlx::query_as::<_, Person>(text);
        let told = query().from_cache(&region).fetch_all(&pool).await.unwrap_err();
        assert!(matches!(told, dogpile_orm::Error::NotARead { .. }), "{told}");
        assert!(told.to_string().contains("run it without `from_cache`"), "{told}");
        assert!(query().from_cache(&region).fetch_optional(&pool).await.is_err());
    }
    assert_eq!(region.statistics().creations, 0);
    let quoted = "SELECT 1::bigint AS id, 'it''s FOR UPDATE' AS name -- FOR UPDATE";
    let read = sqlx::query_as::<_, Person>(quoted).from_cache(&region).fetch_one(&pool).await;
    assert_eq!(read.unwrap().id, 1);
}

/// A closure that builds a query is called for the key, and again to run it.
#[tokio::test]
async fn queries_of_macros_are_cached_by_what_builds_them() {
    use dogpile_orm::sqlx::from_cache;
    use sqlx::FromRow;

    let (pool, (region, _)) = (sqlite().await, region("built"));
    let build = |id: i64| {
        move || {
            let query = sqlx::query("SELECT * FROM people WHERE id = ?").bind(id);
            query.try_map(|row: sqlx::sqlite::SqliteRow| Person::from_row(&row))
        }
    };
    let name = async |id| from_cache(&region, build(id)).fetch_one(&pool).await.unwrap().name;
    assert_eq!((name(1).await, name(2).await), ("Ada".into(), "Alan".into()));
    rename(&pool, 1, "Augusta").await;
    assert_eq!(name(1).await, "Ada");
    from_cache(&region, build(1)).invalidate().await.unwrap();
    assert_eq!(name(1).await, "Augusta");
    assert_eq!(from_cache(&region, build(9)).fetch_optional(&pool).await.unwrap(), None);
    let all = from_cache(&region, build(2)).fetch_all(&pool).await.unwrap();
    assert_eq!(all[0].name, "Alan");
}
