//! The packages that are published: what `cargo publish` would send.

use std::process::Command;

use crate::run::{Error, cargo};

/// The members that are published. Their tests stay here, where the servers are that they need.
const PUBLISHED: [&str; 5] =
    ["dogpile", "dogpile-macros", "dogpile-orm", "dogpile-cli", "dogpile-testkit"];

/// Files that each package has.
const NEEDED: [&str; 3] = ["README.md", "LICENSE-APACHE", "LICENSE-MIT"];

/// Packages the whole workspace, then the published members by themselves: that fails if one
/// depends on a member that is not published. Looks at what is in them. Nothing is built, which
/// other steps do.
pub(crate) fn check() -> Result<(), Error> {
    let package = ["package", "--quiet", "--no-verify", "--allow-dirty"];
    let members = PUBLISHED.iter().flat_map(|name| ["-p", name]);
    cargo(package.into_iter().chain(["--workspace"])).named("packages of all members").run()?;
    cargo(package.into_iter().chain(members)).named("packages").run()?;
    PUBLISHED.iter().try_for_each(|name| has_what_it_needs(name))
}

fn has_what_it_needs(name: &str) -> Result<(), Error> {
    let list = ["package", "--quiet", "--list", "--allow-dirty", "-p", name];
    let listed = Command::new("cargo").args(list).output()?;
    let files = String::from_utf8_lossy(&listed.stdout);
    let lacks = NEEDED.into_iter().filter(|needed| !files.lines().any(|file| file == *needed));
    let lacks: Vec<&str> = lacks.collect();
    if lacks.is_empty() {
        return Ok(());
    }
    Err(Error(format!("the package {name} lacks {}", lacks.join(", "))))
}
