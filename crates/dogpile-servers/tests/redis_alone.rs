//! Blocking callers of a Redis that are alone: the thread that asks reads the answer by itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use dogpile::backend::Redis;
use dogpile::{Config, Region};
use dogpile_servers::RedisServer;
use dogpile_testkit::tcp::{Condition, Proxy};

/// More calls than it takes until a caller counts as alone.
const MANY: u32 = 40;

/// The I/O thread is the process's: no two of these tests at once.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn region(url: &str) -> Region {
    let region = Region::new("alone");
    region.configure(Config::new(Redis::open(url).unwrap())).unwrap();
    region
}

fn key(number: u32) -> String {
    format!("key {number}")
}

fn store(region: &Region) {
    (0..MANY).for_each(|number| region.blocking().set(&key(number), &number).unwrap());
}

/// Reads keys that hold different values: an answer to another call would be noticed.
fn read(region: &Region) {
    for number in 0..MANY {
        assert_eq!(region.blocking().get::<u32>(&key(number)).unwrap(), Some(number));
    }
}

/// The number of times that each of the crate's threads has begun to wait.
#[cfg(target_os = "linux")]
fn waits_of_crate() -> BTreeMap<String, u64> {
    let mut waits = BTreeMap::new();
    for thread in std::fs::read_dir("/proc/self/task").unwrap() {
        // A thread may end meanwhile.
        let Ok(status) = std::fs::read_to_string(thread.unwrap().path().join("status")) else {
            continue;
        };
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let name = field("Name:").trim().to_owned();
        if name.starts_with("dogpile") {
            *waits.entry(name).or_default() +=
                field("voluntary_ctxt_switches:").trim().parse::<u64>().unwrap();
        }
    }
    waits
}

#[cfg(target_os = "linux")]
#[test]
fn a_lone_callers_reads_wake_no_other_thread() {
    let _alone = alone();
    let server = RedisServer::start();
    for url in [server.url(), server.socket_url()] {
        let region = region(&url);
        store(&region);
        read(&region);
        // The connection may be lost where the machine has too much to do, for a second.
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let before = waits_of_crate();
            (0..25).for_each(|_| read(&region));
            let after = waits_of_crate();
            let waited = |(name, waits): (&String, &u64)| waits - before.get(name).unwrap_or(&0);
            if after.iter().map(waited).all(|waits| waits < u64::from(MANY)) {
                break;
            }
            assert!(Instant::now() < until, "woken in 1,000 reads: {before:?} {after:?}");
        }
        let read = region.blocking().get_multi::<u32, _>((0..MANY).map(key)).unwrap();
        assert_eq!(read, (0..MANY).map(Some).collect::<Vec<_>>());
    }
}

#[test]
fn callers_read_what_they_have_written() {
    let _alone = alone();
    let server = RedisServer::start();
    let region = Arc::new(region(&server.url()));
    for threads in [1, 8, 1] {
        let callers: Vec<_> = (0..threads)
            .map(|caller| {
                let region = region.clone();
                thread::spawn(move || {
                    let (region, key) = (region.blocking(), format!("own {caller}"));
                    for round in 0..5 * MANY {
                        region.set(&key, &round).unwrap();
                        for _ in 0..round % 20 {
                            assert_eq!(region.get::<u32>(&key).unwrap(), Some(round));
                        }
                    }
                })
            })
            .collect();
        callers.into_iter().for_each(|caller| caller.join().unwrap());
    }
}

/// The connections that have asked for a value last: over the first one, something is stored.
fn readers(server: &RedisServer, region: &Region) -> Vec<String> {
    region.blocking().set("other", &0).unwrap();
    let clients = server.ask("CLIENT LIST");
    clients.lines().filter(|client| client.contains(" cmd=get ")).map(str::to_owned).collect()
}

/// Reads until there is a connection for that: a pause after one was lost.
fn read_until_alone(server: &RedisServer, region: &Region) -> String {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        read(region);
        if let [reader] = &readers(server, region)[..] {
            return reader.clone();
        }
        assert!(Instant::now() < until, "{}", server.ask("CLIENT LIST"));
    }
}

#[test]
fn a_users_future_is_not_blocked() {
    let _alone = alone();
    let server = RedisServer::start();
    let region = region(&server.url());
    store(&region);
    for number in 0..MANY {
        let reading = async { region.get::<u32>(&key(number)).await };
        let read = region.blocking().block_on(reading).unwrap().unwrap();
        assert_eq!(read, Some(number));
    }
    assert!(readers(&server, &region).is_empty());
}

#[test]
fn a_connection_that_was_ended_costs_no_error() {
    let _alone = alone();
    let mut server = RedisServer::start();
    let region = region(&server.url());
    store(&region);
    for _ in 0..2 {
        let reader = read_until_alone(&server, &region);
        let id = reader.split(' ').find_map(|field| field.strip_prefix("id=")).unwrap();
        assert!(server.ask(&format!("CLIENT KILL ID {id}")).contains(":1"));
        read(&region);
    }
    server.restart();
    let until = Instant::now() + Duration::from_secs(30);
    while region.blocking().get::<u32>(&key(0)).is_err() {
        assert!(Instant::now() < until, "it does not come back");
    }
    assert_eq!(region.blocking().get::<u32>(&key(0)).unwrap(), None);
    store(&region);
    read(&region);
}

#[test]
fn a_password_that_a_server_has_by_now_costs_no_error() {
    let _alone = alone();
    let server = RedisServer::start();
    let region = region(&server.url());
    store(&region);
    // Nobody needs it whose connection is there.
    assert!(server.ask("CONFIG SET requirepass later").contains("OK"));
    read(&region);
    read(&region);
}

#[test]
fn late_and_lost_answers_are_no_other_callers() {
    let _alone = alone();
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let region = region(&format!("redis://127.0.0.1:{}", proxy.port()));
    store(&region);
    read(&region);
    proxy.set(Condition::AnswerLost(b"GET"));
    read(&region);
    for _ in 0..2 {
        // Later than a caller waits for by itself.
        proxy.set(Condition::Slow(Duration::from_millis(20)));
        read(&region);
        proxy.set(Condition::Normal);
        // A pause later there is a connection again.
        let until = Instant::now() + Duration::from_millis(1_100);
        while Instant::now() < until {
            read(&region);
        }
    }
    proxy.set(Condition::Held);
    let error = region.blocking().get::<u32>(&key(1)).unwrap_err();
    assert!(error.to_string().contains("did not answer within"), "{error}");
    proxy.set(Condition::Normal);
    let until = Instant::now() + Duration::from_secs(30);
    while region.blocking().get::<u32>(&key(2)).is_err() {
        assert!(Instant::now() < until, "it does not come back");
    }
    read(&region);
}

#[test]
fn a_users_name_and_database_hold_for_it() {
    let _alone = alone();
    let server = RedisServer::start();
    assert!(server.ask("ACL SETUSER app on >secret ~app:* &* +@all").contains("OK"));
    let region =
        region(&format!("redis://app:secret@127.0.0.1:{}/3?key_prefix=app:", server.port()));
    store(&region);
    let reader = read_until_alone(&server, &region);
    assert!(reader.contains(" user=app ") && reader.contains(" db=3 "), "{reader}");
    drop(region);
    let until = Instant::now() + Duration::from_secs(60);
    while server.ask("CLIENT LIST").contains(" user=app ") {
        assert!(Instant::now() < until, "connections are left");
    }
}
