//! The history checker's short form: every backend, with fixed seeds.

mod common;

use std::time::Duration;

use common::{disturbed, plan, run_alone};
use dogpile_history::plan::{Around, Backend, Callers, Change, Disturb, Plan};
use dogpile_history::report::{HEADING, row};

/// Runs all plans, and fails if one of them has broken a promise.
fn promises_are_kept(plans: impl IntoIterator<Item = Plan>) {
    let mut broken = Vec::new();
    println!("{HEADING}");
    for plan in plans {
        let ended = run_alone(&plan);
        let row = row(&plan, &ended);
        println!("{row}");
        // A run in which nothing happens would keep every promise.
        let findings = &ended.findings;
        let happened = [findings.reads, findings.changes, findings.creations];
        assert!(happened.iter().all(|count| *count > 0), "{row}");
        assert_eq!(findings.near_hits > 0, plan.near.is_some(), "{row}");
        if !ended.broken.is_empty() {
            broken.push(row);
        }
    }
    let rows = broken.join("\n");
    assert!(rows.is_empty(), "promises were broken:\n{HEADING}\n{rows}");
}

/// An older value that stays must be found also where it may be read for a while.
fn long(plan: Plan) -> Plan {
    Plan { lasts: Duration::from_secs(4), ..plan }
}

fn logged(plan: Plan) -> Plan {
    Plan { around: Some(Around::Logging), ..plan }
}

#[test]
fn memory_keeps_its_promises() {
    promises_are_kept([
        plan(Backend::Memory, Change::Mixed),
        plan(Backend::Memory, Change::Refresh),
        plan(Backend::Memory, Change::Expire),
        logged(disturbed(Backend::Memory, Change::Mixed, Disturb::Cancel)),
    ]);
}

#[test]
fn serialized_memory_keeps_its_promises() {
    promises_are_kept([
        plan(Backend::Serialized, Change::InvalidateSoft),
        disturbed(Backend::Serialized, Change::Mixed, Disturb::Cancel),
    ]);
}

#[test]
fn a_file_keeps_its_promises() {
    promises_are_kept([
        plan(Backend::File, Change::Delete),
        plan(Backend::File, Change::Set),
        plan(Backend::File, Change::Refresh),
        plan(Backend::File, Change::Expire),
        plan(Backend::File, Change::InvalidateDelayed),
        logged(disturbed(Backend::File, Change::Mixed, Disturb::Cancel)),
        disturbed(Backend::File, Change::Mixed, Disturb::Kill),
    ]);
}

#[test]
fn redis_keeps_its_promises() {
    promises_are_kept([
        plan(Backend::Redis, Change::Delete),
        plan(Backend::Redis, Change::Refresh),
        plan(Backend::Redis, Change::Expire),
        plan(Backend::Redis, Change::InvalidateDelayed),
        plan(Backend::Redis, Change::InvalidateSoft),
        logged(plan(Backend::Redis, Change::Mixed)),
        disturbed(Backend::Redis, Change::Mixed, Disturb::Cancel),
    ]);
}

#[test]
fn redis_keeps_its_promises_whatever_happens() {
    promises_are_kept([
        disturbed(Backend::Redis, Change::Delete, Disturb::Stop),
        disturbed(Backend::Redis, Change::Mixed, Disturb::Kill),
        disturbed(Backend::Redis, Change::Delete, Disturb::ServerStop),
        disturbed(Backend::Redis, Change::Mixed, Disturb::ServerAway),
        disturbed(Backend::Redis, Change::Set, Disturb::Cut),
        disturbed(Backend::Redis, Change::Refresh, Disturb::HalfOpen),
        disturbed(Backend::Redis, Change::Invalidate, Disturb::Slow),
    ]);
}

/// Processes keep what they cannot store, and give it away when the server is back.
#[test]
fn what_is_kept_while_a_server_is_away_is_not_older_than_promised() {
    let keeping = |plan| Plan { keep_when_down: Duration::from_millis(200), ..plan };
    promises_are_kept([
        keeping(disturbed(Backend::Redis, Change::Mixed, Disturb::ServerAway)),
        keeping(disturbed(Backend::Redis, Change::Delete, Disturb::Cut)),
        keeping(disturbed(Backend::Memcached, Change::Delete, Disturb::ServerAway)),
    ]);
}

fn threads(plan: Plan) -> Plan {
    Plan { callers: Callers::Threads, ..plan }
}

