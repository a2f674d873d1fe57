//! Leases of Redis locks: claims that are cancelled, threads that are blocked, servers that
//! say nothing, processes that end.

mod common;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use common::leases::{self, LONG};
use dogpile::backend::{AnyBackend, Redis};
use dogpile::lock::KeyedLock;
use dogpile_servers::fleet::{self, Fleet};
use dogpile_servers::{RedisCluster, RedisServer};
use tempfile::TempDir;
use tokio::task::JoinSet;

static SERVER: LazyLock<RedisServer> = LazyLock::new(RedisServer::start);

/// A server on which nobody may run scripts.
static PLAIN: LazyLock<RedisServer> = LazyLock::new(|| {
    let server = RedisServer::start();
    assert!(server.ask("ACL SETUSER default -@scripting").contains("OK"));
    server
});

fn open(port: u16, lease: Duration) -> AnyBackend {
    let builder = Redis::builder(&format!("redis://127.0.0.1:{port}")).unwrap();
    AnyBackend::new(builder.lock_lease(lease).open().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_calls_leave_nothing_locked() {
    leases::cancelled_calls_leave_nothing_locked(SERVER.port(), open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_calls_leave_nothing_locked_where_there_are_no_scripts() {
    leases::cancelled_calls_leave_nothing_locked(PLAIN.port(), open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_for_two_keys_keeps_nothing_locked() {
    leases::a_call_for_two_keys_keeps_nothing_locked(SERVER.port(), open).await;
}

#[test]
fn blocked_workers_keep_their_leases() {
    leases::blocked_workers_keep_their_leases(SERVER.port(), open);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_is_left_alone() {
    let open = |port| {
        let builder = Redis::builder(&format!("redis://127.0.0.1:{port}")).unwrap();
        AnyBackend::new(builder.connect_timeout(Duration::from_millis(50)).open().unwrap())
    };
    leases::a_silent_server_is_left_alone(open).await;
}

#[test]
fn a_process_that_ends_in_order_frees_its_keys() {
    let directory = TempDir::new().unwrap();
    let settings = [
        ("backend", "redis".to_owned()),
        ("arguments.url", SERVER.url()),
        ("arguments.lock_timeout", LONG.as_secs().to_string()),
    ];
    let fleet = Fleet::new(env!("CARGO_BIN_EXE_dogpile-worker"), settings, directory.path());
    fleet::a_process_that_ends_in_order_frees_its_keys(fleet, "leaving");
}

/// The first waiters of a process open the connections that wake them. They share them, and
/// are woken as soon as later ones.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_crowd_of_a_cluster_is_woken_as_soon_as_the_next() {
    const CROWD: usize = 60;
    let cluster = RedisCluster::start();
    let open = || AnyBackend::new(Redis::open(&cluster.url()).unwrap()).mutex().unwrap();
    let (holder, waiter) = (open(), open());
    let mut late = Vec::new();
    for round in 0..2 {
        let mut waiting = JoinSet::new();
        let mut leases = Vec::new();
        for n in 0..CROWD {
            let key = format!("crowd-{round}-{n}");
            leases.push(holder.try_lock(&key).await.unwrap().unwrap());
            let waiter = waiter.clone();
            waiting.spawn(async move {
                waiter.wait(&key).await.unwrap();
                Instant::now()
            });
        }
        // Each waiter asks for how long its key is locked, and waits.
        let asked = (round + 1) * CROWD as u64;
        common::wait_for_async(async || cluster.count_commands("pttl") >= asked).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let released = Instant::now();
        for lease in leases {
            holder.unlock(lease).await.unwrap();
        }
        let woken = waiting.join_all().await.into_iter().max().expect("there is a crowd");
        late.push(woken - released);
    }
    let opened = cluster.count_commands("client|tracking");
    assert_eq!(opened, 3, "one connection to each server that has slots");
    let factor = 20;
    let next = late[1].max(Duration::from_millis(20));
    assert!(late[0] < factor * next, "{late:?}");
}
