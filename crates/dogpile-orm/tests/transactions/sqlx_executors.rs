//! sqlx: the type of the executor decides.

use std::sync::Arc;

use dogpile_orm::sqlx::{FromCacheExt, Source, Transaction};
use dogpile_orm::{Error, Related, Session};
use sqlx::{Connection, MySqlPool, PgPool, SqlitePool};

use crate::common::{mariadb, postgres, region};
use crate::{SqliteFile, TABLE};

/// The snapshot that `$begin` begins, on each database; `$connection` is a connection of it.
macro_rules! snapshots {
    ($($test:ident: $place:expr, $pool:ty, $begin:expr;)*) => {$(
        #[tokio::test]
        async fn $test() {
            let (_place, url) = $place;
            let pool = <$pool>::connect(&url).await.unwrap();
            for statement in TABLE {
                sqlx::raw_sql(statement).execute(&pool).await.unwrap();
            }
            let (region, _) = region("people");
            let query = || sqlx::query_as::<_, (i64, String)>("SELECT id, name FROM people");
            macro_rules! name {
                ($executor:expr) => {{
                    let all = query().from_cache(&region).fetch_all($executor).await.unwrap();
                    let one = query().from_cache(&region).fetch_one($executor).await.unwrap();
                    assert_eq!(all, vec![one.clone()]);
                    one.1
                }};
            }
            let rename = async |to: &str| {
                let update = format!("UPDATE people SET name = '{to}'");
                sqlx::raw_sql(sqlx::AssertSqlSafe(update)).execute(&pool).await.unwrap();
                query().from_cache(&region).invalidate().await.unwrap();
            };
            assert_eq!(name!(&pool), "Ada");

            // A transaction that has read something goes on with what there was then.
            let mut transaction = Transaction::begin_with(&pool, $begin).await.unwrap();
            let count = || sqlx::query_scalar::<_, i64>("SELECT count(*) FROM people");
            assert_eq!(count().fetch_one(&mut **transaction).await.unwrap(), 1);
            rename("Alan").await;
            assert_eq!(name!(&mut **transaction), "Ada");
            assert_eq!(name!(&pool), "Alan");
            assert_eq!(name!(&mut **transaction), "Ada", "nor does it get what is of later");
            transaction.rollback().await.unwrap();
            assert_eq!(name!(&pool), "Alan");

            // So does one that sqlx does not know of.
            let mut connection = pool.acquire().await.unwrap();
            sqlx::raw_sql($begin).execute(&mut *connection).await.unwrap();
            assert_eq!(count().fetch_one(&mut *connection).await.unwrap(), 1);
            rename("Grace").await;
            assert_eq!((name!(&mut *connection), name!(&pool)), ("Alan".into(), "Grace".into()));
            sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await.unwrap();
            drop(connection);

            // Its own changes are for it alone.
            let mut transaction = Transaction::begin(&pool).await.unwrap();
            let update = sqlx::raw_sql("UPDATE people SET name = 'nobody'");
            update.execute(&mut **transaction).await.unwrap();
            assert_eq!(name!(&mut **transaction), "nobody");
            query().from_cache(&region).invalidate().await.unwrap();
            assert_eq!((name!(&mut **transaction), name!(&pool)), ("nobody".into(), "Grace".into()));
            transaction.rollback().await.unwrap();
            assert_eq!(name!(&pool), "Grace");
            assert_eq!(region.statistics().creations, 8, "by the pool alone");
        }
    )*};
}

snapshots! {
    sqlite_snapshots_are_their_transactions_own:
        { let file = SqliteFile::new(); let url = file.url(); (file, url) }, SqlitePool, "BEGIN";
    postgres_snapshots_are_their_transactions_own:
        ((), postgres()), PgPool, "BEGIN ISOLATION LEVEL REPEATABLE READ";
    postgres_serializable_snapshots_are_their_transactions_own:
        ((), postgres()), PgPool, "BEGIN ISOLATION LEVEL SERIALIZABLE";
    mariadb_snapshots_are_their_transactions_own:
        ((), mariadb()), MySqlPool, "BEGIN";
}

async fn people() -> (SqliteFile, SqlitePool) {
    let file = SqliteFile::new();
    let pool = SqlitePool::connect(&file.url()).await.unwrap();
    for statement in TABLE {
        sqlx::raw_sql(statement).execute(&pool).await.unwrap();
    }
    (file, pool)
}

type Names = sqlx::query::QueryScalar<
    'static,
    sqlx::Sqlite,
    String,
    <sqlx::Sqlite as sqlx::Database>::Arguments,
>;

fn names() -> Names {
    sqlx::query_scalar("SELECT name FROM people")
}

const RENAME: &str = "UPDATE people SET name = 'Alan'";

