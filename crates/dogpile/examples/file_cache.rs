//! One file for all processes of a machine: this program runs itself three times.
//!
//! `cargo run -p dogpile --features file --example file_cache`

use std::env;
use std::process::Command;
use std::thread;
use std::time::Duration;

use dogpile::backend::File;
use dogpile::{Config, Region};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Ok(path) = env::var("FILE_CACHE_EXAMPLE") {
        return answer(&path);
    }
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("cache.db");
    let start = || Command::new(env::current_exe()?).env("FILE_CACHE_EXAMPLE", &path).spawn();
    let processes = (0..3).map(|_| start()).collect::<Result<Vec<_>, _>>()?;
    for mut process in processes {
        assert!(process.wait()?.success());
    }
    Ok(())
}

fn answer(path: &str) -> Result<(), Box<dyn std::error::Error>> {
    let reports: Region = Region::new("reports");
    reports.configure(Config::new(File::open(path)?))?;
    let report = reports.blocking().get_or_create("today", || {
        thread::sleep(Duration::from_millis(200)); // a slow query
        format!("the report of process {}", std::process::id())
    });
    println!("process {} has {report}", std::process::id());
    Ok(())
}
