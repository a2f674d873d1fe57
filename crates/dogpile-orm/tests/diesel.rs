//! Queries of Diesel, on SQLite, and by diesel-async on PostgreSQL and MariaDB.
#![cfg(feature = "diesel-async")]

mod common;

use std::time::Duration;

use common::{mariadb, postgres, region};
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::{BigInt, Integer, Text};
use dogpile_orm::Error;
use serde::{Deserialize, Serialize};

#[allow(missing_docs, reason = "Diesel makes it")]
mod schema {
    diesel::table! {
        people (id) { id -> BigInt, name -> Text, }
    }
}

use schema::people;

#[derive(Debug, Clone, PartialEq, Queryable, Serialize, Deserialize)]
struct Person {
    id: i64,
    name: String,
}

const TABLE: [&str; 2] = [
    "CREATE TABLE people (id BIGINT PRIMARY KEY, name TEXT NOT NULL)",
    "INSERT INTO people VALUES (1, 'Ada'), (2, 'Alan'), (3, 'Grace')",
];

fn sqlite() -> SqliteConnection {
    let mut connection = SqliteConnection::establish(":memory:").unwrap();
    for statement in TABLE {
        diesel::RunQueryDsl::execute(diesel::sql_query(statement), &mut connection).unwrap();
    }
    connection
}

fn rename(connection: &mut SqliteConnection, who: i64, name: &str) {
    let update = diesel::update(people::table.find(who)).set(people::name.eq(name));
    diesel::RunQueryDsl::execute(update, connection).unwrap();
}

#[test]
fn a_result_is_kept_until_it_expires_or_is_invalidated() {
    use dogpile_orm::diesel::FromCacheExt;

    let (mut connection, (region, clock)) = (sqlite(), region("people"));
    let a = || people::table.filter(people::name.like("A%")).order(people::id);
    let load = |connection: &mut SqliteConnection| -> Vec<Person> {
        a().from_cache(&region).load(connection).unwrap()
    };
    let first = |connection: &mut SqliteConnection| -> Person {
        a().from_cache(&region).first(connection).unwrap()
    };
    let before = load(&mut connection);
    assert_eq!((before.len(), first(&mut connection)), (2, before[0].clone()));
    let count = people::table.filter(people::name.like("A%")).count();
    let count: i64 = count.from_cache(&region).get_result(&mut connection).unwrap();
    assert_eq!((count, region.statistics().creations), (2, 3));
    rename(&mut connection, 1, "Augusta");
    assert_eq!(
        (load(&mut connection), first(&mut connection)),
        (before.clone(), before[0].clone())
    );
    a().from_cache(&region).invalidate::<Person, _>(&mut connection).unwrap();
    assert_eq!(load(&mut connection)[0].name, "Augusta");
    assert_eq!(first(&mut connection).name, "Augusta");
    rename(&mut connection, 1, "Ada");
    clock.advance(Duration::from_secs(120));
    assert_eq!(load(&mut connection), before);
    // The whole table, and a boxed query.
    let all: Vec<Person> = people::table.from_cache(&region).load(&mut connection).unwrap();
    let boxed = people::table.into_boxed::<diesel::sqlite::Sqlite>().filter(people::id.gt(2));
    let some: Vec<Person> = boxed.from_cache(&region).load(&mut connection).unwrap();
    assert_eq!((all.len(), some.len()), (3, 1));
}

#[test]
fn what_is_not_there_is_remembered_and_errors_are_not() {
    use dogpile_orm::diesel::{FromCacheExt, OptionalExt};

    let (mut connection, (region, _)) = (sqlite(), region("people"));
    for _ in 0..2 {
        let query = || people::table.find(9).from_cache(&region);
        let missing = query().get_result::<Person, _>(&mut connection).unwrap_err();
        assert!(matches!(missing, Error::Database(DieselError::NotFound)));
        let missing = query().first::<Person, _, _>(&mut connection).optional();
        assert!(missing.unwrap().is_none());
        assert_eq!(region.statistics().creations, 1);
    }
    let unconfigured = dogpile::Region::new("unconfigured");
    people::table.from_cache(&unconfigured).invalidate::<Person, _>(&mut connection).unwrap();
    dogpile_orm::invalidate_tables_blocking(&unconfigured, ["people"]).unwrap();
    let only = people::table.from_cache(&region).cache_only().load::<Person, _>(&mut connection);
    assert!(matches!(only, Err(Error::NotCached { .. })));
    let own: Result<Vec<Person>, DieselError> = only.map_err(Into::into);
    assert!(own.unwrap_err().to_string().contains("region `people`"));
}

