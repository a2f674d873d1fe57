//! The bounds that a run is judged by, for each backend.

use std::time::Duration;

use crate::check::Findings;
use crate::clock::{milliseconds, nanoseconds};
use crate::plan::{Backend, Change, Disturb, LATENCY, LEASE, Plan, TIME_OUT};

/// A store that cannot compare and store in one step shows a value whose creation a change has
/// met may be read until it is withdrawn: for so long at most.
pub const WITHDRAWN_WITHIN: Duration = Duration::from_millis(250);

/// The same where the process may die or stop, or the connection end, before it withdraws
/// the value: then it ends by itself.
pub const WITHDRAWN_AT_LAST: Duration = Duration::from_secs(3);

/// The age of a value is judged by a clock that ticks so often, or more often.
const TICK: Duration = Duration::from_millis(20);

/// The time that a call waits at most when nothing is broken, beside the creation.
pub const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The tolerance of a measured wait beyond its bound.
pub const TOLERANCE: Duration = Duration::from_secs(1);

/// The time beyond its delay that an invalidation may take: one reader looks for it, and
/// the others do not wait for the answer.
pub const LOOKED_FOR_WITHIN: Duration = Duration::from_millis(100);

/// The limits of a run's findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// For how long after a change an older value may be read; `None`: not at all.
    pub old_for: Option<Duration>,
    /// The same after a change of the process that reads.
    pub own_old_for: Option<Duration>,
    /// The time that a call may wait, beside the creation.
    pub waits: Duration,
}

impl Promise {
    /// Returns what is promised for `plan`.
    pub fn of(plan: &Plan) -> Self {
        let own_old_for = old_without_near(plan);
        let near = plan.near.map(|bound| own_old_for.unwrap_or_default() + bound);
        Self { old_for: near.or(own_old_for), own_old_for, waits: waits(plan) }
    }

    /// Returns which promises `findings` break, in words; none if all were kept.
    pub fn broken(&self, findings: &Findings) -> Vec<String> {
        let mut broken = Vec::new();
        let old = findings.old_reads;
        match self.old_for {
            None if old > 0 => broken.push(format!("{old} reads of older values")),
            Some(bound) if findings.longest_old > nanoseconds(bound) => broken.push(format!(
                "an older value was read {:.0} ms after a change, {} at most are promised",
                milliseconds(findings.longest_old),
                bound.as_millis(),
            )),
            _ => {}
        }
        let own = nanoseconds(self.own_old_for.unwrap_or_default());
        if self.own_old_for != self.old_for
            && findings.old_reads_own > 0
            && (self.own_old_for.is_none() || findings.longest_old_own > own)
        {
            broken.push(format!(
                "{} times a process was given a value older than its own change, {:.0} ms after it",
                findings.old_reads_own,
                milliseconds(findings.longest_old_own),
            ));
        }
        let permanent = findings.old_reads_permanent;
        if permanent > 0 {
            broken.push(format!("{permanent} keys stayed at an older value"));
        }
        if findings.wrong_keys > 0 {
            broken.push(format!("{} values of other keys", findings.wrong_keys));
        }
        if findings.overlaps > 0 {
            broken.push(format!("{} creations beside another", findings.overlaps));
        }
        if findings.longest_wait > nanoseconds(self.waits) {
            broken.push(format!(
                "a call waited for {:.0} ms, {} at most are promised",
                milliseconds(findings.longest_wait),
                self.waits.as_millis(),
            ));
        }
        if findings.unended > 0 {
            broken.push(format!("{} calls never ended", findings.unended));
        }
        broken
    }
}

/// For how long after a change an older value may be read where there are no near tiers.
fn old_without_near(plan: &Plan) -> Option<Duration> {
    let withdraws =
        matches!(plan.backend, Backend::RedisPlain | Backend::Memcached | Backend::Memcached2);
    let withdrawn = match plan.disturb {
        _ if !withdraws => None,
        Disturb::None | Disturb::Cancel => Some(WITHDRAWN_WITHIN),
        Disturb::Slow => Some(WITHDRAWN_WITHIN + 10 * LATENCY),
        _ => Some(WITHDRAWN_AT_LAST),
    };
    let looked_for = match plan.disturb {
        Disturb::Slow => LOOKED_FOR_WITHIN + 10 * LATENCY,
        disturb if disturb.breaks_things() => LOOKED_FOR_WITHIN + 2 * TIME_OUT,
        _ => LOOKED_FOR_WITHIN,
    };
    // Where a process cannot reach the server, another may change what it keeps.
    let kept = Some(plan.keep_when_down).filter(|kept| !kept.is_zero() && breaks_connections(plan));
    let kept = kept.map(|kept| kept + TICK);
    let withdrawn = withdrawn.max(kept);
    match plan.change {
        Change::InvalidateDelayed => {
            Some(plan.change.delay() + looked_for + withdrawn.unwrap_or_default())
        }
        _ => withdrawn,
    }
}

fn breaks_connections(plan: &Plan) -> bool {
    plan.backend.has_servers() && plan.disturb.breaks_things()
}

