//! Diesel and diesel-async: the connection is asked.

use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel_async::{AsyncConnection, AsyncMysqlConnection, AsyncPgConnection};
use dogpile::Region;
use dogpile_orm::{Error, Related};

use crate::common::{mariadb, postgres, region};
use crate::{SqliteFile, TABLE};

#[allow(missing_docs, reason = "Diesel makes it")]
mod schema {
    diesel::table! {
        people (id) { id -> BigInt, name -> Text, }
    }
}

use schema::people;

/// The name by each form of a cached query, which have to agree.
fn name(region: &Region, connection: &mut SqliteConnection) -> String {
    use dogpile_orm::diesel::FromCacheExt;

    let query = || people::table.select(people::name).from_cache(region);
    let all: Vec<String> = query().load(connection).unwrap();
    let one: String = query().get_result(connection).unwrap();
    let first: String = query().first(connection).unwrap();
    let related = Related::new(region, "person.name").load_blocking_with(
        [1_i64],
        connection,
        |connection, ids| {
            let query = people::table.filter(people::id.eq_any(ids)).select(people::name);
            diesel::RunQueryDsl::load::<String>(query, connection)
        },
    );
    assert_eq!([&all, &related.unwrap(), &vec![first]], [&vec![one.clone()]; 3]);
    one
}

fn rename(region: &Region, connection: &mut SqliteConnection, to: &str) {
    let update = diesel::update(people::table).set(people::name.eq(to));
    diesel::RunQueryDsl::execute(update, connection).unwrap();
    region.blocking().invalidate_all().unwrap();
}

fn sqlite() -> (SqliteFile, [SqliteConnection; 2]) {
    let file = SqliteFile::new();
    let connect = || SqliteConnection::establish(&file.path()).unwrap();
    let (mut connection, other) = (connect(), connect());
    for statement in TABLE {
        diesel::RunQueryDsl::execute(diesel::sql_query(statement), &mut connection).unwrap();
    }
    (file, [connection, other])
}

#[test]
fn sqlite_snapshots_are_their_transactions_own() {
    use dogpile_orm::diesel::FromCacheExt;

    let ((_file, [mut connection, mut other]), (region, _)) = (sqlite(), region("people"));
    assert_eq!(name(&region, &mut other), "Ada");
    let snapshot = connection.transaction(|connection| {
        let count: i64 = diesel::RunQueryDsl::get_result(people::table.count(), connection)?;
        assert_eq!(count, 1);
        rename(&region, &mut other, "Alan");
        assert_eq!(name(&region, connection), "Ada");
        assert_eq!(name(&region, &mut other), "Alan");
        // One within it reads the same.
        connection.transaction(|connection| {
            assert_eq!(name(&region, connection), "Ada");
            Ok::<_, DieselError>(())
        })
    });
    assert_eq!(snapshot, Ok(()));
    assert_eq!((name(&region, &mut connection), region.statistics().creations), ("Alan".into(), 6));

    // Its own changes are for it alone.
    let undone = dogpile_orm::diesel::transaction(&mut connection, |connection, _| {
        rename(&region, connection, "nobody");
        assert_eq!(name(&region, connection), "nobody");
        let refresh = people::table.select(people::name).from_cache(&region).refresh();
        let refused = refresh.load::<String, _>(connection).unwrap_err();
        assert!(matches!(refused, Error::RefreshInTransaction { .. }));
        assert_eq!(name(&region, &mut other), "Alan");
        Err::<(), _>(DieselError::RollbackTransaction)
    });
    assert_eq!(undone, Err(DieselError::RollbackTransaction));
    assert_eq!(
        (name(&region, &mut connection), name(&region, &mut other)),
        ("Alan".into(), "Alan".into())
    );
}

