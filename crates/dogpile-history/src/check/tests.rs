//! Histories of a few calls with known faults, and random ones beside a slow oracle.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::clock::MILLISECOND;
use crate::record::{Answer, Given, Id, Kind, Outcome, Row};

const TERMS: Terms = Terms {
    aftermath: Duration::from_millis(100),
    on_its_way: Duration::from_millis(50),
    claimed_within: Duration::from_millis(30),
    lease: Duration::from_millis(200),
};

/// A history that is told call by call; all times in milliseconds.
#[derive(Debug, Default)]
struct Story(History);

const fn in_process(process: u64) -> Id {
    process << 32
}

impl Story {
    fn new() -> Self {
        Self(History { ended: 10_000 * MILLISECOND, ..History::default() })
    }

    fn call(&mut self, process: u64, kind: Kind, times: [u64; 2], keys: &[(usize, u64)]) -> Id {
        let id = in_process(process) + self.0.operations.len() as u64 + 1;
        let [begin, end] = times.map(|time| time * MILLISECOND);
        let (outcome, keys, answers) = (Outcome::Done, keys.to_vec(), Vec::new());
        self.0.operations.push(Operation {
            id,
            kind,
            begin,
            end: Some(end),
            outcome,
            keys,
            answers,
        });
        id
    }

    fn last(&mut self) -> &mut Operation {
        self.0.operations.last_mut().unwrap()
    }

    fn change(&mut self, times: [u64; 2], version: u64) -> Id {
        self.call(1, Kind::Hard, times, &[(0, version)])
    }

    fn read(&mut self, times: [u64; 2], version: u64) {
        self.read_of(Kind::Get, times, version, Given::Fresh, 0);
    }

    fn read_of(&mut self, kind: Kind, times: [u64; 2], version: u64, given: Given, by: Id) {
        self.call(2, kind, times, &[(0, 0)]);
        let row = Row { key: 0, version, by };
        self.last().answers.push(Answer { key: 0, row, given });
    }

    fn creation(&mut self, process: u64, operation: Id, times: [u64; 2]) -> Id {
        let id = in_process(process) + 1_000 + self.0.creations.len() as u64;
        let [begin, end] = times.map(|time| time * MILLISECOND);
        self.0.creations.push(Creation { id, operation, key: 0, begin, end, version: 1 });
        id
    }

    fn disturbance(&mut self, process: Option<u64>, times: [u64; 2]) {
        let [begin, end] = times.map(|time| time * MILLISECOND);
        self.0.disturbances.push(Disturbance { process, begin, end });
    }

    fn found(&self) -> Findings {
        check(&self.0, &TERMS)
    }
}

#[test]
fn who_asks_before_a_change_has_ended_may_be_given_the_value_of_before() {
    let mut story = Story::new();
    story.change([10, 20], 2);
    story.read([20, 30], 1);
    story.read([21, 30], 2);
    assert_eq!((story.found().old_reads, story.found().reads), (0, 2));
}

#[test]
fn who_asks_after_a_change_may_not() {
    let mut story = Story::new();
    story.change([10, 20], 2);
    story.change([40, 50], 3);
    story.read([60, 61], 1);
    story.read([57, 58], 2);
    let found = story.found();
    assert_eq!((found.old_reads, found.longest_old), (2, 40 * MILLISECOND));
    assert_eq!((found.changes, found.unknown_changes, found.examples.len()), (2, 0, 2));
}

#[test]
fn a_value_older_than_a_change_of_the_same_process_is_counted_apart() {
    let mut story = Story::new();
    story.change([10, 20], 3);
    story.call(2, Kind::Hard, [30, 40], &[(0, 2)]);
    story.read([50, 51], 2);
    let found = story.found();
    assert_eq!((found.old_reads, found.old_reads_own, found.longest_old_own), (1, 0, 0));
    story.read([60, 61], 1);
    let found = story.found();
    assert_eq!((found.old_reads, found.longest_old), (2, 40 * MILLISECOND));
    assert_eq!((found.old_reads_own, found.longest_old_own), (1, 20 * MILLISECOND));
}

#[test]
fn a_change_with_an_unknown_outcome_obliges_nobody() {
    for outcome in [Outcome::Failed, Outcome::Cancelled] {
        let mut story = Story::new();
        story.change([10, 20], 2);
        story.last().outcome = outcome;
        story.read([30, 31], 1);
        assert_eq!((story.found().old_reads, story.found().unknown_changes), (0, 1));
    }
}