fn mixed(plan: Plan) -> Plan {
    Plan { callers: Callers::Mixed, ..plan }
}

/// One caller in each process: nobody keeps its reads from being alone.
fn lone(plan: Plan) -> Plan {
    Plan { tasks: 1, ..threads(plan) }
}

/// Threads write to a file by themselves, also after what they gave up.
#[test]
fn a_file_keeps_its_promises_to_threads() {
    promises_are_kept([
        mixed(plan(Backend::File, Change::Mixed)),
        threads(disturbed(Backend::File, Change::Set, Disturb::Cancel)),
    ]);
}

#[test]
fn redis_keeps_its_promises_to_threads() {
    promises_are_kept([
        mixed(plan(Backend::Redis, Change::Set)),
        near(lone(plan(Backend::Redis, Change::Mixed))),
    ]);
}

/// Threads that are alone have a second connection for their reads; tasks have not.
#[test]
fn threads_that_are_alone_read_by_themselves() {
    let lasts = Duration::from_millis(500);
    let plan = Plan { lasts, tasks: 1, ..plan(Backend::Redis, Change::Delete) };
    let count = |callers| run_alone(&Plan { callers, ..plan.clone() }).connections;
    assert_eq!(count(Callers::Tasks), plan.processes);
    assert_eq!(count(Callers::Threads), 2 * plan.processes);
}

#[test]
fn memcached_keeps_its_promises_to_threads() {
    let lasts = Duration::from_secs(1);
    promises_are_kept([mixed(Plan { lasts, ..plan(Backend::Memcached, Change::Mixed) })]);
}

fn near(plan: Plan) -> Plan {
    Plan { near: Some(Duration::from_millis(300)), ..plan }
}

#[test]
fn near_tiers_are_no_older_than_their_bound() {
    promises_are_kept([
        near(plan(Backend::Redis, Change::Mixed)),
        near(logged(plan(Backend::Redis, Change::Set))),
        near(plan(Backend::RedisPlain, Change::Delete)),
        near(plan(Backend::Serialized, Change::Mixed)),
        near(plan(Backend::File, Change::Mixed)),
        near(plan(Backend::Memcached, Change::Mixed)),
    ]);
}

#[test]
fn near_tiers_are_no_older_whatever_happens() {
    promises_are_kept([
        near(disturbed(Backend::Redis, Change::Mixed, Disturb::TrackingCut)),
        near(disturbed(Backend::Redis, Change::Mixed, Disturb::TrackingHalfOpen)),
        near(disturbed(Backend::Redis, Change::Delete, Disturb::Partition)),
        near(disturbed(Backend::Redis, Change::Mixed, Disturb::ServerStop)),
        near(disturbed(Backend::Redis, Change::Set, Disturb::Stop)),
        near(disturbed(Backend::RedisCluster, Change::Mixed, Disturb::Migrate)),
    ]);
}

#[test]
fn redis_without_scripts_keeps_its_promises() {
    promises_are_kept([
        long(plan(Backend::RedisPlain, Change::Delete)),
        disturbed(Backend::RedisPlain, Change::Mixed, Disturb::Cut),
    ]);
}

#[test]
fn a_redis_cluster_keeps_its_promises() {
    promises_are_kept([
        plan(Backend::RedisCluster, Change::Delete),
        logged(disturbed(Backend::RedisCluster, Change::Mixed, Disturb::Migrate)),
        disturbed(Backend::RedisCluster, Change::Set, Disturb::Slow),
    ]);
}

#[test]
fn redis_under_sentinels_keeps_its_promises() {
    promises_are_kept([disturbed(Backend::RedisSentinel, Change::Mixed, Disturb::Failover)]);
}

#[test]
fn memcached_keeps_its_promises() {
    promises_are_kept([
        long(plan(Backend::Memcached, Change::Delete)),
        plan(Backend::Memcached, Change::Expire),
        plan(Backend::Memcached, Change::Invalidate),
        disturbed(Backend::Memcached, Change::Mixed, Disturb::Cancel),
        disturbed(Backend::Memcached, Change::Refresh, Disturb::Cut),
    ]);
}

#[test]
fn two_memcached_servers_keep_their_promises() {
    promises_are_kept([
        long(logged(plan(Backend::Memcached2, Change::Delete))),
        disturbed(Backend::Memcached2, Change::Mixed, Disturb::ServerAway),
    ]);
}
