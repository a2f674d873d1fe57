//! The tables, and who changes them.

use dogpile_orm::sqlx::{FromCacheExt, Transaction};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::service::{Customer, customer};
use crate::{Outcome, QUERIES};

pub(crate) const CUSTOMERS: i64 = 1_000;

pub(crate) async fn fill(url: &str) -> Outcome<PgPool> {
    let pool = PgPoolOptions::new().max_connections(20).connect(url).await?;
    sqlx::raw_sql(
        "CREATE TABLE customers (id bigint PRIMARY KEY, name text NOT NULL, revision bigint NOT NULL);
         CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint NOT NULL, cents bigint NOT NULL);
         INSERT INTO customers SELECT i, 'customer ' || i, 0 FROM generate_series(1, 1000) i;
         INSERT INTO orders SELECT i, i % 1000 + 1, (i * 7919) % 10000 FROM generate_series(1, 50000) i;
         CREATE INDEX ON orders (customer_id);
         ANALYZE;",
    )
    .execute(&pool)
    .await?;
    Ok(pool)
}

/// Changes a customer; once that is committed, the cached row is created again, in the background.
pub(crate) async fn change(pool: &PgPool, id: i64, cached: bool) -> Outcome<i64> {
    let mut transaction = Transaction::begin(pool).await?;
    let update = "UPDATE customers SET revision = revision + 1 WHERE id = $1 RETURNING revision";
    let revision = sqlx::query_scalar(update).bind(id).fetch_one(&mut **transaction).await?;
    if cached {
        let own = pool.clone();
        transaction.after_commit(async move {
            let refreshed: Result<Option<Customer>, _> =
                customer(id).from_cache(&QUERIES).refresh().fetch_optional(&own).await;
            refreshed
        });
    }
    transaction.commit().await?;
    Ok(revision)
}

/// Returns the number of transactions of the database.
pub(crate) async fn transactions(pool: &PgPool) -> Outcome<i64> {
    // Sessions report what they did once a second at most, or when told to.
    sqlx::query("SELECT pg_stat_force_next_flush()").execute(pool).await?;
    let count = "SELECT sum(xact_commit)::bigint FROM pg_stat_database";
    Ok(sqlx::query_scalar(count).fetch_one(pool).await?)
}