#[test]
fn what_a_change_with_an_unknown_outcome_wrote_may_appear_later() {
    let mut story = Story::new();
    let unknown = story.change([10, 20], 2);
    story.last().outcome = Outcome::Failed;
    let created = story.creation(1, unknown, [11, 12]);
    story.change([30, 40], 3);
    story.read_of(Kind::Get, [50, 51], 2, Given::Fresh, unknown);
    story.read_of(Kind::Get, [52, 53], 2, Given::Fresh, created);
    assert_eq!(story.found().old_reads, 0);
    story.read_of(Kind::Get, [54, 55], 2, Given::Fresh, in_process(7));
    assert_eq!(story.found().old_reads, 1);
}

#[test]
fn after_a_soft_change_an_older_value_may_be_given_as_stale_only() {
    let mut story = Story::new();
    story.call(1, Kind::Soft, [10, 20], &[(0, 2)]);
    story.read_of(Kind::Create, [30, 31], 1, Given::Stale, 0);
    assert_eq!(story.found().old_reads, 0);
    story.read_of(Kind::Create, [30, 31], 1, Given::Fresh, 0);
    assert_eq!(story.found().old_reads, 1);
    story.change([40, 50], 2);
    story.read_of(Kind::Create, [60, 61], 1, Given::Stale, 0);
    assert_eq!(story.found().old_reads, 2);
}

#[test]
fn a_failover_may_lose_what_was_changed_before_it_and_nothing_later() {
    let mut story = Story::new();
    story.change([10, 20], 2);
    story.0.failovers.push(100 * MILLISECOND);
    story.read([90, 91], 1);
    assert_eq!((story.found().old_reads, story.found().lost_in_failover), (1, 0));
    story.read([110, 111], 1);
    assert_eq!((story.found().old_reads, story.found().lost_in_failover), (1, 1));
    // Asked the master that died, and was answered by the next.
    story.read([95, 115], 1);
    assert_eq!((story.found().old_reads, story.found().lost_in_failover), (1, 2));
    story.change([120, 130], 3);
    story.read([140, 141], 1);
    assert_eq!((story.found().old_reads, story.found().lost_in_failover), (2, 2));
}

#[test]
fn a_value_that_is_older_when_everything_is_over_is_there_for_ever() {
    let mut story = Story::new();
    story.change([10, 20], 2);
    story.read_of(Kind::Look, [9_000, 9_001], 1, Given::Fresh, 0);
    let found = story.found();
    assert_eq!((found.old_reads, found.old_reads_permanent, found.reads), (0, 1, 0));
}

#[test]
fn the_value_of_another_key_is_noticed() {
    let mut story = Story::new();
    story.read([10, 11], 1);
    story.last().answers[0].row.key = 3;
    assert_eq!(story.found().wrong_keys, 1);
}

#[test]
fn two_creations_at_a_time_are_one_too_many() {
    let mut story = Story::new();
    story.creation(1, 0, [10, 20]);
    story.creation(2, 0, [20, 30]);
    assert_eq!(story.found().overlaps, 0);
    story.creation(3, 0, [29, 40]);
    story.creation(4, 0, [29, 40]);
    let found = story.found();
    assert_eq!((found.creations, found.overlaps, found.overlaps_excused), (4, 2, 0));
}

#[test]
fn a_change_between_the_begins_of_two_creations_explains_the_second() {
    for (change, explains) in
        [([5, 9], false), ([5, 10], true), ([14, 30], true), ([16, 17], false)]
    {
        let mut story = Story::new();
        story.creation(1, 0, [10, 20]);
        story.creation(2, 0, [15, 25]);
        story.change(change, 2);
        assert_eq!(story.found().overlaps, u64::from(!explains), "{change:?}");
    }
    let mut story = Story::new();
    story.creation(1, 0, [10, 20]);
    story.creation(2, 0, [15, 25]);
    story.change([5, 9], 2);
    story.last().outcome = Outcome::Cancelled;
    assert_eq!(story.found().overlaps, 0, "it may be on its way");
}

