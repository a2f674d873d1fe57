//! The worker's side.

use std::fs::OpenOptions;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dogpile::Region;
use dogpile::clock::{Clock, SystemClock};
use dogpile::config::Settings;
use tokio::task::JoinSet;

use super::checks::{KEYS, whole_value};
use super::job::{Answer, GO, Job, READY, Race};

/// The whole of a worker program: opens the cache that its argument names,
/// waits for the signal, and races.
pub fn worker() {
    let job = std::env::args().nth(1).expect("a job is the only argument");
    let job: Job = serde_json::from_str(&job).expect("the job is one of this version's");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be started");
    runtime.block_on(race(Arc::new(job)));
}

async fn race(job: Arc<Job>) {
    let region = Region::named("fleet");
    let config = Settings::from_iter(&job.settings).config().expect("the settings are good");
    region.configure(config.shared_keys()).expect("a new region can be configured");
    let region = Arc::new(region);
    // What a first use costs is not part of the race.
    let _ = region.get::<String>("fleet: warm-up").await;
    println!("{READY}");
    wait_for_signal();
    let mut tasks = JoinSet::new();
    for task in 0..job.tasks {
        tasks.spawn(run(job.clone(), region.clone(), task));
    }
    if matches!(job.race, Race::Leaves) {
        tokio::task::spawn_blocking(wait_for_signal).await.expect("the signal comes");
        let everything = dogpile::shutdown(Duration::from_secs(10)).await;
        println!("{}", in_json(&answer(&job.key, everything.to_string())));
        return;
    }
    let mut output = io::stdout().lock();
    while let Some(answers) = tasks.join_next().await {
        for answer in answers.expect("no task panics") {
            writeln!(output, "{}", in_json(&answer)).expect("somebody listens");
        }
    }
}

fn wait_for_signal() {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).expect("the signal is text");
    assert_eq!(line.trim(), GO);
}

fn in_json(answer: &Answer) -> String {
    serde_json::to_string(answer).expect("an answer is plain data")
}

async fn run(job: Arc<Job>, region: Arc<Region>, task: usize) -> Vec<Answer> {
    let key = &job.key;
    match job.race {
        Race::Crowd { creation } => {
            let creator = || create(&job, key, Duration::from_millis(creation));
            let value = region.get_or_create(key, creator).await;
            vec![answer(key, value)]
        }
        Race::FirstFails | Race::FirstDies => loop {
            let created = region.try_get_or_create(key, || troubled(&job)).await;
            if let Ok(value) = created {
                return vec![answer(key, value)];
            }
        },
        Race::Leaves => {
            let creator = || create(&job, key, Duration::from_secs(3_600));
            let value = region.get_or_create(key, creator).await;
            vec![answer(key, value)]
        }
        Race::Overlap => overlap(&job, &region, task).await,
        Race::Write => loop {
            let (key, value) = whole_value();
            // Another writer may just have been killed in the middle.
            let _ = region.set(&key, &value).await;
        },
    }
}

async fn overlap(job: &Job, region: &Region, task: usize) -> Vec<Answer> {
    let mut keys: Vec<String> = (0..KEYS).map(|n| format!("{}-{n}", job.key)).collect();
    let shift = (std::process::id() as usize + 3 * task) % KEYS;
    keys.rotate_left(shift);
    keys.truncate(KEYS / 2);
    if task % 2 == 1 {
        keys.reverse();
    }
    let creator = async |wanted: Vec<String>| {
        let mut values = Vec::new();
        for key in wanted {
            values.push(create(job, &key, Duration::from_millis(2)).await);
        }
        values
    };
    let values = region.get_or_create_multi(&keys, creator).await;
    let values: Vec<String> = values.expect("the cache is there");
    keys.iter().zip(values).map(|(key, value)| answer(key, value)).collect()
}

fn answer(key: &str, value: String) -> Answer {
    Answer { key: key.to_owned(), value, at: SystemClock.now() }
}

/// Notes that a creation began, and makes the value that says which.
async fn create(job: &Job, key: &str, takes: Duration) -> String {
    let value = format!("{key} by {} at {}", std::process::id(), SystemClock.now());
    note(&job.notes, &value);
    tokio::time::sleep(takes).await;
    value
}

/// A creation of which the first among all processes goes wrong.
async fn troubled(job: &Job) -> Result<String, &'static str> {
    let value = create(job, &job.key, Duration::from_millis(30)).await;
    let mut flag = job.notes.clone().into_os_string();
    flag.push(".first");
    let first = OpenOptions::new().write(true).create_new(true).open(&flag).is_ok();
    match job.race {
        Race::FirstFails if first => Err("the first creation fails"),
        Race::FirstDies if first => die(),
        _ => Ok(value),
    }
}

/// As by `kill -9`: no destructor runs, nothing is flushed.
fn die() -> ! {
    let process = std::process::id().to_string();
    let _ = std::process::Command::new("kill").args(["-9", &process]).status();
    std::process::abort()
}

fn note(notes: &Path, line: &str) {
    let mut file =
        OpenOptions::new().append(true).create(true).open(notes).expect("notes can be taken");
    // One write, so that lines of several processes stay apart.
    file.write_all(format!("{line}\n").as_bytes()).expect("notes can be taken");
}
