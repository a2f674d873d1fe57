//! Nobody creates what somebody else is creating, unless it was changed meanwhile.

use std::collections::HashMap;

use super::history::{Creation, Disturbance, History};
use super::{Findings, Telling, Terms, told};
use crate::clock::{Moment, nanoseconds};
use crate::record::{Id, process_of};

/// Intervals that can be asked whether one of them touches another.
#[derive(Debug, Default)]
struct Intervals(
    /// Begins, in their order, and the latest end of those up to there.
    Vec<(Moment, Moment)>,
);

impl Intervals {
    fn new(mut intervals: Vec<(Moment, Moment)>) -> Self {
        intervals.sort_unstable();
        let mut latest = 0;
        intervals.iter_mut().for_each(|(_, end)| {
            latest = latest.max(*end);
            *end = latest;
        });
        Self(intervals)
    }

    fn touch(&self, begin: Moment, end: Moment) -> bool {
        let begun = self.0.partition_point(|(since, _)| *since <= end);
        begun.checked_sub(1).is_some_and(|last| self.0[last].1 >= begin)
    }
}

/// When `key` was being changed. A change whose outcome is not known may still be on its way
/// for a while.
fn changes(history: &History, terms: &Terms, key: usize) -> Intervals {
    let on_its_way = nanoseconds(terms.on_its_way);
    let about = |keys: &[(usize, u64)]| keys.iter().any(|(of, _)| *of == key);
    let changes = history.operations.iter().filter(|it| it.is_change() && about(&it.keys));
    let intervals = changes.map(|change| {
        let end = history.end_of(change);
        (change.begin, if change.has_changed() { end } else { end + on_its_way })
    });
    Intervals::new(intervals.collect())
}

/// Returns what may have ended locks: the disturbances, and halts of processes that took as long as
/// it takes.
fn disturbances(history: &History, terms: &Terms) -> Vec<Disturbance> {
    let lease = nanoseconds(terms.lease);
    let halts = history.halts.iter().filter(|halt| (halt.end - halt.begin) * 2 > lease);
    let halts = halts.map(|halt| {
        let process = Some(halt.process);
        Disturbance { process, begin: halt.begin, end: halt.end }
    });
    history.disturbances.iter().copied().chain(halts).collect()
}

/// When creations were claimed: after the begin of their call, and before that of their
/// creator. A change between two claims ends the first, whichever creator then begins first.
struct Claims {
    asked: HashMap<Id, Moment>,
    within: u64,
}

impl Claims {
    fn new(history: &History, terms: &Terms) -> Self {
        let asked = history.operations.iter().map(|it| (it.id, it.begin)).collect();
        Self { asked, within: nanoseconds(terms.claimed_within) }
    }

    /// Returns the earliest moment at which `creation` may have been claimed.
    fn earliest_of(&self, creation: &Creation) -> Moment {
        let asked = self.asked.get(&creation.operation).copied().unwrap_or(creation.begin);
        asked.max(creation.begin.saturating_sub(self.within)).min(creation.begin)
    }
}

struct Excuses {
    disturbances: Vec<Disturbance>,
    aftermath: u64,
}

impl Excuses {
    /// May one of them have lost its lock before `second` began?
    fn cover(&self, first: &Creation, second: &Creation) -> bool {
        let both = [first, second].map(|creation| process_of(creation.id));
        let concerns = |process: Option<u64>| process.is_none_or(|it| both.contains(&it));
        self.disturbances.iter().any(|disturbance| {
            concerns(disturbance.process)
                && disturbance.begin <= second.begin
                && disturbance.end + self.aftermath >= first.begin
        })
    }
}

pub(super) fn check(history: &History, terms: &Terms, findings: &mut Findings) {
    findings.creations = history.creations.len() as u64;
    let aftermath = nanoseconds(terms.aftermath);
    let excuses = Excuses { disturbances: disturbances(history, terms), aftermath };
    let keys = history.creations.iter().map(|creation| creation.key + 1).max().unwrap_or(0);
    let claims = Claims::new(history, terms);
    let mut telling = Telling::new();
    for key in 0..keys {
        let changes = changes(history, terms, key);
        let mut creations: Vec<_> = history.creations.iter().filter(|it| it.key == key).collect();
        creations.sort_unstable_by_key(|creation| creation.begin);
        let mut running: Vec<&Creation> = Vec::new();
        for second in creations {
            running.retain(|first| first.end > second.begin);
            let is_explained = |first: &&&Creation| {
                let since = claims.earliest_of(first).min(claims.earliest_of(second));
                changes.touch(since, second.begin)
            };
            let unexplained: Vec<_> = running.iter().filter(|it| !is_explained(it)).collect();
            if let Some(first) = unexplained.iter().find(|first| !excuses.cover(first, second)) {
                findings.overlaps += 1;
                telling.tell(findings, || tell(history, first, second));
            } else if !unexplained.is_empty() {
                findings.overlaps_excused += 1;
            }
            running.push(second);
        }
    }
}

fn tell(history: &History, first: &Creation, second: &Creation) -> String {
    format!(
        "key {}: process {} created from {} to {}, and process {} began at {}",
        first.key,
        process_of(first.id),
        told(history, first.begin),
        told(history, first.end),
        process_of(second.id),
        told(history, second.begin),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_touch_where_one_reaches_into_the_other() {
        let intervals = Intervals::new(vec![(10, 20), (12, 14), (40, 41)]);
        assert!(intervals.touch(20, 30) && intervals.touch(5, 10) && intervals.touch(18, 19));
        assert!(intervals.touch(0, 100) && intervals.touch(41, 41));
        assert!(!intervals.touch(0, 9) && !intervals.touch(21, 39) && !intervals.touch(42, 43));
    }
}
