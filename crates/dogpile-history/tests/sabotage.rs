//! Each check finds a backend that is broken on purpose, and finds nothing where it is not.

mod common;

use std::time::Duration;

use common::{plan, run_alone};
use dogpile_history::check::Findings;
use dogpile_history::clock::nanoseconds;
use dogpile_history::plan::{Around, Backend, Change, Plan};
use dogpile_history::sabotage::Sabotage;

/// Returns what the same run finds without and with `sabotage`.
fn found(plan: Plan, sabotage: Sabotage) -> [Findings; 2] {
    let plan = Plan { lasts: Duration::from_millis(1_200), ..plan };
    let broken = Plan { sabotage: Some(sabotage), ..plan.clone() };
    let broken = run_alone(&broken);
    assert!(!broken.broken.is_empty(), "{sabotage:?} breaks a promise: {:?}", broken.findings);
    [run_alone(&plan).findings, broken.findings]
}

#[test]
fn forgotten_changes_are_found() {
    let plan = plan(Backend::Serialized, Change::Delete);
    let [good, broken] = found(plan, Sabotage::KeepsFirst);
    assert_eq!((good.old_reads, good.old_reads_permanent), (0, 0));
    assert!(broken.old_reads > 0 && broken.old_reads_permanent > 0, "{broken:?}");
}

#[test]
fn older_values_are_found() {
    let plan = plan(Backend::Serialized, Change::Delete);
    let [good, broken] = found(plan, Sabotage::ServesOlder);
    assert_eq!((good.old_reads, good.longest_old), (0, 0));
    assert!(broken.old_reads > 0 && broken.longest_old > 0, "{broken:?}");
}

#[test]
fn creations_beside_others_are_found() {
    let [good, broken] = found(plan(Backend::File, Change::Set), Sabotage::LocksNobody);
    assert_eq!(good.overlaps, 0, "{good:?}");
    assert!(broken.overlaps > 0 && broken.overlaps_excused == 0, "{broken:?}");
}

#[test]
fn callers_who_are_never_woken_are_found() {
    let [good, broken] = found(plan(Backend::File, Change::Delete), Sabotage::WakesNobody);
    assert_eq!(good.unended, 0, "{good:?}");
    assert!(broken.unended > 0, "{broken:?}");
}

#[test]
fn calls_that_take_too_long_are_found() {
    let [good, broken] = found(plan(Backend::Serialized, Change::Delete), Sabotage::Sleeps);
    assert!(good.longest_wait < broken.longest_wait, "{good:?} {broken:?}");
    assert_eq!((broken.unended, broken.old_reads), (0, 0), "{broken:?}");
}

#[test]
fn a_near_tier_that_is_told_of_no_changes_is_found() {
    let bound = Duration::from_millis(100);
    let plan = Plan { near: Some(bound), ..plan(Backend::Redis, Change::Delete) };
    let [good, broken] = found(plan, Sabotage::TellsNothing);
    assert!(good.near_hits > 0 && good.longest_old <= nanoseconds(bound), "{good:?}");
    assert!(broken.near_hits > 0 && broken.longest_old > nanoseconds(bound), "{broken:?}");
    // Copies end by changes of their own process, whoever tells of the others.
    assert_eq!((good.old_reads_own, broken.old_reads_own), (0, 0), "{broken:?}");
}

#[test]
fn copies_that_are_kept_by_hand_are_older_than_changes() {
    let lasts = Duration::from_millis(1_200);
    let around = Some(Around::ByHand);
    let plan = Plan { around, lasts, ..plan(Backend::Redis, Change::Delete) };
    let by_hand = run_alone(&plan);
    assert!(by_hand.findings.old_reads > 0, "{:?}", by_hand.findings);
}
