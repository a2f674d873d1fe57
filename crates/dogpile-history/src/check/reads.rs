//! Nobody who asks after a change is given an older value.

use std::collections::{HashMap, HashSet};

use super::history::{History, Operation};
use super::{Findings, Telling, told};
use crate::clock::{Moment, milliseconds};
use crate::record::{Answer, Given, Id, Kind, Outcome, process_of};

/// The oldest version of a key that may be given, as a function of time.
#[derive(Debug, Default)]
struct Floor(
    /// Ends of changes, and the highest version that one of them or of those before was
    /// about.
    Vec<(Moment, u64)>,
);

impl Floor {
    fn new(mut changes: Vec<(Moment, u64)>) -> Self {
        changes.sort_unstable();
        let mut highest = 0;
        changes.iter_mut().for_each(|(_, version)| {
            highest = highest.max(*version);
            *version = highest;
        });
        Self(changes)
    }

    /// The oldest version for a caller who asks at `begin`.
    fn at(&self, begin: Moment) -> u64 {
        let ended = self.0.partition_point(|(end, _)| *end < begin);
        ended.checked_sub(1).map_or(0, |last| self.0[last].1)
    }

    /// When `version` ceased to be good enough.
    fn left(&self, version: u64) -> Option<Moment> {
        let first = self.0.partition_point(|(_, highest)| *highest <= version);
        self.0.get(first).map(|(end, _)| *end)
    }

    /// For how long `version` has not been good enough at `moment`.
    fn since(&self, version: u64, moment: Moment) -> u64 {
        self.left(version).map_or(0, |left| moment.saturating_sub(left))
    }
}

/// The floors of one key.
#[derive(Debug)]
struct Floors {
    /// For any value.
    hard: Floor,
    /// For values given as fresh.
    all: Floor,
    /// The same two for changes that began after each failover.
    later: Vec<[Floor; 2]>,
}

impl Floors {
    /// Those by all changes, or by those of one process.
    fn of(history: &History, key: usize, process: Option<u64>) -> Self {
        let since = |failover: Option<Moment>| {
            [false, true].map(|soft| {
                let changes = history.operations.iter().filter(|operation| {
                    operation.has_changed()
                        && process.is_none_or(|own| process_of(operation.id) == own)
                        && Some(operation.begin) > failover
                        && (soft || operation.kind == Kind::Hard)
                });
                let about = |operation: &Operation| {
                    let (_, version) = operation.keys.iter().find(|(of, _)| *of == key)?;
                    Some((operation.end?, *version))
                };
                Floor::new(changes.filter_map(about).collect())
            })
        };
        let [hard, all] = since(None);
        Self { hard, all, later: history.failovers.iter().map(|at| since(Some(*at))).collect() }
    }

    fn for_given(&self, given: Given) -> &Floor {
        if given == Given::Fresh { &self.all } else { &self.hard }
    }

    /// Is `version`, given to `reader`, older than a change that no failover can have lost?
    ///
    /// A call that has met the death of a master may have its answer from the next one.
    fn is_old(&self, history: &History, reader: &Operation, given: Given, version: u64) -> bool {
        let before = |at: &&Moment| reader.end.is_none_or(|end| **at < end);
        let floor = match history.failovers.iter().filter(before).count().checked_sub(1) {
            None => self.for_given(given),
            Some(last) => &self.later[last][usize::from(given == Given::Fresh)],
        };
        version < floor.at(reader.begin)
    }
}

/// Returns what changes have written whose outcome is not known: it may appear later, once. What was
/// handed over may not: it comes before the next change of its key.
fn unknown_writes(history: &History) -> HashSet<Id> {
    let is_unknown =
        |it: &&Operation| it.is_change() && !it.has_changed() && it.outcome != Outcome::HandedOver;
    let unknown = history.operations.iter().filter(is_unknown);
    let mut writes: HashSet<Id> = unknown.map(|operation| operation.id).collect();
    let created = history.creations.iter().filter(|it| writes.contains(&it.operation));
    let created: Vec<Id> = created.map(|creation| creation.id).collect();
    writes.extend(created);
    writes
}

pub(super) fn check(history: &History, findings: &mut Findings) {
    let keys = history.operations.iter().flat_map(|operation| &operation.keys);
    let keys = keys.map(|(key, _)| key + 1).max().unwrap_or(0);
    let floors = (0..keys).map(|key| Floors::of(history, key, None)).collect();
    let mut judge = Judge { history, floors, own: HashMap::new(), telling: Telling::new() };
    let unknown = unknown_writes(history);
    for operation in &history.operations {
        if operation.is_change() {
            findings.changes += 1;
            findings.unknown_changes += u64::from(!operation.has_changed());
        } else if operation.end.is_some() && operation.kind != Kind::Look {
            findings.reads += operation.keys.len() as u64;
        }
        for answer in &operation.answers {
            if answer.row.key != answer.key {
                findings.wrong_keys += 1;
                judge.telling.tell(findings, || format!("the value of another key: {answer:?}"));
            } else if !unknown.contains(&answer.row.by) && answer.key < keys {
                judge.judge(operation, answer, findings);
            }
        }
    }
}

/// Finds older values among answers.
struct Judge<'h> {
    history: &'h History,
    /// Those of each key.
    floors: Vec<Floors>,
    /// Those by the changes of a process, of each key of which it was given an older value.
    own: HashMap<(u64, usize), Floors>,
    telling: Telling,
}

impl Judge<'_> {
    fn judge(&mut self, operation: &Operation, answer: &Answer, findings: &mut Findings) {
        let (begin, version) = (operation.begin, answer.row.version);
        let floors = &self.floors[answer.key];
        let floor = floors.for_given(answer.given);
        if version >= floor.at(begin) {
            return;
        }
        if !floors.is_old(self.history, operation, answer.given, version) {
            findings.lost_in_failover += 1;
            return;
        }
        let since = floor.since(version, begin);
        if operation.kind == Kind::Look {
            findings.old_reads_permanent += 1;
        } else {
            findings.old_reads += 1;
            findings.longest_old = findings.longest_old.max(since);
        }
        if let Some(since) = self.since_own(operation, answer) {
            findings.old_reads_own += 1;
            findings.longest_old_own = findings.longest_old_own.max(since);
        }
        self.telling.tell(findings, || {
            format!(
                "key {}: {:?} in process {}, at {}, got version {version} of process {}, \
                 {:.3} ms after a change of a later one",
                answer.key,
                operation.kind,
                process_of(operation.id),
                told(self.history, begin),
                process_of(answer.row.by),
                milliseconds(since),
            )
        });
    }

    /// Returns how long after a change by the reader's own process `answer` was given to it, if it is
    /// older than that.
    fn since_own(&mut self, reader: &Operation, answer: &Answer) -> Option<u64> {
        let (history, process) = (self.history, process_of(reader.id));
        let own = self.own.entry((process, answer.key));
        let own = own.or_insert_with(|| Floors::of(history, answer.key, Some(process)));
        let version = answer.row.version;
        let is_old = own.is_old(history, reader, answer.given, version);
        is_old.then(|| own.for_given(answer.given).since(version, reader.begin))
    }
}