#[test]
fn a_row_that_is_null_is_remembered_as_one() {
    use dogpile_orm::diesel::FromCacheExt;

    let (mut connection, (region, _)) = (sqlite(), region("null"));
    for _ in 0..2 {
        let greatest = people::table.filter(people::id.gt(9)).select(diesel::dsl::max(people::id));
        let greatest: Option<i64> =
            greatest.from_cache(&region).get_result(&mut connection).unwrap();
        assert_eq!((greatest, region.statistics().creations), (None, 1));
    }
}

/// Relationships by one connection, and what is invalidated by code that blocks.
#[test]
fn related_rows_are_one_query() {
    let (mut connection, (region, _)) = (sqlite(), region("related"));
    let mut asked = 0;
    let mut load = |connection: &mut SqliteConnection| {
        let namesakes = dogpile_orm::Related::new(&region, "person.names");
        namesakes.of_table("people").load_blocking([1_i64, 3], |ids| {
            asked += 1;
            let query = people::table.filter(people::id.eq_any(&ids));
            let found: Vec<Person> = diesel::RunQueryDsl::load(query, connection)?;
            let of = |id: &i64| found.iter().find(|person| person.id == *id).cloned();
            Ok::<_, DieselError>(ids.iter().map(of).collect::<Vec<Option<Person>>>())
        })
    };
    let names = |found: Vec<Option<Person>>| found.into_iter().flatten().map(|p| p.name).collect();
    let cold: Vec<String> = names(load(&mut connection).unwrap());
    rename(&mut connection, 3, "Edith");
    let warm: Vec<String> = names(load(&mut connection).unwrap());
    assert_eq!((&cold, &cold), (&warm, &vec!["Ada".to_owned(), "Grace".to_owned()]));
    dogpile_orm::invalidate_tables_blocking(&region, ["people"]).unwrap();
    let after: Vec<String> = names(load(&mut connection).unwrap());
    assert_eq!((after, asked), (vec!["Ada".to_owned(), "Edith".to_owned()], 2));
    let own: Result<(), DieselError> =
        dogpile_orm::invalidate_tables_blocking("nowhere", ["people"]).map_err(Into::into);
    assert!(own.is_err());
}

/// Values that Diesel shows alike. (A boolean is an integer to SQLite, and not told
/// apart.)
#[test]
fn keys_tell_values_and_their_types_apart() {
    use dogpile_orm::diesel::FromCacheExt;

    #[derive(Debug, QueryableByName, Clone, Serialize, Deserialize)]
    struct One {
        #[diesel(sql_type = Integer)]
        one: i32,
    }
    let (mut connection, (region, _)) = (sqlite(), region("values"));
    let query = || diesel::sql_query("SELECT 1 AS one WHERE ? IS NOT NULL");
    for round in 1..=2 {
        let mut count = 0;
        macro_rules! load {
            ($($kind:ty, $value:expr;)*) => {$(
                let bound = query().bind::<$kind, _>($value).into_boxed::<diesel::sqlite::Sqlite>();
                drop(bound.from_cache(&region).load::<One, _>(&mut connection).unwrap());
                count += 1;
            )*};
        }
        load! {
            Integer, 1;
            BigInt, 1;
            BigInt, 2;
            diesel::sql_types::SmallInt, 1;
            diesel::sql_types::Double, 1.0;
            diesel::sql_types::Float, 1.0;
            Text, "1";
            Text, "";
            diesel::sql_types::Binary, b"1".to_vec();
            diesel::sql_types::Nullable<Text>, None::<String>;
            diesel::sql_types::Nullable<Integer>, None::<i32>;
        }
        assert_eq!(region.statistics().creations, count, "round {round}");
    }
}