#[test]
fn a_change_between_two_claims_explains_either_order_of_the_begins() {
    for (asked, change, explains) in [
        ([100, 80], [85, 90], true),
        ([90, 100], [85, 90], true),
        ([100, 100], [85, 90], false),
        ([100, 20], [60, 70], false),
    ] {
        let mut story = Story::new();
        let calls = asked.map(|begin| story.call(1, Kind::Create, [begin, 200], &[(0, 0)]));
        story.creation(1, calls[0], [110, 130]);
        story.creation(2, calls[1], [112, 125]);
        story.change(change, 2);
        assert_eq!(story.found().overlaps, u64::from(!explains), "{asked:?} {change:?}");
    }
}

#[test]
fn a_disturbance_excuses_who_lost_a_lock_by_it() {
    let overlaps = |story: &Story| (story.found().overlaps, story.found().overlaps_excused);
    for (process, times, excused) in [
        (None, [300, 400], true),
        (Some(1), [300, 400], true),
        (Some(2), [300, 400], true),
        (Some(3), [300, 400], false),
        (None, [100, 450], true),
        (None, [100, 150], false),
        (None, [600, 700], false),
    ] {
        let mut story = Story::new();
        story.creation(1, 0, [290, 900]);
        story.creation(2, 0, [500, 510]);
        story.disturbance(process, times);
        let expected = if excused { (0, 1) } else { (1, 0) };
        assert_eq!(overlaps(&story), expected, "{process:?} {times:?}");
    }
    let mut story = Story::new();
    story.creation(1, 0, [290, 900]);
    story.creation(2, 0, [500, 510]);
    let (begin, end) = (300 * MILLISECOND, 420 * MILLISECOND);
    story.0.halts.push(Halt { process: 1, begin, end });
    assert_eq!(overlaps(&story), (0, 1), "half a lease");
}

#[test]
fn a_wait_is_what_no_creation_explains() {
    let waited = |story: &Story| story.found().longest_wait / MILLISECOND;
    let mut story = Story::new();
    let call = story.call(1, Kind::Create, [100, 200], &[(0, 0)]);
    assert_eq!(waited(&story), 100);
    story.creation(1, call, [110, 140]);
    assert_eq!(waited(&story), 70, "it creates itself");
    story.creation(2, 0, [90, 120]);
    story.creation(3, 0, [170, 190]);
    assert_eq!(waited(&story), 40, "it waits for one other creation");
    let (begin, end) = (150 * MILLISECOND, 165 * MILLISECOND);
    story.0.halts.push(Halt { process: 1, begin, end });
    assert_eq!(waited(&story), 25, "it does not run");
    story.0.halts.push(Halt { process: 4, begin, end });
    assert_eq!(waited(&story), 25);
}

#[test]
fn a_call_that_never_ends_waits_until_the_end() {
    let mut story = Story::new();
    story.call(1, Kind::Create, [100, 200], &[(0, 0)]);
    story.last().end = None;
    let found = story.found();
    assert_eq!((found.unended, found.longest_wait), (1, 9_900 * MILLISECOND));
    story.0.killed.insert(1, 150 * MILLISECOND);
    let found = story.found();
    assert_eq!(
        (found.unended, found.longest_wait),
        (0, 50 * MILLISECOND),
        "its process was killed"
    );
}

/// Returns what the check of reads finds, found the slow way.
fn old_reads_slowly(history: &History) -> (u64, u64) {
    let (mut count, mut longest) = (0, 0);
    for read in history.operations.iter().filter(|it| it.kind == Kind::Get) {
        for answer in &read.answers {
            let obliging = history.operations.iter().filter(|change| {
                change.has_changed()
                    && (change.kind == Kind::Hard || answer.given == Given::Fresh)
                    && change.end < Some(read.begin)
                    && change
                        .keys
                        .iter()
                        .any(|&(key, version)| key == answer.key && version > answer.row.version)
            });
            if let Some(first) = obliging.filter_map(|change| change.end).min() {
                count += 1;
                longest = longest.max(read.begin - first);
            }
        }
    }
    (count, longest)
}

/// Returns what the check of creations finds, found the slow way.
fn overlaps_slowly(history: &History) -> u64 {
    let mut creations = history.creations.clone();
    creations.sort_by_key(|creation| creation.begin);
    let explained = |first: &Creation, second: &Creation| {
        history.operations.iter().any(|change| {
            change.is_change()
                && change.keys.iter().any(|(key, _)| *key == first.key)
                && change.begin <= second.begin
                && history.end_of(change) >= first.begin
        })
    };
    let count = creations.iter().enumerate().filter(|(index, second)| {
        creations[..*index].iter().any(|first| {
            first.key == second.key && first.end > second.begin && !explained(first, second)
        })
    });
    count.count() as u64
}

