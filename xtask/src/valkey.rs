//! The tests of the Redis backend once more, with every server a Valkey.

use crate::python;
use crate::run::{Error, cargo};

/// The test programs that start Redis servers, and no other kind.
const TESTS: [&str; 7] = [
    "near",
    "redis",
    "redis_faults",
    "redis_fleet",
    "redis_leases",
    "collections_faults",
    "collections_redis",
];

/// Runs them. The package that Valkey comes from is built without TLS.
pub(crate) fn test() -> Result<(), Error> {
    println!("==> Valkey: the tests of TLS are left out, since this server is built without it");
    // All features of all crates, so that nothing is built again.
    let test = ["test", "--workspace", "--all-features", "--no-fail-fast"];
    let programs = TESTS.iter().flat_map(|name| ["--test", name]);
    // One test is ignored elsewhere: it says that the servers are Valkey.
    let choice = ["--", "--include-ignored", "--skip", "tls_and"];
    cargo(test.into_iter().chain(programs).chain(choice))
        .env("DOGPILE_VALKEY_SERVER", &python::valkey_server()?)
        .named("tests on Valkey")
        .run()
}
