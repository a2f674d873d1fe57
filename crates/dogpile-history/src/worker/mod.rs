//! A worker process: tasks and threads that call the cache at random, each call logged.

mod calls;
mod journal;
mod task;
mod way;

use std::io::{self, BufRead};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::task::JoinSet;

use self::calls::Worker;
use self::way::Way;
use crate::clock::{MILLISECOND, now};
use crate::plan::{Job, KEYS, LEASE};
use crate::random::Random;
use crate::record::Record;

/// The message of a worker that has opened its cache.
pub const READY: &str = "ready";
/// The message that tells a worker to begin.
pub const GO: &str = "go";

/// The time that a worker waits for the last of its calls. What takes longer counts as waiting
/// for ever.
const PATIENCE: Duration = LEASE.saturating_mul(3);

/// A process that was not run for so long was halted, in nanoseconds.
const HALT: u64 = 100 * MILLISECOND;

/// Runs a worker with the orders in `job`, until its input tells it to stop or ends.
///
/// # Panics
///
/// If the orders cannot be read, or no runtime can be started.
pub fn main(job: &str) -> ExitCode {
    let job: Job = serde_json::from_str(job).expect("the job is one of this version's");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime can be started");
    let result = runtime.block_on(work(job));
    // Calls that never end must not keep the process.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("worker: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn work(job: Job) -> Result<(), Box<dyn std::error::Error>> {
    let worker = Arc::new(Worker::open(job)?);
    if worker.job.tasks == 0 {
        worker.look().await;
        return Ok(());
    }
    worker.warm_up().await;
    println!("{READY}");
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    if line.trim() != GO {
        return Err("there was no signal to begin".into());
    }
    let stopping = Arc::new(AtomicBool::new(false));
    watch_input(stopping.clone());
    watch_time(worker.clone());
    run_tasks(&worker, &stopping).await?;
    worker.log_near_hits();
    // A lock that is given up in the background must not stay when the process ends.
    dogpile::shutdown(PATIENCE).await;
    if let Some(pause) = worker.job.looks_after {
        tokio::time::sleep(pause).await;
        worker.look().await;
    }
    Ok(())
}

/// Runs the callers until they have stopped, or have had their time for it.
async fn run_tasks(worker: &Arc<Worker>, stopping: &Arc<AtomicBool>) -> Result<(), &'static str> {
    let mut tasks = JoinSet::new();
    for task in 0..worker.job.tasks {
        let stream = worker.job.process << 8 | task as u64;
        let random = Random::new(worker.job.seed, stream);
        let (worker, stopping) = (worker.clone(), stopping.clone());
        if worker.job.callers.blocks(task) {
            let thread = thread::spawn(move || task::block(worker, random, stopping));
            tasks.spawn(ended(thread));
        } else {
            tasks.spawn(task::run(worker, Way::Task, random, stopping));
        }
    }
    // The others wait for a server that is away, while copies are there that may be too old.
    let watched = if worker.job.near.is_some() { 0..KEYS } else { 0..0 };
    for key in watched {
        tasks.spawn(task::read(worker.clone(), key, stopping.clone()));
    }
    let mut limit = None;
    loop {
        if stopping.load(Ordering::Relaxed) && limit.is_none() {
            limit = Some(tokio::time::Instant::now() + PATIENCE);
        }
        match tokio::time::timeout(Duration::from_millis(20), tasks.join_next()).await {
            Ok(None) => return Ok(()),
            Ok(Some(Err(_))) => return Err("a task panicked"),
            Ok(Some(Ok(()))) | Err(_) => {}
        }
        if limit.is_some_and(|limit| tokio::time::Instant::now() > limit) {
            // Their operations have no end in the log.
            std::process::exit(0);
        }
    }
}

/// Waits for a thread's end, in a way that can be given up.
async fn ended(thread: thread::JoinHandle<()>) {
    while !thread.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    thread.join().expect("it did not panic");
}

/// Waits for the line or the end of the input that means stopping.
fn watch_input(stopping: Arc<AtomicBool>) {
    thread::spawn(move || {
        let _ = io::stdin().lock().read_line(&mut String::new());
        stopping.store(true, Ordering::Relaxed);
    });
}

/// Logs when the process was not run: it was stopped, or the machine had other work.
fn watch_time(worker: Arc<Worker>) {
    thread::spawn(move || {
        let mut begin = now();
        loop {
            thread::sleep(Duration::from_millis(10));
            let end = now();
            if end - begin > HALT {
                worker.log.write(&Record::Halted { begin, end });
            }
            begin = end;
        }
    });
}