/// Values whose debug form hides them are told apart all the same.
#[test]
fn secrets_are_told_apart() {
    use dogpile_orm::diesel::FromCacheExt;

    #[derive(diesel::expression::AsExpression)]
    #[diesel(sql_type = Text)]
    struct Secret(&'static str);

    impl std::fmt::Debug for Secret {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("***")
        }
    }

    impl diesel::serialize::ToSql<Text, diesel::sqlite::Sqlite> for Secret {
        fn to_sql<'b>(
            &'b self,
            out: &mut diesel::serialize::Output<'b, '_, diesel::sqlite::Sqlite>,
        ) -> diesel::serialize::Result {
            out.set_value(self.0);
            Ok(diesel::serialize::IsNull::No)
        }
    }

    let (mut connection, (region, _)) = (sqlite(), region("secrets"));
    let name = |connection: &mut SqliteConnection, secret| -> Option<Person> {
        let query = people::table.filter(people::name.eq(Secret(secret)));
        query.from_cache(&region).first(connection).ok()
    };
    assert_eq!(name(&mut connection, "Ada").unwrap().id, 1);
    assert_eq!(name(&mut connection, "Alan").unwrap().id, 2);
}

#[tokio::test]
async fn the_same_on_an_async_connection() {
    use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
    use dogpile_orm::diesel_async::FromCacheExt;

    let mut connection = AsyncPgConnection::establish(&postgres()).await.unwrap();
    for statement in TABLE {
        RunQueryDsl::execute(diesel::sql_query(statement), &mut connection).await.unwrap();
    }
    let (region, _) = region("people");
    let query = || people::table.filter(people::id.eq_any([1_i64, 2])).order(people::id);
    for _ in 0..2 {
        let found: Vec<Person> = query().from_cache(&region).load(&mut connection).await.unwrap();
        let first: Person = query().from_cache(&region).first(&mut connection).await.unwrap();
        assert_eq!((found.len(), &first), (2, &found[0]));
    }
    assert_eq!(region.statistics().creations, 2);
    query().from_cache(&region).invalidate::<Person, _>(&mut connection).await.unwrap();
    let again: Vec<Person> = query().from_cache(&region).load(&mut connection).await.unwrap();
    assert_eq!((again.len(), region.statistics().creations), (2, 3));
}

#[tokio::test]
async fn mariadb_and_what_happens_after_a_commit() {
    use diesel_async::{AsyncConnection, AsyncMysqlConnection, RunQueryDsl};
    use dogpile_orm::AfterCommit;
    use dogpile_orm::diesel_async::FromCacheExt;

    let database = mariadb();
    let mut connection = AsyncMysqlConnection::establish(&database).await.unwrap();
    for statement in TABLE {
        RunQueryDsl::execute(diesel::sql_query(statement), &mut connection).await.unwrap();
    }
    let (region, _) = region("people");
    let query = || people::table.filter(people::id.eq(1));
    let load = async |connection: &mut AsyncMysqlConnection| -> Person {
        query().from_cache(&region).get_result(connection).await.unwrap()
    };
    assert_eq!(
        (load(&mut connection).await.name, load(&mut connection).await.id),
        ("Ada".into(), 1)
    );
    assert_eq!(region.statistics().creations, 1);

    // A rollback drops what was registered; the commit has it done.
    for fails in [true, false] {
        let (done, told) = tokio::sync::oneshot::channel();
        let (own, url) = (region.clone(), database.clone());
        let work = async |connection: &mut AsyncMysqlConnection, after: &mut AfterCommit| {
            let update = diesel::update(people::table.find(1)).set(people::name.eq("Augusta"));
            RunQueryDsl::execute(update, connection).await?;
            after.add(async move {
                let mut other = AsyncMysqlConnection::establish(&url).await.unwrap();
                let query = people::table.filter(people::id.eq(1)).from_cache(&own).refresh();
                query.get_result::<Person, _>(&mut other).await.unwrap();
                done.send(()).unwrap();
            });
            if fails { Err(DieselError::RollbackTransaction) } else { Ok(()) }
        };
        let ended = dogpile_orm::diesel_async::transaction(&mut connection, work).await;
        assert_eq!((ended.is_err(), told.await.is_err()), (fails, fails));
        let expected = if fails { "Ada" } else { "Augusta" };
        assert_eq!(load(&mut connection).await.name, expected);
    }
    let within = connection.transaction::<_, DieselError, _>(async |connection| {
        dogpile_orm::diesel_async::transaction(connection, async |_, _| Ok(())).await
    });
    assert_eq!(within.await, Err(DieselError::AlreadyInTransaction));
}

