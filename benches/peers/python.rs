//! Python's dogpile.cache in a process of its own.

use std::path::Path;
use std::process::Command;

/// The numbers that `script` prints; `None`, and a word about it, if there is no
/// Python with what it needs.
pub(crate) fn numbers<const N: usize>(script: &str, arguments: &[&str]) -> Option<[f64; N]> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let mut python = Command::new(target.join("python/bin/python"));
    let output = python.args(["-c", script]).args(arguments).output();
    let text = output.ok().map(|output| {
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    });
    let numbers = text.as_deref().unwrap_or_default().split_whitespace();
    let numbers: Option<Vec<f64>> = numbers.map(|number| number.parse().ok()).collect();
    let numbers = numbers.and_then(|numbers| numbers.try_into().ok());
    if numbers.is_none() {
        eprintln!("no Python beside it: `cargo xtask python` installs what it needs");
    }
    numbers
}
