//! Nobody waits for longer than there is something to wait for.

use std::collections::HashMap;

use super::history::{Creation, Halt, History, Operation};
use super::{Findings, Telling, told};
use crate::clock::{MILLISECOND, Moment, milliseconds};
use crate::record::{Id, process_of};

/// A wait that is worth an example.
const LONG: u64 = 1_000 * MILLISECOND;

/// The creations and halts that a call may have waited for.
struct Reasons<'h> {
    /// The creations of each operation.
    own: HashMap<Id, Vec<&'h Creation>>,
    /// The creations of each key, by their begins.
    others: Vec<Vec<&'h Creation>>,
    halts: HashMap<u64, Vec<&'h Halt>>,
    /// The longest creation of all.
    longest: u64,
}

impl<'h> Reasons<'h> {
    fn of(history: &'h History) -> Self {
        let keys = history.creations.iter().map(|creation| creation.key + 1).max().unwrap_or(0);
        let (mut own, mut others) = (HashMap::<_, Vec<_>>::new(), vec![Vec::new(); keys]);
        let mut longest = 0;
        for creation in &history.creations {
            own.entry(creation.operation).or_default().push(creation);
            others[creation.key].push(creation);
            longest = longest.max(length(creation.begin, creation.end));
        }
        others.iter_mut().for_each(|of| of.sort_unstable_by_key(|creation| creation.begin));
        let mut halts = HashMap::<_, Vec<_>>::new();
        history.halts.iter().for_each(|halt| halts.entry(halt.process).or_default().push(halt));
        Self { own, others, halts, longest }
    }

    /// Returns the time of an operation that its own creations took, and halts of its process.
    fn own(&self, operation: &Operation, end: Moment) -> u64 {
        let created = self.own.get(&operation.id).into_iter().flatten();
        let created = created.map(|creation| (creation.begin, creation.end));
        let halted = self.halts.get(&process_of(operation.id)).into_iter().flatten();
        let halted = halted.map(|halt| (halt.begin, halt.end));
        let parts = created.chain(halted);
        total(parts.map(|(since, until)| (since.max(operation.begin), until.min(end))).collect())
    }

    /// Returns how long the longest creation took that an operation may have waited for.
    fn other(&self, operation: &Operation, end: Moment) -> u64 {
        let keys = operation.keys.iter().filter_map(|(key, _)| self.others.get(*key));
        let around = keys.flat_map(|creations| {
            let from = operation.begin.saturating_sub(self.longest);
            let first = creations.partition_point(|creation| creation.begin < from);
            creations[first..].iter().take_while(|creation| creation.begin < end)
        });
        let others = around.filter(|it| it.operation != operation.id && it.end > operation.begin);
        others.map(|it| length(it.begin, it.end)).max().unwrap_or(0)
    }
}

fn length(begin: Moment, end: Moment) -> u64 {
    end.saturating_sub(begin)
}

/// The length of what `intervals` cover together.
fn total(mut intervals: Vec<(Moment, Moment)>) -> u64 {
    intervals.sort_unstable();
    let (mut covered, mut reached) = (0, 0);
    for (begin, end) in intervals {
        covered += length(begin.max(reached), end);
        reached = reached.max(end);
    }
    covered
}

pub(super) fn check(history: &History, findings: &mut Findings) {
    let reasons = Reasons::of(history);
    let mut telling = Telling::new();
    for operation in &history.operations {
        let end = history.end_of(operation);
        let was_killed = history.killed.contains_key(&process_of(operation.id));
        let never_ended = operation.end.is_none() && !was_killed;
        findings.unended += u64::from(never_ended);
        let took = length(operation.begin, end);
        if took <= findings.longest_wait.min(LONG) {
            continue;
        }
        let waited = took.saturating_sub(reasons.own(operation, end));
        let waited = waited.saturating_sub(reasons.other(operation, end));
        findings.longest_wait = findings.longest_wait.max(waited);
        if waited > LONG {
            telling.tell(findings, || {
                let ended = if never_ended { " and never ended" } else { "" };
                format!(
                    "{:?} of {:?} in process {} began at {}{ended}: it waited for {:.3} ms",
                    operation.kind,
                    operation.keys.iter().map(|(key, _)| key).collect::<Vec<_>>(),
                    process_of(operation.id),
                    told(history, operation.begin),
                    milliseconds(waited),
                )
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_counts_once() {
        assert_eq!(total(vec![]), 0);
        assert_eq!(total(vec![(20, 30), (0, 10), (5, 12), (22, 24)]), 22);
    }
}