/// From a spawned task, in a function that returns Diesel's own error.
#[tokio::test]
async fn transactions_may_be_in_tasks() {
    use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

    let work = async {
        let mut connection = AsyncPgConnection::establish(&postgres()).await.unwrap();
        let (done, told) = tokio::sync::oneshot::channel();
        dogpile_orm::diesel_async::transaction(&mut connection, async |connection, after| {
            RunQueryDsl::execute(diesel::sql_query("SELECT 1"), connection).await?;
            after.add(async { done.send(()).unwrap() });
            Ok::<_, DieselError>(())
        })
        .await?;
        told.await.unwrap();
        Ok::<_, DieselError>(())
    };
    assert_eq!(tokio::spawn(work).await.unwrap(), Ok(()));
}

/// With the one async connection that there is.
#[tokio::test]
async fn related_rows_by_an_async_connection() {
    use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

    let (region, _) = region("related");
    let mut connection = AsyncPgConnection::establish(&postgres()).await.unwrap();
    for _ in 0..2 {
        let doubled = dogpile_orm::Related::new(&region, "double").load_with(
            [1_i64, 2],
            &mut connection,
            |connection, ids| {
                Box::pin(async move {
                    let mut doubled = Vec::new();
                    for id in ids {
                        let query = diesel::select((id * 2).into_sql::<BigInt>());
                        doubled.push(RunQueryDsl::get_result::<i64>(query, connection).await?);
                    }
                    Ok::<_, DieselError>(doubled)
                })
            },
        );
        assert_eq!(doubled.await.unwrap(), [2, 4]);
    }
    assert_eq!(region.statistics().creations, 2);
}

/// An enum of the database's, whose type Diesel looks up by its name.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Serialize,
    Deserialize,
    diesel::expression::AsExpression,
    diesel::deserialize::FromSqlRow,
)]
#[diesel(sql_type = MoodType)]
enum Mood {
    Happy,
    Sad,
}

#[derive(diesel::sql_types::SqlType, diesel::query_builder::QueryId)]
#[diesel(postgres_type(name = "mood"))]
struct MoodType;

impl diesel::serialize::ToSql<MoodType, diesel::pg::Pg> for Mood {
    fn to_sql<'b>(
        &'b self,
        out: &mut diesel::serialize::Output<'b, '_, diesel::pg::Pg>,
    ) -> diesel::serialize::Result {
        use std::io::Write;
        out.write_all(if *self == Self::Happy { b"happy" } else { b"sad" })?;
        Ok(diesel::serialize::IsNull::No)
    }
}

