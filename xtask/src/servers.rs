//! The servers that tests start: their programs, from Debian's packages.

use crate::run::{Error, program};

/// The programs that tests need, as a condition of the shell, and the package that has each.
const NEEDED: [(&str, &str); 11] = [
    ("command -v redis-server", "redis-server"),
    ("command -v redis-cli", "redis-tools"),
    ("command -v memcached", "memcached"),
    ("command -v saslpasswd2", "sasl2-bin"),
    ("ls /usr/lib/postgresql/*/bin/postgres", "postgresql"),
    ("command -v mariadbd || test -x /usr/sbin/mariadbd", "mariadb-server"),
    ("command -v wrk", "wrk"),
    ("command -v openssl", "openssl"),
    ("command -v setpriv", "util-linux"),
    // Python's pylibmc is built against these.
    ("test -e /usr/include/libmemcached/memcached.h", "libmemcached-dev"),
    ("test -e /usr/include/zlib.h", "zlib1g-dev"),
];

/// Installs what is missing. The packages' own services are not started.
pub(crate) fn install() -> Result<(), Error> {
    let missing: Vec<&str> = NEEDED
        .iter()
        .filter(|(condition, _)| program("sh", ["-c", condition]).quiet().run().is_err())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    program("apt-get", ["update", "-q"]).quiet().named("package lists").run()?;
    let install = ["install", "-q", "-y", "--no-install-recommends"];
    program("apt-get", install)
        .args(missing)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1")
        .quiet()
        .named("servers")
        .run()
}
