//! Hard cases of the near tier over Redis: servers that come back with other data, runtimes that end,
//! regions that share keys, and changes of rare kinds.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::faults::{LIMIT, eventually};
use common::near::{BOUND, Two, holding, tier};
use dogpile::backend::Redis;
use dogpile::{Config, Near, Region};
use dogpile_servers::RedisServer;

fn redis(url: &str) -> Redis {
    Redis::builder(url).unwrap().response_timeout(LIMIT).connect_timeout(LIMIT).open().unwrap()
}

fn at(url: &str, near: Near) -> Two {
    Two::over(Config::new(redis(url)), Config::new(redis(url)), near)
}

/// Everything that the server says until `enough` of it has come.
fn heard(reader: &mut impl BufRead, enough: impl Fn(&str) -> bool) -> String {
    let mut all = String::new();
    while !enough(&all) {
        assert!(reader.read_line(&mut all).unwrap() > 0, "it ends: {all:?}");
    }
    all
}

/// What is told by prefix comes at the end of a turn of the server's
/// loop, after the answers of that turn. So one answer proves nothing; the answer to a command that was
/// sent after it does.
#[test]
fn what_is_told_by_prefix_comes_before_the_second_answer() {
    let server = RedisServer::start();
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"HELLO 3\r\nCLIENT TRACKING ON BCAST PREFIX k\r\nECHO begun\r\n").unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    heard(&mut reader, |all| all.ends_with("begun\r\n"));
    let mut after_the_first = 0;
    for round in 0..50 {
        stream.write_all(format!("SET k {round}\r\nPING\r\n").as_bytes()).unwrap();
        let is_told = |all: &str| all.contains("invalidate\r\n*1\r\n$1\r\nk\r\n");
        let first = heard(&mut reader, |all| all.contains("+PONG"));
        after_the_first += u32::from(!is_told(&first));
        stream.write_all(b"PING\r\n").unwrap();
        let both = first + &heard(&mut reader, |all| all.contains("+PONG"));
        assert!(is_told(&both), "{both:?}");
    }
    println!("{after_the_first} of 50 were told after the first answer");
    assert!(after_the_first > 0, "then one answer would do");
}

/// Redisson, issue 4653: what a server has after it was started again is another server's.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_with_other_data_is_believed() {
    for near in [tier(), tier().broadcast(), tier().serve_when_down(BOUND)] {
        let mut server = RedisServer::start();
        let two = at(&server.url(), near);
        for key in ["k", "l"] {
            two.other.set(key, &1_u32).await.unwrap();
            two.warm(key).await;
        }
        server.kill();
        server.restart();
        eventually("storing again", async || two.other.set("k", &2_u32).await.is_ok()).await;
        server.ask("DEL r:l");
        eventually("the other data", async || {
            let [k, l] = [two.near.get("k").await.ok(), two.near.get::<u32>("l").await.ok()];
            (k, l) == (Some(Some(2_u32)), Some(None))
        })
        .await;
        two.changes_are_seen("k", 3).await;
        two.changes_are_seen("l", 3).await;
    }
}

/// A runtime that drove the connection ends; later ones see what was changed meanwhile.
#[test]
fn copies_of_a_runtime_that_has_ended_end_too() {
    for near in [tier(), tier().broadcast()] {
        let server = RedisServer::start();
        let two = at(&server.url(), near);
        let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        for value in 1..4_u32 {
            let one = runtime();
            one.block_on(async {
                two.other.set("k", &value).await.unwrap();
                eventually("it", async || two.get("k").await == Some(value)).await;
                two.warm("k").await;
            });
            drop(one);
            server.ask("DEL r:k");
            let single =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            single.block_on(async {
                eventually("the deletion", async || two.get("k").await.is_none()).await;
                two.changes_are_seen("k", 100 + value).await;
            });
        }
        eventually_blocking("a change", || {
            two.other.blocking().set("k", &7_u32).unwrap();
            two.near.blocking().get::<u32>("k").unwrap() == Some(7)
        });
    }
}

fn eventually_blocking(what: &str, condition: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what} never happens");
        std::thread::yield_now();
    }
}