impl diesel::deserialize::FromSql<MoodType, diesel::pg::Pg> for Mood {
    fn from_sql(bytes: diesel::pg::PgValue<'_>) -> diesel::deserialize::Result<Self> {
        match bytes.as_bytes() {
            b"happy" => Ok(Self::Happy),
            b"sad" => Ok(Self::Sad),
            _ => Err("no mood".into()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, QueryableByName, Serialize, Deserialize)]
struct Everything {
    #[diesel(sql_type = diesel::sql_types::SmallInt)]
    small: i16,
    #[diesel(sql_type = diesel::sql_types::Float)]
    real: f32,
    #[diesel(sql_type = diesel::sql_types::Double)]
    double: f64,
    #[diesel(sql_type = diesel::sql_types::Numeric)]
    exact: bigdecimal::BigDecimal,
    #[diesel(sql_type = diesel::sql_types::Uuid)]
    id: uuid::Uuid,
    #[diesel(sql_type = diesel::sql_types::Jsonb)]
    document: serde_json::Value,
    #[diesel(sql_type = diesel::sql_types::Array<diesel::sql_types::Nullable<BigInt>>)]
    numbers: Vec<Option<i64>>,
    #[diesel(sql_type = diesel::sql_types::Timestamptz)]
    at: chrono::DateTime<chrono::Utc>,
    #[diesel(sql_type = diesel::sql_types::Binary)]
    bytes: Vec<u8>,
    #[diesel(sql_type = diesel::sql_types::Nullable<Integer>)]
    nothing: Option<i32>,
    #[diesel(sql_type = MoodType)]
    mood: Mood,
}

/// Rows of every kind come out of the cache as they went in; values of every kind, and of
/// types that are the database's own, have keys of their own.
#[tokio::test]
async fn rows_and_values_of_every_kind_survive() {
    use diesel::sql_types::{Array, Jsonb, Numeric, Timestamptz, Uuid};
    use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
    use dogpile_orm::diesel_async::FromCacheExt;

    let mut connection = AsyncPgConnection::establish(&postgres()).await.unwrap();
    let make = diesel::sql_query("CREATE TYPE mood AS ENUM ('happy', 'sad')");
    RunQueryDsl::execute(make, &mut connection).await.unwrap();
    let query = || {
        diesel::sql_query(
            "SELECT (-32768)::int2 AS small, 0.1::float4 AS real, 1e-300::float8 AS double,
                123456789.123456789::numeric AS exact,
                '6f2b1c9e-0000-4000-8000-000000000001'::uuid AS id, '{\"a\": [1, null]}'::jsonb AS document,
                '{1,NULL,-2}'::int8[] AS numbers, '2026-01-02 03:04:05.678901+02'::timestamptz AS at,
                '\\x00ff'::bytea AS bytes, NULL::int4 AS nothing, 'sad'::mood AS mood",
        )
    };
    let direct: Vec<Everything> = RunQueryDsl::load(query(), &mut connection).await.unwrap();
    let (region, _) = region("everything");
    for _ in 0..2 {
        let kept: Vec<Everything> =
            query().from_cache(&region).load(&mut connection).await.unwrap();
        assert_eq!((&kept, region.statistics().creations), (&direct, 1));
    }

    #[derive(Debug, QueryableByName, Clone, Serialize, Deserialize)]
    struct One {
        #[diesel(sql_type = Integer)]
        one: i32,
    }
    for round in 1..=2 {
        let mut count = 1;
        macro_rules! load {
            ($($kind:ty, $value:expr;)*) => {$(
                let bound = diesel::sql_query("SELECT 1 AS one WHERE $1 IS NOT NULL")
                    .bind::<$kind, _>($value);
                let found = bound.from_cache(&region).load::<One, _>(&mut connection).await;
                assert!(found.unwrap().iter().all(|found| found.one == 1));
                count += 1;
            )*};
        }
        let (row, other) = (&direct[0], chrono::TimeDelta::microseconds(1));
        load! {
            diesel::sql_types::SmallInt, 1_i16;
            Integer, 1;
            BigInt, 1_i64;
            Text, "1";
            Numeric, row.exact.clone();
            Numeric, bigdecimal::BigDecimal::from(1);
            Uuid, row.id;
            Uuid, uuid::Uuid::from_u128(1);
            Jsonb, row.document.clone();
            Jsonb, serde_json::json!({"a": 1});
            Array<BigInt>, vec![1_i64, 2];
            Array<BigInt>, vec![2_i64, 1];
            Array<Integer>, vec![1, 2];
            Timestamptz, row.at;
            Timestamptz, row.at + other;
            diesel::sql_types::Binary, row.bytes.clone();
            diesel::sql_types::Nullable<Text>, None::<String>;
            diesel::sql_types::Nullable<Integer>, None::<i32>;
            MoodType, Mood::Happy;
            MoodType, Mood::Sad;
        }
        assert_eq!(region.statistics().creations, count, "round {round}");
    }
}
