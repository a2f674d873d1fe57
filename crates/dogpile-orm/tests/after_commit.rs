//! Work after a commit is done then, and only then.
#![cfg(all(feature = "sqlx", feature = "sea-orm", feature = "diesel"))]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::region;
use diesel::{Connection, RunQueryDsl, SqliteConnection};
use dogpile::Region;
use sqlx::SqlitePool;
use tempfile::TempDir;

/// A database that several connections can have.
struct Place {
    directory: TempDir,
    pool: SqlitePool,
}

impl Place {
    async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let url = format!("sqlite://{}?mode=rwc", directory.path().join("people.db").display());
        let pool = SqlitePool::connect(&url).await.unwrap();
        sqlx::raw_sql(
            "PRAGMA journal_mode = WAL; CREATE TABLE people (name TEXT); INSERT INTO people VALUES ('Ada')",
        )
        .execute(&pool)
        .await
        .unwrap();
        Self { directory, pool }
    }

    fn path(&self) -> String {
        self.directory.path().join("people.db").display().to_string()
    }
}

/// The name, through the cache.
async fn name(pool: &SqlitePool, region: &Region) -> String {
    use dogpile_orm::sqlx::FromCacheExt;
    let query = sqlx::query_scalar::<_, String>("SELECT name FROM people");
    query.from_cache(region).fetch_one(pool).await.unwrap()
}

async fn refresh(pool: SqlitePool, region: Arc<Region>) {
    use dogpile_orm::sqlx::FromCacheExt;
    let query = sqlx::query_scalar::<_, String>("SELECT name FROM people");
    query.from_cache(&region).refresh().fetch_one(&pool).await.unwrap();
}

async fn until(condition: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < Duration::from_secs(30), "it never happens");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

const UPDATE: &str = "UPDATE people SET name = 'Alan'";

#[tokio::test]
async fn sqlx_refreshes_after_its_commit() {
    use dogpile_orm::sqlx::Transaction;
    let (place, (region, _)) = (Place::new().await, region("people"));
    assert_eq!(name(&place.pool, &region).await, "Ada");
    for ending in ["rollback", "drop", "commit"] {
        let mut transaction = Transaction::begin(&place.pool).await.unwrap();
        sqlx::query(UPDATE).execute(&mut **transaction).await.unwrap();
        transaction.after_commit(refresh(place.pool.clone(), region.clone()));
        assert_eq!(name(&place.pool, &region).await, "Ada");
        match ending {
            "rollback" => transaction.rollback().await.unwrap(),
            "drop" => drop(transaction),
            _ => transaction.commit().await.unwrap(),
        }
        if ending == "commit" {
            until(async || name(&place.pool, &region).await == "Alan").await;
        } else {
            tokio::task::yield_now().await;
            assert_eq!(region.statistics().creations, 1, "{ending}");
        }
    }
    assert_eq!(region.statistics().creations, 2);
}

/// Work that says when it is done, or, by being dropped, that it never will be.
fn telling() -> (impl Future<Output = ()> + Send, tokio::sync::oneshot::Receiver<()>) {
    let (tell, told) = tokio::sync::oneshot::channel();
    (async move { tell.send(()).unwrap() }, told)
}

