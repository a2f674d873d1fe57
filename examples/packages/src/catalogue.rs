//! The packages as every process has them, and two ways to look at them.

use std::collections::HashMap;

use dogpile::backend::Redis;
use dogpile::collections::CachedMapping;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::database::Database;

/// A row of the table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Package {
    pub(crate) version: String,
    pub(crate) section: String,
    pub(crate) depends: Vec<String>,
}

pub(crate) type Packages = HashMap<String, Package>;

/// Opens the collection: loads the table if nobody has yet.
pub(crate) async fn open(postgres: &str, redis: &str) -> Outcome<CachedMapping<String, Package>> {
    let postgres = postgres.to_owned();
    let load = move || {
        let postgres = postgres.clone();
        async move { Database::connect(&postgres).await?.packages().await }
    };
    let packages = CachedMapping::builder("packages", Redis::open(redis)?, load)
        .version(env!("CARGO_PKG_VERSION"))
        .open()
        .await?;
    Ok(packages)
}

/// The names of the packages of each section, in order.
pub(crate) fn by_section(packages: &Packages) -> HashMap<String, Vec<String>> {
    let mut sections: HashMap<String, Vec<String>> = HashMap::new();
    for (name, package) in packages {
        sections.entry(package.section.clone()).or_default().push(name.clone());
    }
    sections.values_mut().for_each(|names| names.sort());
    sections
}

/// Sections by their size: a view of that view.
pub(crate) fn largest(sections: &HashMap<String, Vec<String>>) -> Vec<String> {
    let mut names: Vec<&String> = sections.keys().collect();
    names.sort_by_key(|name| std::cmp::Reverse(sections[*name].len()));
    names.into_iter().cloned().collect()
}

/// Which packages each one is needed by: the list turned round.
pub(crate) fn needed_by(packages: &Packages) -> HashMap<String, Vec<String>> {
    let mut needed: HashMap<String, Vec<String>> = HashMap::new();
    for (name, package) in packages {
        for other in &package.depends {
            needed.entry(other.clone()).or_default().push(name.clone());
        }
    }
    needed
}
