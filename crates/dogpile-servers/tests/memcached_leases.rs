//! Leases of memcached locks: claims that are cancelled, threads that are blocked, servers
//! that say nothing, processes that end.

mod common;

use std::sync::LazyLock;
use std::time::Duration;

use common::leases::{self, LONG};
use dogpile::backend::{AnyBackend, Memcached};
use dogpile_servers::MemcachedServer;
use dogpile_servers::fleet::{self, Fleet};
use tempfile::TempDir;

static SERVER: LazyLock<MemcachedServer> = LazyLock::new(MemcachedServer::start);

fn open(port: u16, lease: Duration) -> AnyBackend {
    let builder = Memcached::builder(&format!("memcached://127.0.0.1:{port}")).unwrap();
    AnyBackend::new(builder.lock_lease(lease).open().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_calls_leave_nothing_locked() {
    leases::cancelled_calls_leave_nothing_locked(SERVER.port(), open).await;
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
        let builder = Memcached::builder(&format!("memcached://127.0.0.1:{port}")).unwrap();
        AnyBackend::new(builder.connect_timeout(Duration::from_millis(50)).open().unwrap())
    };
    leases::a_silent_server_is_left_alone(open).await;
}

#[test]
fn a_process_that_ends_in_order_frees_its_keys() {
    let directory = TempDir::new().unwrap();
    let settings = [
        ("backend", "memcached".to_owned()),
        ("arguments.url", SERVER.url()),
        ("arguments.lock_timeout", LONG.as_secs().to_string()),
    ];
    let fleet = Fleet::new(env!("CARGO_BIN_EXE_dogpile-worker"), settings, directory.path());
    fleet::a_process_that_ends_in_order_frees_its_keys(fleet, "leaving");
}
