//! Real servers for tests, on free ports, ended with the test program.
//!
//! They must be installed (`cargo xtask servers` does it); what is missing is a
//! panic that says so.

#![expect(clippy::missing_panics_doc, reason = "a fixture panics when it cannot be had")]

mod mariadb;
mod memcached;
mod ports;
mod postgres;
mod process;
mod redis;

pub use mariadb::MariaDbServer;
pub use memcached::{MemcachedServer, MemcachedSocket};
pub use ports::free_port;
pub use postgres::PostgresServer;
pub use process::Server;
pub(crate) use process::wait_until_stopped;
pub use redis::{RedisCluster, RedisSentinels, RedisServer, Tls};