/// What is rolled back, in any way, drops its work; a commit within another transaction
/// is none.
#[tokio::test]
async fn work_is_done_after_the_outermost_commit_only() {
    use sea_orm::{ConnectionTrait, TransactionTrait};
    use sqlx::Acquire;

    let place = Place::new().await;
    for ending in ["rollback", "drop", "commit"] {
        let (work, told) = telling();
        let mut transaction = dogpile_orm::sqlx::Transaction::begin(&place.pool).await.unwrap();
        transaction.after_commit(work);
        let inner = transaction.begin().await.unwrap();
        inner.commit().await.unwrap();
        match ending {
            "rollback" => transaction.rollback().await.unwrap(),
            "drop" => drop(transaction),
            _ => transaction.commit().await.unwrap(),
        }
        assert_eq!(told.await.is_ok(), ending == "commit", "sqlx: {ending}");
    }
    let mut connection = place.pool.acquire().await.unwrap();
    let mut outer = sqlx::Connection::begin(&mut *connection).await.unwrap();
    let within = dogpile_orm::sqlx::Transaction::<sqlx::Sqlite>::begin_on(&mut outer).await;
    assert!(within.is_err());
    drop(within);
    outer.rollback().await.unwrap();
    let (work, told) = telling();
    let own = dogpile_orm::sqlx::Transaction::<sqlx::Sqlite>::begin_on(&mut connection).await;
    let mut own = own.unwrap();
    own.after_commit(work);
    own.commit().await.unwrap();
    assert!(told.await.is_ok());
    drop(connection);

    let db = sea_orm::Database::connect(format!("sqlite://{}", place.path())).await.unwrap();
    for ending in ["rollback", "drop", "commit"] {
        let (work, told) = telling();
        let mut transaction = dogpile_orm::sea_orm::Transaction::begin(&db).await.unwrap();
        transaction.execute_unprepared(UPDATE).await.unwrap();
        transaction.after_commit(work);
        let inner = TransactionTrait::begin(&*transaction).await.unwrap();
        inner.commit().await.unwrap();
        match ending {
            "rollback" => transaction.rollback().await.unwrap(),
            "drop" => drop(transaction),
            _ => transaction.commit().await.unwrap(),
        }
        assert_eq!(told.await.is_ok(), ending == "commit", "SeaORM: {ending}");
    }
}

/// Who waits for the work reads what was committed.
#[tokio::test]
async fn a_commit_can_wait_for_its_work() {
    use sea_orm::ConnectionTrait;

    let (place, (region, _)) = (Place::new().await, region("people"));
    let rename = |name: &str| format!("UPDATE people SET name = '{name}'");
    assert_eq!(name(&place.pool, &region).await, "Ada");
    let mut transaction = dogpile_orm::sqlx::Transaction::begin(&place.pool).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(rename("Alan"))).execute(&mut **transaction).await.unwrap();
    transaction.after_commit(refresh(place.pool.clone(), region.clone()));
    transaction.commit_and_wait().await.unwrap();
    assert_eq!(name(&place.pool, &region).await, "Alan");

    let db = sea_orm::Database::connect(format!("sqlite://{}", place.path())).await.unwrap();
    let mut transaction = dogpile_orm::sea_orm::Transaction::begin(&db).await.unwrap();
    transaction.execute_unprepared(&rename("Grace")).await.unwrap();
    transaction.after_commit(refresh(place.pool.clone(), region.clone()));
    transaction.commit_and_wait().await.unwrap();
    assert_eq!(name(&place.pool, &region).await, "Grace");
    dogpile_orm::AfterCommit::new().committed_and_done().await;
}

/// In its order, whatever becomes of the work before; also what blocks, and also without a
/// runtime.
#[tokio::test]
async fn one_work_that_fails_does_not_take_the_next_with_it() {
    let all = || {
        let (work, told) = telling();
        let (tell, told_by_blocking) = tokio::sync::oneshot::channel();
        let mut after = dogpile_orm::AfterCommit::new();
        after.add(async { panic!("the first one fails") });
        after.add_blocking(|| panic!("so does the second"));
        after.add(work);
        after.add_blocking(move || tell.send(()).unwrap());
        assert_eq!(after.len(), 4);
        (after, told, told_by_blocking)
    };
    let (after, told, told_by_blocking) = all();
    after.committed();
    assert_eq!((told.await, told_by_blocking.await), (Ok(()), Ok(())));
    let (after, told, told_by_blocking) = all();
    std::thread::spawn(|| after.committed()).join().unwrap();
    assert_eq!((told.await, told_by_blocking.await), (Ok(()), Ok(())));
}

