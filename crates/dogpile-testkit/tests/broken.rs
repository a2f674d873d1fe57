//! The conformance suite on backends that break a rule each: it must fail.

use std::collections::HashMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use dogpile::backend::{AnyBackend, Backend, BackendError, KeepsBytes};
use dogpile::value::Entry;
use dogpile_testkit::conformance::{self, Fixture};

/// The rule that a backend breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    None,
    ReadsBackTheWholeEntry,
    OverwritesWithTheSecond,
    Deletes,
    KeepsUnusualKeysApart,
}

/// A map that breaks one rule.
#[derive(Debug, Clone)]
struct Broken {
    rule: Rule,
    entries: Arc<Mutex<HashMap<String, Entry>>>,
}

impl Broken {
    fn fixture(rule: Rule) -> Fixture {
        AnyBackend::new(Self { rule, entries: Arc::default() }).into()
    }

    fn breaks(&self, rule: Rule) -> bool {
        self.rule == rule
    }

    fn name(&self, key: &str) -> String {
        if self.breaks(Rule::KeepsUnusualKeysApart) {
            key.split_whitespace().collect::<Vec<_>>().join(" ")
        } else {
            key.to_owned()
        }
    }
}

impl Backend for Broken {
    type Keeps = KeepsBytes;

    async fn get(&self, key: &str) -> Result<Option<Entry>, BackendError> {
        let mut found = self.entries.lock().unwrap().get(&self.name(key)).cloned();
        if let Some(entry) = found.as_mut().filter(|_| self.breaks(Rule::ReadsBackTheWholeEntry)) {
            entry.metadata.ct = entry.metadata.ct.floor();
        }
        Ok(found)
    }

    async fn set(&self, key: &str, entry: Entry) -> Result<(), BackendError> {
        let mut entries = self.entries.lock().unwrap();
        if !self.breaks(Rule::OverwritesWithTheSecond) || !entries.contains_key(key) {
            entries.insert(self.name(key), entry);
        }
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        if !self.breaks(Rule::Deletes) {
            self.entries.lock().unwrap().remove(&self.name(key));
        }
        Ok(())
    }
}

/// Asserts that `check` passes on a map, and fails where it breaks `rule`.
fn finds<C, D>(rule: Rule, check: C)
where
    C: Fn(Fixture) -> D,
    D: Future<Output = ()>,
{
    conformance::run(async || Broken::fixture(Rule::None), &check);
    let broken = || conformance::run(async || Broken::fixture(rule), &check);
    let ended = catch_unwind(AssertUnwindSafe(broken));
    assert!(ended.is_err(), "a backend that breaks {rule:?} passes");
}

#[test]
fn a_backend_that_breaks_a_rule_fails() {
    finds(Rule::ReadsBackTheWholeEntry, conformance::an_entry_reads_back_whole);
    finds(Rule::OverwritesWithTheSecond, conformance::a_second_set_overwrites);
    finds(Rule::Deletes, conformance::delete_removes_and_absent_keys_are_fine);
    finds(Rule::KeepsUnusualKeysApart, conformance::unusual_keys_are_kept_apart_or_refused);
}
