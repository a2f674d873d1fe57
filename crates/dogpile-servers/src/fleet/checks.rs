//! Checks of races between processes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Answer, Fleet, Race};

/// The number of keys that overlapping calls ask for parts of.
pub(super) const KEYS: usize = 10;

/// A cold key and a crowd in every process: one creation, one value. Returns
/// the answers, so that they can be looked at in time.
pub fn one_creation_in_the_fleet(fleet: &Fleet, key: &str) -> Vec<Answer> {
    let answers = fleet.run(Race::Crowd { creation: 100 }, key);
    let creations = fleet.creations(key);
    assert_eq!(creations.len(), 1, "{creations:?}");
    assert_eq!(answers.len(), fleet.processes * fleet.tasks);
    assert!(answers.iter().all(|answer| answer.value == creations[0]));
    answers
}

/// The first creation fails: its error stays with its caller, and one other
/// creates.
pub fn a_failed_creator_has_one_successor(fleet: &Fleet, key: &str) {
    let answers = fleet.run(Race::FirstFails, key);
    assert_two_creations(fleet, key, &answers);
    assert_eq!(answers.len(), fleet.processes * fleet.tasks);
}

/// The process of the first creator is killed: one waiter of another takes
/// over.
pub fn a_killed_creator_has_one_successor(fleet: &Fleet, key: &str) {
    let answers = fleet.run(Race::FirstDies, key);
    assert_two_creations(fleet, key, &answers);
    let creations = fleet.creations(key);
    let processes: BTreeSet<_> = creations.iter().map(|line| process(line)).collect();
    assert_eq!(processes.len(), 2, "the successor is of another process");
    assert_eq!(answers.len(), (fleet.processes - 1) * fleet.tasks);
}

/// A creator that sleeps through the end of its lease, which is a second, finds
/// that it may not store any more. `stored` reads what is stored in the end.
pub fn a_paused_creator_does_not_overwrite_its_successor(
    fleet: Fleet,
    key: &str,
    stored: impl Fn() -> Option<String>,
) {
    let fleet = fleet.sized(1, 1);
    let start = || {
        let mut worker = fleet.start(Race::Crowd { creation: 300 }, key);
        worker.ready();
        worker.go();
        worker
    };
    let sleeper = start();
    wait_for_creations(&fleet, key, 1);
    sleeper.pause();
    let successor: Vec<Answer> = start().answers();
    let creations = fleet.creations(key);
    assert_eq!(creations.len(), 2);
    assert_eq!(successor[0].value, creations[1]);
    sleeper.resume();
    let late: Vec<Answer> = sleeper.answers();
    assert_eq!(late[0].value, creations[0], "its own caller gets what it made");
    assert_eq!(stored().as_ref(), Some(&creations[1]));
}

/// A process that ends in order while it is creating gives its key up: another one creates
/// at once. The lease must be longer than anybody waits.
pub fn a_process_that_ends_in_order_frees_its_keys(fleet: Fleet, key: &str) {
    // Somebody who waits there would create too, for nobody, when its tasks are dropped.
    let mut leaving = fleet.clone().sized(1, 1).start(Race::Leaves, key);
    let fleet = fleet.sized(1, 3);
    leaving.ready();
    leaving.go();
    wait_for_creations(&fleet, key, 1);
    let mut successor = fleet.start(Race::Crowd { creation: 1 }, key);
    successor.ready();
    successor.go();
    leaving.go();
    let told: Vec<Answer> = leaving.answers();
    assert_eq!(told[0].value, "true", "everything was given up");
    wait_for_creations(&fleet, key, 2);
    let answers: Vec<Answer> = successor.answers();
    let creations = fleet.creations(key);
    assert_eq!((answers.len(), creations.len()), (3, 2), "{creations:?}, {answers:?}");
    assert!(answers.iter().all(|answer| answer.value == creations[1]));
}

fn wait_for_creations(fleet: &Fleet, key: &str, count: usize) {
    let began = Instant::now();
    while fleet.creations(key).len() < count {
        assert!(began.elapsed() < Duration::from_secs(60), "it never creates");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Calls for overlapping sets of keys, in any order: all end, and each key is
/// created once.
pub fn overlapping_calls_create_each_key_once(fleet: &Fleet, key: &str) {
    let answers = fleet.run(Race::Overlap, key);
    let creations = fleet.creations(key);
    assert_eq!(creations.len(), KEYS, "{creations:?}");
    let mut values: BTreeMap<&str, &str> = BTreeMap::new();
    for answer in &answers {
        let value = values.entry(&answer.key).or_insert(&answer.value);
        assert_eq!(*value, answer.value);
        assert!(answer.value.starts_with(&format!("{} by", answer.key)), "{answer:?}");
    }
    assert_eq!(answers.len(), fleet.processes * fleet.tasks * (KEYS / 2));
}

fn assert_two_creations(fleet: &Fleet, key: &str, answers: &[Answer]) {
    let creations = fleet.creations(key);
    assert_eq!(creations.len(), 2, "{creations:?}");
    assert!(answers.iter().all(|answer| answer.value == creations[1]), "{creations:?}");
}

fn process(creation: &str) -> Option<&str> {
    creation.split(" by ").nth(1)?.split(' ').next()
}

/// A key, and a value for it that [`is_whole`] can vouch for.
pub(super) fn whole_value() -> (String, String) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let number = count.wrapping_mul(2_654_435_761) ^ u64::from(std::process::id());
    let length = usize::try_from(number % 6_000).unwrap_or(0);
    let filling = char::from(b'a' + u8::try_from(number % 26).unwrap_or(0));
    (format!("whole-{}", number % 500), format!("{number} {}", filling.to_string().repeat(length)))
}

/// Is `value` one that a worker of [`Race::Write`] wrote, from its first byte
/// to its last?
pub fn is_whole(value: &str) -> bool {
    let Some((number, filling)) = value.split_once(' ') else { return false };
    let Ok(number) = number.parse::<u64>() else { return false };
    let expected = b'a' + u8::try_from(number % 26).unwrap_or(0);
    filling.len() as u64 == number % 6_000 && filling.bytes().all(|byte| byte == expected)
}
