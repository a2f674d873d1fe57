//! Databases and regions for the tests of all libraries.

#![allow(dead_code, reason = "each test program takes what it needs")]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use dogpile::backend::SerializedMemory;
use dogpile::testing::ManualClock;
use dogpile::{Config, Region};
use dogpile_servers::{MariaDbServer, PostgresServer};

static POSTGRES: LazyLock<PostgresServer> = LazyLock::new(PostgresServer::start);

static MARIADB: LazyLock<MariaDbServer> = LazyLock::new(MariaDbServer::start);

/// The URL of a new database on a MariaDB server.
pub(crate) fn mariadb() -> String {
    MARIADB.database()
}

/// The URL of a new database on a PostgreSQL server.
pub(crate) fn postgres() -> String {
    POSTGRES.database()
}

/// A region over bytes, as a server keeps them, and its clock.
pub(crate) fn region(name: &str) -> (Arc<Region>, ManualClock) {
    let (region, clock) = (Region::named(name), ManualClock::new());
    let config = Config::new(SerializedMemory::new(1_000))
        .expiration(Duration::from_secs(60))
        .clock(clock.clone());
    region.configure(config).unwrap();
    (Arc::new(region), clock)
}
