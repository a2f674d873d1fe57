//! Runs of the tests of this folder, one at a time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dogpile_history::plan::{Backend, Change, Disturb, Plan};
use dogpile_history::run::{Ended, run};

/// Two runs at once would take the processor from each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// An undisturbed run: a few phases of changes, and phases without after each.
pub(crate) fn plan(backend: Backend, change: Change) -> Plan {
    let lasts = Duration::from_millis(1_700);
    Plan { lasts, seed: 7, ..Plan::new(backend, change, env!("CARGO_BIN_EXE_dogpile-history")) }
}

/// A disturbed run: time for two or three disturbances, and what follows from them.
#[allow(dead_code, reason = "not every test disturbs")]
pub(crate) fn disturbed(backend: Backend, change: Change, disturb: Disturb) -> Plan {
    let lasts = Duration::from_millis(2_500);
    Plan { disturb, lasts, ..plan(backend, change) }
}

/// Runs a plan that exists.
pub(crate) fn run_alone(plan: &Plan) -> Ended {
    assert_eq!(plan.skipped(), None);
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    run(plan).expect("the processes and servers can be started")
}