/// Neither is a session asked within a transaction, nor does it have what was read there.
#[tokio::test]
async fn a_session_knows_nothing_of_transactions() {
    let ((_file, pool), (region, _), session) = (people().await, region("people"), Session::new());
    let names = || names().from_cache(&region).in_session(&session);
    let before = names().fetch_all(&pool).await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    sqlx::raw_sql(RENAME).execute(&mut *transaction).await.unwrap();
    let own = names().fetch_all(&mut *transaction).await.unwrap();
    let again = names().fetch_all(&mut *transaction).await.unwrap();
    assert_eq!((&own[0], &again[0]), (&"Alan".to_owned(), &"Alan".to_owned()));
    assert!(!Arc::ptr_eq(&own, &again));
    let one = names().fetch_one(&mut *transaction).await.unwrap();
    assert_eq!((&**one, session.len()), ("Alan", 1));
    transaction.rollback().await.unwrap();
    assert!(Arc::ptr_eq(&before, &names().fetch_all(&pool).await.unwrap()));
}

/// It would promise to others what they may not have; the cache alone can be asked as ever.
#[tokio::test]
async fn a_refresh_within_a_transaction_is_refused() {
    let ((_file, pool), (region, _)) = (people().await, region("people"));
    names().from_cache(&region).fetch_all(&pool).await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    sqlx::raw_sql(RENAME).execute(&mut *transaction).await.unwrap();
    let refresh = || names().from_cache(&region).refresh();
    let refused = refresh().fetch_all(&mut *transaction).await.unwrap_err();
    assert!(matches!(&refused, Error::RefreshInTransaction { region } if region == "people"));
    assert!(sqlx::Error::from(refused).to_string().contains("after the commit"));
    let only = names().from_cache(&region).cache_only();
    assert_eq!(only.fetch_all(&mut *transaction).await.unwrap(), ["Ada"]);
    let only = names().from_cache(&region).cache_only();
    assert!(matches!(only.fetch_one(&mut *transaction).await, Err(Error::NotCached { .. })));
    transaction.commit().await.unwrap();
    assert_eq!(names().from_cache(&region).fetch_all(&pool).await.unwrap(), ["Ada"]);
    assert_eq!(refresh().fetch_all(&pool).await.unwrap(), ["Alan"]);
    assert_eq!(names().from_cache(&region).fetch_all(&pool).await.unwrap(), ["Alan"]);
}

/// A closure cannot be seen through, so its caller says on what it runs.
#[tokio::test]
async fn related_rows_of_a_transaction_are_its_own() {
    let ((_file, pool), (region, _), session) = (people().await, region("people"), Session::new());
    let connection = pool.acquire().await.unwrap();
    let connection = tokio::sync::Mutex::new(connection);
    let asked = std::sync::atomic::AtomicU32::new(0);
    let load = async |people: Vec<i64>| {
        asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let name = names().fetch_one(&mut **connection.lock().await).await?;
        Ok::<_, sqlx::Error>(people.iter().map(|id| (*id == 1).then(|| name.clone())).collect())
    };
    let related = || Related::new(&region, "person.name");
    let (ada, alan) = (Some("Ada".to_owned()), Some("Alan".to_owned()));
    assert_eq!(related().load([1], load).await.unwrap(), vec![ada.clone()]);
    sqlx::raw_sql("BEGIN").execute(&mut **connection.lock().await).await.unwrap();
    sqlx::raw_sql(RENAME).execute(&mut **connection.lock().await).await.unwrap();
    let within = || related().in_transaction().in_session(&session);
    let own = within().load([1, 2, 1], load).await.unwrap();
    assert_eq!((&*own[0], &*own[1], &*own[2]), (&alan, &None, &alan));
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 2, "one query for all");
    assert!(session.is_empty());
    let wrong = async |_| Ok::<_, sqlx::Error>(Vec::<Option<String>>::new());
    let wrong = within().load([1], wrong).await.unwrap_err();
    assert!(matches!(wrong, Error::Cache(dogpile::Error::WrongCount { .. })));
    assert_eq!(within().load([0; 0], load).await.unwrap(), []);
    let refused = within().refresh().load([1], load).await.unwrap_err();
    assert!(matches!(refused, Error::RefreshInTransaction { .. }));
    sqlx::raw_sql("ROLLBACK").execute(&mut **connection.lock().await).await.unwrap();
    assert_eq!(related().load([1], load).await.unwrap(), [ada]);
    assert!(related().cache_only().load([2], load).await.is_err());
}

/// Functions over any executor name the trait, and executors of a user's have it.
#[tokio::test]
async fn executors_of_any_kind_can_be_passed_on() {
    async fn name<'e, E>(region: &dogpile::Region, executor: E) -> String
    where
        E: Source<'e, Database = sqlx::Sqlite>,
    {
        names().from_cache(region).fetch_one(executor).await.unwrap()
    }
    let ((file, pool), (region, _)) = (people().await, region("people"));
    let mut connection = sqlx::SqliteConnection::connect(&file.url()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(name(&region, &mut connection).await, "Ada");
        assert_eq!(name(&region, &pool).await, "Ada");
    }
    assert_eq!(region.statistics().creations, 1);
}
