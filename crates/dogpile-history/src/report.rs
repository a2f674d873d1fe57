//! The outcome of runs, for people and for programs.

use serde::Serialize;

use crate::clock::milliseconds;
use crate::plan::{Around, Backend, Callers, Change, Disturb, Plan};
use crate::run::Ended;

/// A run as a line of JSON.
#[derive(Debug, Serialize)]
pub struct Line {
    backend: Backend,
    change: Change,
    disturb: Disturb,
    callers: Callers,
    proxy: Option<Around>,
    near_ms: Option<u64>,
    seed: u64,
    seconds: f64,
    reads: u64,
    changes: u64,
    unknown_changes: u64,
    creations: u64,
    old_reads: u64,
    old_reads_permanent: u64,
    longest_old_ms: f64,
    old_reads_own: u64,
    longest_old_own_ms: f64,
    near_hits: u64,
    lost_in_failover: u64,
    overlaps: u64,
    overlaps_excused: u64,
    longest_wait_ms: f64,
    unended: u64,
    broken: Vec<String>,
}

/// Microseconds are enough.
fn rounded(nanoseconds: u64) -> f64 {
    (milliseconds(nanoseconds) * 1e3).round() / 1e3
}

impl Line {
    /// Puts together what `plan` led to.
    pub fn of(plan: &Plan, ended: &Ended) -> Self {
        let findings = &ended.findings;
        Self {
            backend: plan.backend,
            change: plan.change,
            disturb: plan.disturb,
            callers: plan.callers,
            proxy: plan.around,
            near_ms: plan.near.map(|bound| u64::try_from(bound.as_millis()).unwrap_or(u64::MAX)),
            seed: plan.seed,
            seconds: plan.lasts.as_secs_f64(),
            reads: findings.reads,
            changes: findings.changes,
            unknown_changes: findings.unknown_changes,
            creations: findings.creations,
            old_reads: findings.old_reads,
            old_reads_permanent: findings.old_reads_permanent,
            longest_old_ms: rounded(findings.longest_old),
            old_reads_own: findings.old_reads_own,
            longest_old_own_ms: rounded(findings.longest_old_own),
            near_hits: findings.near_hits,
            lost_in_failover: findings.lost_in_failover,
            overlaps: findings.overlaps,
            overlaps_excused: findings.overlaps_excused,
            longest_wait_ms: rounded(findings.longest_wait),
            unended: findings.unended,
            broken: ended.broken.clone(),
        }
    }
}

/// The heading of the table.
pub const HEADING: &str = "backend         change             disturb            callers   reads changes \
                           created  near hits    old  left  old ms  overlaps  wait ms";

/// Returns a run as a row of the table, with what was broken below it.
pub fn row(plan: &Plan, ended: &Ended) -> String {
    let findings = &ended.findings;
    let row = format!(
        "{:<15} {:<18} {:<18} {:<7} {:>7} {:>7} {:>7} {:>10} {:>6} {:>5} {:>7.1} {:>9} {:>8.1}",
        plan.backend.name(),
        plan.change.name(),
        plan.disturb.name(),
        plan.callers.name(),
        findings.reads,
        findings.changes,
        findings.creations,
        plan.near.map_or("-".to_owned(), |_| findings.near_hits.to_string()),
        findings.old_reads,
        findings.old_reads_permanent,
        milliseconds(findings.longest_old),
        overlaps(findings.overlaps, findings.overlaps_excused),
        milliseconds(findings.longest_wait),
    );
    let mut lines = vec![row];
    if findings.lost_in_failover > 0 {
        lines.push(format!("    lost in a failover: {} reads", findings.lost_in_failover));
    }
    if !ended.broken.is_empty() {
        lines.push(format!("    BROKEN (seed {}): {}", plan.seed, ended.broken.join("; ")));
        lines.extend(findings.examples.iter().map(|example| format!("      {example}")));
    }
    lines.join("\n")
}

fn overlaps(overlaps: u64, excused: u64) -> String {
    if excused == 0 { overlaps.to_string() } else { format!("{overlaps}+{excused}") }
}

/// Returns the row of a run that does not exist.
pub fn skipped(plan: &Plan, why: &str) -> String {
    let Plan { backend, change, disturb, .. } = plan;
    format!("{:<15} {:<18} {:<18} skipped: {why}", backend.name(), change.name(), disturb.name())
}
