//! Fixtures of dogpile's own tests: real servers on free ports, races between processes, and
//! the processes that hold a lock on a file. The tests of the shared backends are beside it.
//!
//! Servers must be installed (`cargo xtask servers` does it); a missing one is a panic that says
//! so. This member is not published: authors of backends find their tests in `dogpile-testkit`.

pub mod fleet;
#[cfg(target_os = "linux")]
mod lockers;
mod servers;

#[cfg(target_os = "linux")]
pub use lockers::lockers;
pub use servers::{
    MariaDbServer, MemcachedServer, MemcachedSocket, PostgresServer, RedisCluster, RedisSentinels,
    RedisServer, Server, Tls, free_port,
};
