//! A process that forks after it has used the cache, and its children.

#![cfg(target_os = "linux")]

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dogpile_servers::{MemcachedServer, RedisServer};

/// Far longer than it takes; what hangs is ended then.
const LIMIT: Duration = Duration::from_mins(1);

#[test]
fn a_forked_process_goes_on_by_itself_and_so_does_its_parent() {
    let (redis, memcached) = (RedisServer::start(), MemcachedServer::start());
    let directory = tempfile::TempDir::new().unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_dogpile-compat-forked"))
        .arg(directory.path().join("cache.db"))
        .args([redis.url(), memcached.url()])
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let began = Instant::now();
    let ended = loop {
        match program.try_wait().unwrap() {
            Some(ended) => break Some(ended),
            None if began.elapsed() > LIMIT => break None,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    if ended.is_none() {
        // With those that it has forked.
        let group = format!("-{}", program.id());
        let _ = Command::new("kill").args(["-9", "--", &group]).status();
    }
    assert!(ended.expect("it hangs").success());
}