/// The work of Diesel's transaction may be async, if there is a runtime.
#[tokio::test]
async fn diesels_work_may_need_the_runtime() {
    let (place, (region, _)) = (Place::new().await, region("people"));
    assert_eq!(name(&place.pool, &region).await, "Ada");
    let (path, pool, own) = (place.path(), place.pool.clone(), region.clone());
    let blocking = move || {
        let mut connection = SqliteConnection::establish(&path).unwrap();
        dogpile_orm::diesel::transaction(&mut connection, |connection, after| {
            after.add(refresh(pool, own));
            RunQueryDsl::execute(diesel::sql_query(UPDATE), connection)
        })
    };
    assert_eq!(tokio::task::spawn_blocking(blocking).await.unwrap(), Ok(1));
    until(async || name(&place.pool, &region).await == "Alan").await;
}

#[tokio::test]
async fn sea_orm_refreshes_after_its_commit() {
    use dogpile_orm::sea_orm::Transaction;
    use sea_orm::ConnectionTrait;
    let (place, (region, _)) = (Place::new().await, region("people"));
    assert_eq!(name(&place.pool, &region).await, "Ada");
    let db = sea_orm::Database::connect(format!("sqlite://{}", place.path())).await.unwrap();
    for commits in [false, true] {
        let mut transaction = Transaction::begin(&db).await.unwrap();
        transaction.execute_unprepared(UPDATE).await.unwrap();
        transaction.after_commit(refresh(place.pool.clone(), region.clone()));
        if commits {
            transaction.commit().await.unwrap();
        } else {
            transaction.rollback().await.unwrap();
            assert_eq!(region.statistics().creations, 1);
        }
    }
    until(async || name(&place.pool, &region).await == "Alan").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn diesel_refreshes_after_its_commit() {
    use diesel::result::Error as DieselError;
    use dogpile_orm::AfterCommit;
    let (place, (region, _)) = (Place::new().await, region("people"));
    assert_eq!(name(&place.pool, &region).await, "Ada");
    let mut connection = SqliteConnection::establish(&place.path()).unwrap();
    let runtime = tokio::runtime::Handle::current();
    let work = |connection: &mut SqliteConnection, after: &mut AfterCommit, fails: bool| {
        RunQueryDsl::execute(diesel::sql_query(UPDATE), connection)?;
        let (pool, region, runtime) = (place.pool.clone(), region.clone(), runtime.clone());
        after.add_blocking(move || runtime.block_on(refresh(pool, region)));
        if fails { Err(DieselError::RollbackTransaction) } else { Ok(()) }
    };
    let failed = dogpile_orm::diesel::transaction(&mut connection, |c, after| work(c, after, true));
    assert_eq!(failed, Err(DieselError::RollbackTransaction));
    assert_eq!(
        (name(&place.pool, &region).await, region.statistics().creations),
        ("Ada".into(), 1)
    );
    dogpile_orm::diesel::transaction(&mut connection, |c, after| work(c, after, false)).unwrap();
    until(async || name(&place.pool, &region).await == "Alan").await;

    let within = connection.transaction(|connection| {
        dogpile_orm::diesel::transaction(connection, |_, _| Ok::<_, DieselError>(()))
    });
    assert_eq!(within, Err(DieselError::AlreadyInTransaction));
}

/// The process dies between the commit and the refresh: old rows live until they
/// expire, and no longer.
#[test]
fn a_lost_refresh_costs_the_expiration() {
    use dogpile_orm::sqlx::Transaction;
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (region, clock) = region("people");
    let dying = runtime();
    let place = dying.block_on(async {
        let place = Place::new().await;
        assert_eq!(name(&place.pool, &region).await, "Ada");
        let mut transaction = Transaction::begin(&place.pool).await.unwrap();
        sqlx::query(UPDATE).execute(&mut **transaction).await.unwrap();
        let (pool, own) = (place.pool.clone(), region.clone());
        transaction.after_commit(async move {
            // So that it is not done before the end of this runtime.
            std::future::pending::<()>().await;
            refresh(pool, own).await;
        });
        transaction.commit().await.unwrap();
        place
    });
    drop(dying);
    runtime().block_on(async {
        let pool = SqlitePool::connect(&format!("sqlite://{}", place.path())).await.unwrap();
        clock.advance(Duration::from_secs(59));
        assert_eq!(name(&pool, &region).await, "Ada");
        clock.advance(Duration::from_secs(2));
        assert_eq!(name(&pool, &region).await, "Alan");
    });
}
