//! The key that a query's result is kept under.

use std::convert::Infallible;

use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::statement;

/// The forms of a statement's result: each is an entry of its own.
pub(crate) const ALL: &str = "all";
pub(crate) const ONE: &str = "one";
#[cfg(feature = "sea-orm")]
pub(crate) const COUNT: &str = "count";

/// A statement with its values.
#[derive(Debug, Clone)]
pub(crate) struct Fingerprint {
    /// The kind of database: `postgres` and so on.
    kind: String,
    hash: Sha256,
}

impl Fingerprint {
    /// Of a statement's text on a kind of database, with its values in a form that
    /// tells types apart. An error if the statement is more than a read.
    pub(crate) fn new(
        kind: &str,
        statement: &str,
        values: &str,
    ) -> Result<Self, Error<Infallible>> {
        if let Some(effect) = statement::effect(kind, statement) {
            return Err(Error::NotARead { effect });
        }
        let mut hash = Sha256::new();
        for part in [kind, statement, values] {
            add(&mut hash, part);
        }
        Ok(Self { kind: kind.to_lowercase(), hash })
    }

    /// The key of what is asked of it, with rows of this shape.
    pub(crate) fn key(&self, part: Option<&str>, asked: &str, shape: &str) -> String {
        let mut hash = self.hash.clone();
        // Not among the parts before: only this one is of variable length here.
        add(&mut hash, asked);
        add(&mut hash, shape);
        add(&mut hash, part.unwrap_or_default());
        let hash = hash.finalize();
        let hash = hash.iter().take(16).fold(0_u128, |all, byte| all << 8 | u128::from(*byte));
        let kind = &self.kind;
        match part {
            Some(part) => format!("query:{kind}:{part}:{hash:032x}"),
            None => format!("query:{kind}:{hash:032x}"),
        }
    }
}

/// With its length before it, so that no two rows of parts are the same bytes.
fn add(hash: &mut Sha256, part: &str) {
    hash.update((part.len() as u64).to_le_bytes());
    hash.update(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_makes_another_key() {
        let key = |kind: &str, text: &str, values: &str, part, asked: &str, shape: &str| {
            Fingerprint::new(kind, text, values).unwrap().key(part, asked, shape)
        };
        let keys = [
            key("pg", "select", "1", None, ALL, "T"),
            key("my", "select", "1", None, ALL, "T"),
            key("pg", "select 11", "", None, ALL, "T"),
            key("pg", "select", "2", None, ALL, "T"),
            key("pg", "select", "1", Some("x"), ALL, "T"),
            key("pg", "select", "1", None, ONE, "T"),
            key("pg", "select", "1", None, ALL, "U"),
        ];
        for (n, key) in keys.iter().enumerate() {
            assert!(!keys[n + 1..].contains(key));
        }
        assert!(keys[4].starts_with("query:pg:x:"));
    }
}