/// Two regions over one Redis object have the same keys, with values of different types; one is
/// told by prefix, the other by what it has read.
#[tokio::test(flavor = "multi_thread")]
async fn regions_that_share_keys_hear_of_each_other() {
    let server = RedisServer::start();
    let redis = redis(&server.url());
    let region = |name, near: Near| {
        let region: Region = Region::new(name);
        region.configure(Config::new(redis.clone()).shared_keys().near(near)).unwrap();
        region
    };
    let [one, other] = [region("one", holding().broadcast()), region("other", holding())];
    for round in 0..10_u32 {
        one.set("k", &round).await.unwrap();
        let text = round.to_string();
        eventually("the number", async || {
            one.get::<u32>("k").await.unwrap() == Some(round)
                && other.get::<u64>("k").await.unwrap() == Some(u64::from(round))
        })
        .await;
        for _ in 0..4 {
            assert_eq!(one.get::<u32>("k").await.unwrap(), Some(round));
            assert_eq!(other.get::<u64>("k").await.unwrap(), Some(u64::from(round)));
        }
        other.set("k", &text).await.unwrap();
        eventually("the text", async || {
            one.get::<String>("k").await.ok().flatten().as_ref() == Some(&text)
                && other.get::<String>("k").await.ok().flatten().as_ref() == Some(&text)
        })
        .await;
    }
    let hits = one.statistics().near_hits + other.statistics().near_hits;
    assert!(hits > 20, "{hits}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_told_whatever_stands_before_keys() {
    let server = RedisServer::start();
    for near in [holding(), holding().broadcast()] {
        for prefix in ["app:", "{app}", "приложение:"] {
            let url = format!("{}?key_prefix={}", server.url(), percent(prefix));
            let two = at(&url, near.clone());
            for key in ["k", "", "ключ", &"x".repeat(10_000)] {
                for value in 1..3 {
                    two.changes_are_seen(key, value).await;
                }
                two.other.delete(key).await.unwrap();
                eventually("the deletion", async || two.get(key).await.is_none()).await;
            }
        }
    }
}

fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |all, byte| format!("{all}%{byte:02X}"))
}

/// Commands that change a key in other ways than by `SET` and `DEL`.
#[tokio::test(flavor = "multi_thread")]
async fn changes_of_rare_kinds_are_told() {
    const CHANGES: [&str; 9] = [
        "RENAME r:other r:k",
        "COPY r:other r:k REPLACE",
        "GETDEL r:k",
        "UNLINK r:k",
        "PEXPIREAT r:k 1",
        "EVAL \"redis.call('DEL',KEYS[1])\" 1 r:k",
        "MOVE r:k 1",
        "FLUSHDB",
        "FLUSHALL ASYNC",
    ];
    for near in [holding(), holding().broadcast()] {
        let server = RedisServer::start();
        let two = at(&server.url(), near.clone());
        for change in CHANGES {
            two.other.set("other", &2_u32).await.unwrap();
            two.other.set("k", &1_u32).await.unwrap();
            eventually("it", async || two.get("k").await == Some(1)).await;
            two.warm("k").await;
            let answer = server.ask(change);
            let began = std::time::Instant::now();
            while two.get("k").await == Some(1) {
                let is_late = began.elapsed() > Duration::from_secs(10);
                assert!(!is_late, "{change} ({answer}) is not told with {near:?}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

/// Redis, issue 6833: of a key that has expired on the server it tells when it comes upon that.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_has_expired_on_the_server_has_no_copy_once_it_is_found() {
    let server = RedisServer::with(&["--enable-debug-command", "yes"]);
    server.ask("DEBUG SET-ACTIVE-EXPIRE 0");
    let two = at(&server.url(), tier());
    two.other.set("k", &1_u32).await.unwrap();
    two.warm("k").await;
    server.ask("PEXPIRE r:k 1");
    eventually("the server comes upon it", async || server.ask("EXISTS r:k").trim().ends_with('0'))
        .await;
    eventually("the end of the copy", async || two.get("k").await.is_none()).await;
}

/// A large value is read over the connection that tells of changes, and is copied once.
#[tokio::test(flavor = "multi_thread")]
async fn large_values_have_copies() {
    let server = RedisServer::start();
    let two = at(&server.url(), holding());
    for length in [1_000_000, 8_000_000] {
        let value = "x".repeat(length);
        two.other.set("k", &value).await.unwrap();
        eventually("it", async || {
            two.near.get::<String>("k").await.ok().flatten().is_some_and(|it| it.len() == length)
        })
        .await;
        two.warm_text("k").await;
    }
}

trait WarmText {
    async fn warm_text(&self, key: &str);
}

impl WarmText for Two {
    async fn warm_text(&self, key: &str) {
        eventually("a near hit", async || {
            let before = self.near_hits();
            self.near.get::<String>(key).await.unwrap();
            self.near_hits() > before
        })
        .await;
    }
}

/// Databases that change places are the same keys with other values, of which Redis tells nobody: the
/// copies end with the connection over which they were read.
#[tokio::test(flavor = "multi_thread")]
async fn databases_that_change_places_are_seen_over_another_connection() {
    let server = RedisServer::start();
    let two = at(&server.url(), tier());
    two.other.set("k", &1_u32).await.unwrap();
    two.warm("k").await;
    server.ask("SWAPDB 0 1");
    server.kill_tracking();
    eventually("the other database", async || two.get("k").await.is_none()).await;
}

/// When a region is gone, nobody asks the server for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_is_gone_asks_for_nothing() {
    let server = RedisServer::start();
    let redis = redis(&server.url());
    let two = Two::over(Config::new(redis.clone()), Config::new(redis.clone()), tier());
    two.other.set("k", &1_u32).await.unwrap();
    two.warm("k").await;
    eventually("a proof", async || two.near.statistics().near_age.is_some()).await;
    let (near, other) = (two.near, two.other);
    drop(near);
    // One that was asked before may come late.
    eventually("silence", async || {
        let before = server.count_commands("ping");
        tokio::time::sleep(BOUND).await;
        server.count_commands("ping") == before
    })
    .await;
    assert_eq!(other.get("k").await.unwrap(), Some(1_u32));
}
