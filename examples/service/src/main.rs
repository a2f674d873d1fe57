//! An axum service over PostgreSQL and Redis, and what the cache does for it under
//! load.
//!
//! ```sh
//! cargo run --release -p dogpile-example-service          # ten seconds each, with wrk
//! cargo run --release -p dogpile-example-service -- 3     # three
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
use dogpile_testkit::servers::{PostgresServer, RedisServer};
use std::time::Duration;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Results of queries.
static QUERIES: Region = Region::new("queries");

/// How old a read may be at most: how long a result lives.
const EXPIRATION: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Outcome {
    let seconds = std::env::args().nth(1).map_or(Ok(10), |seconds| seconds.parse())?;
    let (postgres, redis) = (PostgresServer::start(), RedisServer::start());
    let config = Config::new(Redis::open(&redis.url())?).expiration(EXPIRATION);
    QUERIES.configure(config)?;
    let pool = database::fill(&postgres.url()).await?;
    let mut runs = Vec::new();
    for cached in [false, true] {
        runs.push(load::run(&pool, cached, seconds).await?);
    }
    load::report(&runs, seconds);
    Ok(())
}
