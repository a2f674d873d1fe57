//! One run: starts all that takes part, and has its log checked.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::check::{Findings, History, Terms, check};
use crate::clock::now;
use crate::database::Database;
use crate::disturb::Disturber;
use crate::fleet::Fleet;
use crate::plan::{Disturb, Job, KEYS, LEASE, Plan};
use crate::promises::{self, Promise};
use crate::record;
use crate::servers::Stage;

/// The time that a change may be on its way after its caller has heard nothing of it.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// The time that a busy machine may take between a claim and the begin of its creator.
const CLAIMED_WITHIN: Duration = Duration::from_millis(200);

/// The result of a run.
#[derive(Debug)]
pub struct Ended {
    /// The findings.
    pub findings: Findings,
    /// Which promises were broken, in words.
    pub broken: Vec<String>,
    /// The number of connections to a single Redis on which workers asked, at the end.
    pub connections: usize,
}

/// Runs `plan`.
///
/// # Panics
///
/// If a server cannot be started.
pub fn run(plan: &Plan) -> io::Result<Ended> {
    let directory = scratch()?;
    let path = plan.keep.as_deref().unwrap_or(directory.path());
    std::fs::create_dir_all(path)?;
    let (history, connections) = record_history(plan, path)?;
    let claimed_within = match plan.disturb {
        Disturb::None | Disturb::Cancel => CLAIMED_WITHIN,
        _ => ON_ITS_WAY,
    };
    let aftermath = LEASE + ON_ITS_WAY;
    let terms = Terms { aftermath, on_its_way: ON_ITS_WAY, claimed_within, lease: LEASE };
    let findings = check(&history, &terms);
    let broken = Promise::of(plan).broken(&findings);
    Ok(Ended { findings, broken, connections })
}

/// A directory in memory, if there is one: a disk that is busy must not look like a cache that
/// is slow.
fn scratch() -> io::Result<TempDir> {
    let in_memory = Path::new("/dev/shm");
    if in_memory.is_dir() { TempDir::new_in(in_memory) } else { TempDir::new() }
}

/// Lets the workers work, and reads their logs. Returns the number of their connections, too.
fn record_history(plan: &Plan, directory: &Path) -> io::Result<(History, usize)> {
    Database::create(&directory.join("database"), KEYS)?;
    let mut stage = Stage::start(plan, directory);
    let settling = promises::settling(plan);
    let is_shared = plan.backend.is_shared();
    let mut history = History::new();
    let job = Job {
        process: 0,
        index: 0,
        workers: plan.workers(),
        callers: plan.callers,
        tasks: plan.tasks,
        seed: plan.seed,
        began: history.began,
        place: stage.places[0].clone(),
        change: plan.change,
        time_out: plan.time_out(),
        cancels: plan.disturb == Disturb::Cancel,
        around: plan.around,
        keep_when_down: plan.keep_when_down,
        near: plan.near,
        sabotage: plan.sabotage,
        directory: directory.to_owned(),
        looks_after: (!is_shared).then_some(settling),
    };
    let mut fleet = Fleet::start(plan.worker.clone(), job, stage.places.clone())?;
    let mut disturber = Disturber::new(plan);
    disturber.run(&mut fleet, &mut stage)?;
    let connections = stage.count_connections();
    fleet.finish()?;
    history.ended = now();
    if is_shared {
        thread::sleep(settling);
        fleet.look()?;
    }
    history.disturbances = disturber.done;
    history.failovers = disturber.failovers;
    history.killed = std::mem::take(&mut fleet.killed);
    for process in fleet.processes() {
        history.add(process, record::read(&directory.join(format!("{process}.log")))?);
    }
    Ok((history, connections))
}
