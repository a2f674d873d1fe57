//! What tests that share a cache with Python have in common.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The Python that `cargo xtask python` installs.
pub(crate) fn python() -> Command {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let interpreter = target.join("python/bin/python");
    assert!(
        interpreter.exists(),
        "there is no {}: run `cargo xtask python`",
        interpreter.display()
    );
    Command::new(interpreter)
}

/// One of the scripts beside these tests.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name)
}