fn waits(plan: &Plan) -> Duration {
    // The clock of memcached may be two seconds old: locks get these, so that none ends too early.
    let rounding = match plan.backend {
        Backend::Memcached | Backend::Memcached2 => Duration::from_secs(2),
        _ => Duration::ZERO,
    };
    match plan.disturb {
        // Values that have to be young are old when they arrive: callers create in turn.
        // Without scripts a turn takes a dozen round trips, and nobody keeps to an order.
        Disturb::Slow if plan.backend == Backend::RedisPlain => 3 * LEASE + TOLERANCE,
        Disturb::Slow | Disturb::Stop | Disturb::Kill => LEASE + rounding + TOLERANCE,
        // A call can meet the end of a connection and then a server that is away.
        disturb if disturb.breaks_things() => LEASE + rounding + 2 * TIME_OUT + TOLERANCE,
        _ => LONGEST_WAIT,
    }
}

/// Returns how long after the last change a value may still be there that is to be
/// withdrawn, with time to spare.
pub fn settling(plan: &Plan) -> Duration {
    Promise::of(plan).old_for.unwrap_or_default() + Duration::from_millis(500)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promise(backend: Backend, change: Change, disturb: Disturb) -> Promise {
        Promise::of(&Plan { disturb, ..Plan::new(backend, change, "worker") })
    }

    #[test]
    fn a_promise_is_broken_by_what_is_beyond_it() {
        let strict = promise(Backend::Redis, Change::Delete, Disturb::None);
        let bounded = promise(Backend::Memcached, Change::Delete, Disturb::None);
        let old = |milliseconds| Findings {
            old_reads: 1,
            longest_old: nanoseconds(Duration::from_millis(milliseconds)),
            ..Findings::default()
        };
        assert_eq!(strict.broken(&Findings::default()), Vec::<String>::new());
        assert_eq!(strict.broken(&old(1)).len(), 1);
        assert_eq!((bounded.broken(&old(250)).len(), bounded.broken(&old(251)).len()), (0, 1));
        let permanent = Findings { old_reads_permanent: 1, ..Findings::default() };
        let overlap = Findings { overlaps: 1, ..Findings::default() };
        let unended = Findings { unended: 1, ..Findings::default() };
        for findings in [permanent, overlap, unended] {
            assert_eq!(bounded.broken(&findings).len(), 1, "{findings:?}");
        }
    }

    #[test]
    fn what_is_kept_while_a_server_is_away_may_be_older_for_so_long() {
        let second = Duration::from_secs(1);
        let keeping = |disturb| {
            let plan = Plan::new(Backend::Redis, Change::Delete, "worker");
            Promise::of(&Plan { disturb, keep_when_down: second, ..plan }).old_for
        };
        assert_eq!(keeping(Disturb::ServerAway), Some(second + TICK));
        assert_eq!(keeping(Disturb::None), None);
    }

    #[test]
    fn a_near_tier_may_be_older_by_its_bound_but_for_changes_of_its_own_process() {
        let bound = Duration::from_secs(1);
        let near = |backend, disturb| {
            let plan = Plan::new(backend, Change::Delete, "worker");
            Promise::of(&Plan { disturb, near: Some(bound), ..plan })
        };
        let redis = near(Backend::Redis, Disturb::None);
        assert_eq!((redis.old_for, redis.own_old_for), (Some(bound), None));
        let old = |milliseconds, own| Findings {
            old_reads: 1,
            longest_old: nanoseconds(Duration::from_millis(milliseconds)),
            old_reads_own: u64::from(own > 0),
            longest_old_own: nanoseconds(Duration::from_millis(own)),
            ..Findings::default()
        };
        for (found, broken) in [(old(1_000, 0), 0), (old(1_001, 0), 1), (old(10, 1), 1)] {
            assert_eq!(redis.broken(&found).len(), broken, "{found:?}");
        }
        let memcached = near(Backend::Memcached, Disturb::None);
        let least = Some(WITHDRAWN_WITHIN);
        assert_eq!((memcached.old_for, memcached.own_old_for), (least.map(|it| it + bound), least));
        assert_eq!(memcached.broken(&old(1_250, 250)).len(), 0);
        assert_eq!(memcached.broken(&old(1_250, 251)).len(), 1);
        let disturbed = promise(Backend::Redis, Change::Delete, Disturb::Stop);
        assert_eq!(near(Backend::Redis, Disturb::Stop).waits, disturbed.waits);
    }

    #[test]
    fn where_something_is_disturbed_a_call_may_wait_for_a_lease() {
        let wait = Findings { longest_wait: nanoseconds(LEASE), ..Findings::default() };
        let undisturbed = promise(Backend::Redis, Change::Delete, Disturb::Cancel);
        let disturbed = promise(Backend::Redis, Change::Delete, Disturb::Kill);
        assert_eq!((undisturbed.broken(&wait).len(), disturbed.broken(&wait).len()), (1, 0));
    }
}