/// A call at any time, of any kind, about any version.
type Drawn = (usize, u8, u64, u64, u64);

fn any_history(drawn: Vec<Drawn>) -> History {
    let mut story = Story::new();
    for (key, kind, version, begin, lasts) in drawn {
        let times = [begin, begin + lasts];
        match kind {
            0 => drop(story.call(1, Kind::Hard, times, &[(key, version)])),
            1 => drop(story.call(1, Kind::Soft, times, &[(key, version), (1, version)])),
            2 => {
                story.creation(2, 0, times);
                story.0.creations.last_mut().unwrap().key = key;
            }
            _ => {
                let given = if kind == 3 { Given::Stale } else { Given::Fresh };
                story.read_of(Kind::Get, times, version, given, 0);
                story.last().answers[0].key = key;
                story.last().answers[0].row.key = key;
                story.last().keys = vec![(key, 0)];
            }
        }
    }
    story.0
}

/// A history of a cache that keeps its promises: each call takes effect at one moment
/// between its begin and its end.
fn good_history(drawn: Vec<Drawn>) -> History {
    let mut story = Story::new();
    let (mut versions, mut cached, mut now) = ([1_u64; 3], [None; 3], 1_000);
    for (key, kind, before, gap, after) in drawn {
        now += gap + 1;
        let times = [now - before, now + after];
        if kind == 0 {
            versions[key] += 1;
            cached[key] = None;
            story.call(1, Kind::Hard, times, &[(key, versions[key])]);
            continue;
        }
        if cached[key].is_none() && kind < 3 {
            story.creation(2, 0, [now, now + 1]);
            story.0.creations.last_mut().unwrap().key = key;
            cached[key] = Some(versions[key]);
        }
        story.call(2, Kind::Get, times, &[(key, 0)]);
        if let Some(version) = cached[key] {
            let row = Row { key, version, by: 0 };
            story.last().answers.push(Answer { key, row, given: Given::Fresh });
        }
    }
    story.0
}

fn drawn() -> impl Strategy<Value = Vec<Drawn>> {
    prop::collection::vec((0_usize..3, 0_u8..6, 0_u64..20, 0_u64..20, 0_u64..20), 0..60)
}

proptest! {
    #[test]
    fn the_checks_find_what_an_oracle_finds(drawn in drawn()) {
        let history = any_history(drawn);
        let found = check(&history, &TERMS);
        prop_assert_eq!((found.old_reads, found.longest_old), old_reads_slowly(&history));
        prop_assert_eq!(found.overlaps, overlaps_slowly(&history));
    }

    #[test]
    fn a_cache_that_keeps_its_promises_is_found_to(drawn in drawn(), chosen in any::<prop::sample::Index>()) {
        let mut history = good_history(drawn);
        let found = check(&history, &TERMS);
        prop_assert_eq!((found.old_reads, found.overlaps, found.wrong_keys), (0, 0, 0));
        // And a single older value is noticed.
        let floor = |history: &History, read: &Operation| {
            let changes = history.operations.iter().filter(|it| it.is_change() && it.end < Some(read.begin));
            let of = |change: &Operation| (change.keys[0].0 == read.keys[0].0).then_some(change.keys[0].1);
            changes.filter_map(of).max()
        };
        let reads: Vec<_> = (0..history.operations.len())
            .filter(|index| !history.operations[*index].answers.is_empty())
            .filter_map(|index| Some((index, floor(&history, &history.operations[index])?)))
            .collect();
        prop_assume!(!reads.is_empty());
        let (index, floor) = reads[chosen.index(reads.len())];
        history.operations[index].answers[0].row.version = floor - 1;
        prop_assert_eq!(check(&history, &TERMS).old_reads, 1);
    }
}

#[test]
fn what_was_handed_over_comes_before_the_next_change() {
    let old_reads = |outcome| {
        let mut story = Story::new();
        let given_up = story.change([10, 11], 5);
        story.last().outcome = outcome;
        story.change([12, 13], 6);
        story.read_of(Kind::Get, [20, 21], 5, Given::Fresh, given_up);
        check(&story.0, &TERMS).old_reads
    };
    assert_eq!(old_reads(Outcome::HandedOver), 1);
    assert_eq!(old_reads(Outcome::Cancelled), 0);
}
