//! An axum service over PostgreSQL and Redis, and what the cache does for it under
//! load.
//!
//! ```sh
//! cargo run --release -p dogpile-example-service          # ten seconds each, with wrk
//! cargo run --release -p dogpile-example-service -- 3 1   # three; results live for one
//! ```
//!
//! starts a PostgreSQL and a Redis, and the service twice: without the cache, and with
//! it. `wrk` reads from three endpoints while a writer changes rows, each change in a
//! transaction with a refresh after its commit. A checker reads one row all the time and
//! compares it with what was committed when.
//!
//! - `service`: the endpoints, which are what an application would have;
//! - `database`: the tables, and the writer;
//! - `load`: wrk, the checker, the table of results.

mod database;
mod load;
mod service;

use dogpile::backend::Redis;
use dogpile::{Config, Region};
use dogpile_servers::{PostgresServer, RedisServer};
use std::time::Duration;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Results of queries.
static QUERIES: Region = Region::new("queries");

#[tokio::main]
async fn main() -> Outcome {
    let seconds = |nth, else_| match std::env::args().nth(nth) {
        Some(seconds) => seconds.parse(),
        None => Ok(else_),
    };
    // How old a read may be at most: how long a result lives.
    let (seconds, expiration) = (seconds(1, 10)?, Duration::from_secs(seconds(2, 5)?));
    let (postgres, redis) = (PostgresServer::start(), RedisServer::start());
    let config = Config::new(Redis::open(&redis.url())?).expiration(expiration);
    QUERIES.configure(config)?;
    let pool = database::fill(&postgres.url()).await?;
    let mut runs = Vec::new();
    for cached in [false, true] {
        runs.push(load::run(&pool, cached, seconds).await?);
    }
    load::report(&runs, seconds, expiration);
    Ok(())
}
