//! A Python with dogpile.cache in it, for the tests that share a cache with
//! it: a virtual environment in `target/python`.

use std::path::Path;

use crate::run::{Failure, program};

const FOLDER: &str = "target/python";
const PACKAGES: [&str; 5] = ["dogpile.cache==1.5.0", "msgpack", "pylibmc", "pymemcache", "redis"];

pub(crate) fn install() -> Result<(), Failure> {
    let interpreter = Path::new(FOLDER).join("bin/python");
    let check = "import dogpile.cache, msgpack, pylibmc, pymemcache, redis, sqlite3";
    if program(&interpreter, ["-c", check]).quiet().run().is_ok() {
        return Ok(());
    }
    newest().args(["-m", "venv", "--clear", FOLDER]).named("virtual environment").run()?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    program(&interpreter, pip).args(PACKAGES).named("Python packages").run()
}

/// The newest Python there is: from 3.13 on its own `dbm` is on SQLite. The
/// variable is for pyenv, which has several and needs to be told.
fn newest() -> crate::run::Step {
    let versions = ["3.14", "3.13"];
    let works =
        |version: &&str| at(version).args(["-c", "import dbm.sqlite3"]).quiet().run().is_ok();
    versions.iter().find(|version| works(version)).map_or_else(|| program("python3", []), |v| at(v))
}

fn at(version: &str) -> crate::run::Step {
    program(format!("python{version}"), []).env("PYENV_VERSION", version)
}
