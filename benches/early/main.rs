//! Early creation in a fleet: processes read one key of a cache file, at a rate of a thousand
//! reads a second in all. A value lives for two seconds and takes a tenth of one to create.
//! Prints, with and without `early`, how many callers got a stale value or waited, and
//! how often a value was created twice.
//!
//! `cargo bench -p dogpile-bench --bench early -- [SECONDS]`

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dogpile::backend::File;
use dogpile::{Config, Early, EntryOptions, Region};
use serde::{Deserialize, Serialize};

const PROCESSES: u32 = 8;
const READS_PER_SECOND: u32 = 1_000;
const LIFETIME: Duration = Duration::from_secs(2);
const COST: Duration = Duration::from_millis(100);
const KEY: &str = "popular";

/// The account of one process.
#[derive(Default, Serialize, Deserialize)]
struct Account {
    reads: u64,
    stale: u64,
    misses: u64,
    slowest_ms: f64,
    /// The moments at which it began to create.
    creations: Vec<f64>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some("worker") => {
            let [_, path, early, seconds] = &arguments[..] else {
                panic!("worker PATH EARLY SECONDS")
            };
            let account =
                work(Path::new(path), early == "early", seconds.parse().expect("seconds"));
            println!("{}", serde_json::to_string(&account).expect("numbers"));
        }
        seconds => {
            let seconds = seconds.map_or(60, |seconds| seconds.parse().expect("SECONDS"));
            println!("| | reads | stale | waited | creations | twice | slowest |");
            println!("|---|---|---|---|---|---|---|");
            for early in ["early", "not early"] {
                print_row(early, &fleet(early, seconds));
            }
        }
    }
}

/// Runs all processes over one new file.
fn fleet(early: &str, seconds: u64) -> Vec<Account> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cache.db");
    let start = |_| {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("worker").arg(&path).arg(early).arg(seconds.to_string());
        command.stdout(Stdio::piped()).spawn().expect("a process")
    };
    // The first value is there before the others come.
    region(&path).blocking().entry(KEY).refresh(|| std::thread::sleep(COST));
    let processes: Vec<Child> = (0..PROCESSES).map(start).collect();
    let accounts = processes.into_iter().map(|process| {
        let output = process.wait_with_output().expect("its output");
        serde_json::from_slice(&output.stdout).expect("an account")
    });
    accounts.collect()
}

fn region(path: &Path) -> Region {
    let region = Region::new("early");
    region.configure(Config::new(File::open(path).expect("a file"))).expect("a new region");
    region
}

fn work(path: &Path, is_early: bool, seconds: u64) -> Account {
    let region = region(path);
    let mut options = EntryOptions::new().expiration(LIFETIME);
    if is_early {
        options = options.early(Early::adaptive());
    }
    let creations = Arc::new(Mutex::new(Vec::new()));
    let mut account = Account::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(async {
        let mut ticks =
            tokio::time::interval(Duration::from_secs(1) * PROCESSES / READS_PER_SECOND);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(seconds) {
            ticks.tick().await;
            let creations = creations.clone();
            let create = async move || {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                creations.lock().expect("no panic").push(now.as_secs_f64());
                tokio::time::sleep(COST).await;
            };
            let asked = Instant::now();
            region.entry(KEY).options(&options).get_or_create_in_background(create).await;
            account.slowest_ms = account.slowest_ms.max(asked.elapsed().as_secs_f64() * 1e3);
        }
    });
    let counted = region.statistics();
    account.reads = counted.hits + counted.stale + counted.misses;
    (account.stale, account.misses) = (counted.stale, counted.misses);
    account.creations.clone_from(&creations.lock().expect("no panic"));
    account
}

fn print_row(name: &str, accounts: &[Account]) {
    let sum = |count: fn(&Account) -> u64| accounts.iter().map(count).sum::<u64>();
    let mut creations: Vec<f64> =
        accounts.iter().flat_map(|account| account.creations.iter().copied()).collect();
    creations.sort_by(f64::total_cmp);
    let half = LIFETIME.as_secs_f64() / 2.0;
    let twice = creations.windows(2).filter(|pair| pair[1] - pair[0] < half - 0.1).count();
    let slowest = accounts.iter().map(|account| account.slowest_ms).fold(0.0, f64::max);
    let (reads, stale, waited) = (sum(|it| it.reads), sum(|it| it.stale), sum(|it| it.misses));
    let count = creations.len();
    println!("| {name} | {reads} | {stale} | {waited} | {count} | {twice} | {slowest:.1} ms |");
}
