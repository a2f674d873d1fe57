//! The servers that tests start: their programs, from Debian's packages.

use crate::run::{Failure, program};

/// A program that a test calls, and the package that has it.
const PROGRAMS: [(&str, &str); 6] = [
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-tools"),
    ("memcached", "memcached"),
    ("saslpasswd2", "sasl2-bin"),
    ("openssl", "openssl"),
    ("setpriv", "util-linux"),
];

/// Installs what is missing. The packages' own services are not started.
pub(crate) fn install() -> Result<(), Failure> {
    let missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(name, _)| {
            program("sh", ["-c", &format!("command -v {name}")]).quiet().run().is_err()
        })
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
