//! sqlx, SeaORM, Diesel and dogpile's file backend in one program.

use diesel::RunQueryDsl;
use dogpile::backend::File;
use dogpile::{Config, Region};
use sea_orm::{ConnectionTrait, Database, DbBackend, Statement};

#[derive(diesel::QueryableByName)]
struct Number {
    #[diesel(sql_type = diesel::sql_types::Integer)]
    n: i32,
}

#[tokio::test(flavor = "multi_thread")]
async fn one_program_has_all_of_them() {
    let directory = tempfile::TempDir::new().unwrap();
    let region = Region::new("compat");
    region.configure(Config::new(File::open(directory.path().join("cache.db")).unwrap())).unwrap();

    let sqlx = async || {
        let pool = sqlx::SqlitePool::connect("sqlite::memory:").await.unwrap();
        sqlx::query_scalar::<_, i32>("SELECT 1").fetch_one(&pool).await.unwrap()
    };
    let sea_orm = async || {
        let database = Database::connect("sqlite::memory:").await.unwrap();
        let query = Statement::from_string(DbBackend::Sqlite, "SELECT 2 AS n");
        let row = database.query_one_raw(query).await.unwrap().unwrap();
        row.try_get::<i32>("", "n").unwrap()
    };
    let diesel = async || {
        use diesel::Connection;
        let mut connection = diesel::SqliteConnection::establish(":memory:").unwrap();
        diesel::sql_query("SELECT 3 AS n").get_result::<Number>(&mut connection).unwrap().n
    };
    assert_eq!(region.get_or_create::<i32, _, _>("sqlx", sqlx).await, 1);
    assert_eq!(region.get_or_create::<i32, _, _>("sea-orm", sea_orm).await, 2);
    assert_eq!(region.get_or_create::<i32, _, _>("diesel", diesel).await, 3);
    assert_eq!(region.get::<i32>("sqlx").await.unwrap(), Some(1));
}