/// A transaction that Diesel did not begin, and a closure that nobody sees through.
#[test]
fn callers_may_say_that_they_are_within_a_transaction() {
    use dogpile_orm::diesel::FromCacheExt;

    let ((_file, [mut connection, mut other]), (region, _)) = (sqlite(), region("people"));
    let mut execute = |statement: &str| {
        diesel::RunQueryDsl::execute(diesel::sql_query(statement), &mut connection).unwrap();
    };
    execute("BEGIN");
    execute("UPDATE people SET name = 'nobody'");
    let own = people::table.select(people::name).from_cache(&region).in_transaction();
    assert_eq!(own.load::<String, _>(&mut connection).unwrap(), ["nobody"]);
    let related = Related::new(&region, "person.name").in_transaction();
    let related = related.load_blocking([1_i64], |_| {
        diesel::RunQueryDsl::load::<String>(people::table.select(people::name), &mut connection)
    });
    assert_eq!(related.unwrap(), ["nobody"]);
    diesel::RunQueryDsl::execute(diesel::sql_query("ROLLBACK"), &mut connection).unwrap();
    assert_eq!((name(&region, &mut other), region.statistics().creations), ("Ada".into(), 3));
}

/// The same forms on connections of diesel-async.
macro_rules! on_async_connections {
    ($($test:ident: $connection:ty, $url:expr, |$connected:ident, $work:ident| $begin:expr;)*) => {$(
        #[tokio::test]
        async fn $test() {
            use diesel_async::RunQueryDsl;
            use dogpile_orm::diesel_async::FromCacheExt;

            async fn name(region: &Region, connection: &mut $connection) -> String {
                let query = || people::table.select(people::name).from_cache(region);
                let all: Vec<String> = query().load(connection).await.unwrap();
                let one: String = query().get_result(connection).await.unwrap();
                let first: String = query().first(connection).await.unwrap();
                let related = Related::new(region, "person.name");
                let related = related.load_with([1_i64], connection, |connection, ids| {
                    Box::pin(async move {
                        let query = people::table.filter(people::id.eq_any(ids));
                        RunQueryDsl::load::<String>(query.select(people::name), connection).await
                    })
                });
                assert_eq!([&all, &related.await.unwrap(), &vec![first]], [&vec![one.clone()]; 3]);
                one
            }

            async fn rename(region: &Region, connection: &mut $connection, to: &str) {
                let update = diesel::update(people::table).set(people::name.eq(to));
                RunQueryDsl::execute(update, connection).await.unwrap();
                region.invalidate_all().await.unwrap();
            }

            let (url, (region, _)) = ($url, region("people"));
            let mut $connected = <$connection>::establish(&url).await.unwrap();
            let mut other = <$connection>::establish(&url).await.unwrap();
            for statement in TABLE {
                RunQueryDsl::execute(diesel::sql_query(statement), &mut other).await.unwrap();
            }
            assert_eq!(name(&region, &mut other).await, "Ada");
            let (own, reader) = (&region, &mut other);
            let $work = async move |connection: &mut $connection| {
                let count = people::table.count();
                assert_eq!(RunQueryDsl::get_result::<i64>(count, connection).await?, 1);
                rename(own, reader, "Alan").await;
                assert_eq!(name(own, connection).await, "Ada");
                assert_eq!(name(own, reader).await, "Alan");
                assert_eq!(name(own, connection).await, "Ada");
                Ok::<_, DieselError>(())
            };
            assert_eq!($begin.await, Ok(()));
            assert_eq!(name(&region, &mut $connected).await, "Alan");
            assert_eq!(region.statistics().creations, 6);

            // Its own changes are for it alone.
            let reader = &mut other;
            let undone = dogpile_orm::diesel_async::transaction(&mut $connected, async |connection, _| {
                rename(&region, connection, "nobody").await;
                assert_eq!(name(&region, connection).await, "nobody");
                let refresh = people::table.select(people::name).from_cache(&region).refresh();
                let refused = refresh.load::<String, _>(connection).await.unwrap_err();
                assert!(matches!(refused, Error::RefreshInTransaction { .. }));
                assert_eq!(name(&region, reader).await, "Alan");
                Err::<(), _>(DieselError::RollbackTransaction)
            });
            assert_eq!(undone.await, Err(DieselError::RollbackTransaction));
            assert_eq!(name(&region, &mut $connected).await, "Alan");
        }
    )*};
}

on_async_connections! {
    postgres_snapshots_are_their_transactions_own: AsyncPgConnection, postgres(),
        |connection, work| connection.build_transaction().repeatable_read().run(work);
    postgres_serializable_snapshots_are_their_transactions_own: AsyncPgConnection, postgres(),
        |connection, work| connection.build_transaction().serializable().run(work);
    mariadb_snapshots_are_their_transactions_own: AsyncMysqlConnection, mariadb(),
        |connection, work| connection.transaction(work);
}
