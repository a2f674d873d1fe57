//! Queries of sqlx's macros, answered from a cache.
//!
//! The folder `.sqlx` has what the macros know of them. After a change of a query, with a
//! database that has the table: `DATABASE_URL=sqlite:users.db SQLX_OFFLINE_DIR=$PWD/.sqlx cargo
//! test`.

#[cfg(test)]
mod tests {
    use dogpile::backend::Memory;
    use dogpile::{Config, Region};
    use dogpile_orm::sqlx::from_cache;
    use serde::{Deserialize, Serialize};
    use sqlx::SqlitePool;
    use sqlx::sqlite::SqlitePoolOptions;

    static USERS: Region = Region::new("users");

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct User {
        id: i64,
        name: String,
    }

    async fn database() -> SqlitePool {
        let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await;
        let pool = pool.unwrap();
        let rows = "CREATE TABLE users (id INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL);
                    INSERT INTO users VALUES (1, 'Ada'), (2, 'Grace')";
        sqlx::raw_sql(rows).execute(&pool).await.unwrap();
        pool
    }

    /// Every form of a query reads its rows, is answered without the database, and reads again
    /// after an invalidation. Parameters are parts of the key.
    #[tokio::test]
    async fn queries_of_macros_are_cached() {
        USERS.configure(Config::new(Memory::new(100))).unwrap();
        let pool = database().await;
        let user =
            |id: i64| move || sqlx::query_as!(User, "SELECT id, name FROM users WHERE id = ?", id);
        let name = |id: i64| move || sqlx::query_scalar!("SELECT name FROM users WHERE id = ?", id);
        let record = |id: i64| {
            move || {
                let query = sqlx::query!("SELECT name FROM users WHERE id = ?", id);
                query.map(move |row| User { id, name: row.name })
            }
        };
        let ada = User { id: 1, name: "Ada".into() };
        let first = async || {
            (
                from_cache(&USERS, user(1)).fetch_one(&pool).await.unwrap(),
                from_cache(&USERS, name(1)).fetch_one(&pool).await.unwrap(),
                from_cache(&USERS, record(1)).fetch_all(&pool).await.unwrap(),
            )
        };
        let expected = (ada.clone(), "Ada".to_owned(), vec![ada]);
        assert_eq!(first().await, expected);
        assert_eq!(from_cache(&USERS, user(2)).fetch_one(&pool).await.unwrap().name, "Grace");
        assert_eq!(from_cache(&USERS, user(3)).fetch_optional(&pool).await.unwrap(), None);

        sqlx::raw_sql("UPDATE users SET name = 'Lady Ada' WHERE id = 1")
            .execute(&pool)
            .await
            .unwrap();
        assert_eq!(first().await, expected, "none of them asks the database");
        from_cache(&USERS, user(1)).invalidate().await.unwrap();
        from_cache(&USERS, name(1)).invalidate().await.unwrap();
        from_cache(&USERS, record(1)).invalidate().await.unwrap();
        let (user, name, records) = first().await;
        assert_eq!((user.name, name), ("Lady Ada".into(), "Lady Ada".into()));
        assert_eq!(records[0].name, "Lady Ada");
    }
}
