//! The licences of everything that users of the crates build in.

use std::process::Command;

use serde_json::Value;

use crate::run::Error;

/// Licences that put no condition on an application but notices.
const ACCEPTED: [&str; 12] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "0BSD",
    "CC0-1.0",
    "Unlicense",
];

/// Fails if a dependency, of any depth and for any platform, has none of the
/// accepted licences.
pub(crate) fn check() -> Result<(), Error> {
    println!("==> licences");
    let metadata = Command::new("cargo")
        .args(["metadata", "--format-version=1", "--all-features"])
        .output()
        .map_err(|error| Error(format!("cargo metadata: {error}")))?;
    let metadata: Value = serde_json::from_slice(&metadata.stdout)
        .map_err(|error| Error(format!("cargo metadata: {error}")))?;
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !package["source"].is_null())
        .filter(|package| !is_accepted(package["license"].as_str().unwrap_or("")))
        .map(|package| format!("{} ({})", package["name"], package["license"]))
        .collect();
    if !refused.is_empty() {
        return Err(Error(format!("licences to look at: {}", refused.join(", "))));
    }
    println!("==> licences: {} packages are fine", packages.len());
    Ok(())
}

/// Reads the expressions that occur: alternatives of conjunctions. An
/// exception only widens a licence.
fn is_accepted(expression: &str) -> bool {
    let expression = expression.replace(['(', ')'], " ").replace('/', " OR ");
    expression.split(" OR ").any(|alternative| {
        alternative.split(" AND ").all(|licence| {
            let licence = licence.split(" WITH ").next().unwrap_or("").trim();
            ACCEPTED.contains(&licence)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::is_accepted;

    #[test]
    fn one_acceptable_alternative_is_enough() {
        assert!(is_accepted("MIT OR Apache-2.0"));
        assert!(is_accepted("GPL-3.0 OR MIT"));
        assert!(is_accepted("Apache-2.0 WITH LLVM-exception"));
        assert!(is_accepted("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(!is_accepted("GPL-3.0"));
        assert!(!is_accepted("MIT AND GPL-3.0"));
        assert!(!is_accepted(""));
    }
}
