//! The Redis backend: the conformance suite on a single server, by sentinels,
//! on a cluster, with TLS, by the socket, and where scripts are forbidden.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use dogpile::backend::{AnyBackend, Redis};
use dogpile::invalidation::Stored;
use dogpile::lock::Mutex;
use dogpile::{Config, Mode, Region};
use dogpile_testkit::conformance;
use dogpile_testkit::conformance::Fixture;
use dogpile_testkit::servers::{RedisCluster, RedisSentinels, RedisServer, Tls, free_port};

static SINGLE: LazyLock<RedisServer> = LazyLock::new(RedisServer::start);
static SENTINELS: LazyLock<RedisSentinels> = LazyLock::new(RedisSentinels::start);
static CLUSTER: LazyLock<RedisCluster> = LazyLock::new(RedisCluster::start);

fn open(url: &str) -> AnyBackend {
    AnyBackend::new(Redis::open(url).unwrap())
}

/// Two clients of one server, as two processes are.
fn fixture(url: &str) -> Fixture {
    Fixture::from(open(url)).with_peer(open(url))
}

conformance!(single, async || fixture(&SINGLE.url()));

fn without_locks(url: &str) -> Fixture {
    let open = || Redis::builder(url).unwrap().creation_locks(false).open().unwrap();
    Fixture::from(AnyBackend::new(open())).with_peer(AnyBackend::new(open()))
}

conformance!(single_without_locks, async || without_locks(&SINGLE.url()));

conformance!(cluster_without_locks, async || without_locks(&CLUSTER.url()));

/// A server on which nobody may run scripts.
static PLAIN: LazyLock<RedisServer> = LazyLock::new(|| {
    let server = RedisServer::start();
    assert!(server.ask("ACL SETUSER default -@scripting").contains("OK"));
    server
});

conformance!(plain_without_locks, async || without_locks(&PLAIN.url()));

conformance!(socket, async || fixture(&SINGLE.socket_url()));

conformance!(sentinel, async || fixture(&SENTINELS.url()));

conformance!(cluster, async || fixture(&CLUSTER.url()));

conformance!(existing_connection, async || {
    static CLIENTS: AtomicU32 = AtomicU32::new(0);
    CLIENTS.fetch_add(1, Ordering::Relaxed);
    let client = redis::Client::open(SINGLE.url()).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let backend = Redis::existing(connection).open().unwrap();
    Fixture::from(AnyBackend::new(backend)).with_peer(open(&SINGLE.url()))
});

/// A server with certificates on both sides and a user who may not run
/// scripts.
struct Guarded {
    tls: Tls,
    port: u16,
    _server: RedisServer,
}

static GUARDED: LazyLock<Guarded> = LazyLock::new(|| {
    let (tls, port) = (Tls::new(), free_port());
    let options = tls.options(port);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let server = RedisServer::with(&options);
    let rule = "ACL SETUSER app on >secret ~* &* +@all -@scripting";
    assert!(server.ask(rule).contains("OK"));
    Guarded { tls, port, _server: server }
});

conformance!(tls_and_no_scripts, async || {
    let url = format!("rediss://app:secret@127.0.0.1:{}", GUARDED.port);
    let open = || {
        let tls = &GUARDED.tls;
        let builder = Redis::builder(&url).unwrap().tls_root(&tls.read("ca.pem"));
        let builder = builder.tls_client(&tls.read("client.pem"), &tls.read("client.key"));
        AnyBackend::new(builder.open().unwrap())
    };
    Fixture::from(open()).with_peer(open())
});

/// The second run of these tests, on Valkey, is one: no server of it is a Redis.
#[test]
#[ignore = "the servers are those of Redis; `cargo xtask valkey` runs it on Valkey"]
fn every_server_is_valkey() {
    for url in [SINGLE.url(), SENTINELS.url(), CLUSTER.url()] {
        for port in ports(&url).chain([SENTINELS.master_port()]) {
            let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
            let mut connection = client.get_connection().unwrap();
            let info: String = redis::cmd("INFO").arg("server").query(&mut connection).unwrap();
            assert!(info.contains("valkey_version:9."), "{url}: {info}");
        }
    }
}

/// Returns the ports that a URL of servers names.
fn ports(url: &str) -> impl Iterator<Item = u16> {
    let hosts = url.split("127.0.0.1:").skip(1);
    hosts.map(|host| host.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap())
}

#[tokio::test]
async fn the_facts_of_a_server_name_its_program_and_the_version_of_that() {
    let client = redis::Client::open(SINGLE.url()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let info: redis::InfoDict = redis::cmd("INFO").query(&mut connection).unwrap();
    let told = open(&SINGLE.url());
    let told = told.inspect().unwrap().info().await.unwrap();
    let fact = |name| told.iter().find(|(found, _)| *found == name).unwrap().1.clone();
    let program = if SINGLE.is_valkey() { "valkey" } else { "redis" };
    assert_eq!(fact("program"), program);
    let version: String = info.get(&format!("{program}_version")).unwrap();
    assert_eq!(fact("version"), version);
}

/// Invalidation is told of by tracking, however long the delay.
#[tokio::test]
async fn an_invalidation_reaches_every_process_in_a_moment() {
    for url in [SINGLE.url(), SENTINELS.url(), CLUSTER.url()] {
        let region = |_| {
            let region = Region::new("told");
            let strategy = Stored::new(open(&url), "told", Duration::from_hours(1));
            let config = Config::over(open(&url)).invalidation(Arc::new(strategy));
            region.configure(config).unwrap();
            region
        };
        let [here, there] = [0, 1].map(region);
        for round in 1..=3_u32 {
            here.set("invalidated", &round).await.unwrap();
            while there.get::<u32>("invalidated").await.unwrap() != Some(round) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            here.invalidate(Mode::Hard).await.unwrap();
            while there.get::<u32>("invalidated").await.unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

/// Who waits asks the server once a second, not all the time, in a cluster too.
#[tokio::test]
async fn waiting_is_not_polling() {
    let cluster = RedisCluster::start();
    let (holder, waiter) = (open(&cluster.url()), open(&cluster.url()));
    let (holder, waiter) = (holder.mutex().unwrap(), waiter.mutex().unwrap());
    for n in 0..3 {
        let key = format!("waited-for-{n}");
        let lease = holder.try_lock(&key).await.unwrap().unwrap();
        // The first wait opens the connection.
        drop(tokio::time::timeout(Duration::from_millis(50), waiter.wait(&key)).await);
        let before = cluster.count_commands("pttl");
        let waiting = waiter.wait(&key);
        let releasing = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            holder.unlock(lease).await.unwrap();
        };
        let (waited, ()) = tokio::join!(waiting, releasing);
        assert!(waited.unwrap().is_none());
        assert_eq!(cluster.count_commands("pttl") - before, 1);
        assert!(!waiter.is_locked(&key).await.unwrap());
    }
}

/// What another process sets or deletes while a value is made is newer than that.
#[tokio::test]
async fn a_creation_is_not_stored_over_what_another_process_changed() {
    let region = |name: &str| {
        let region = Region::named(name);
        region.configure(Config::new(Redis::open(&SINGLE.url()).unwrap()).shared_keys()).unwrap();
        region
    };
    let (here, there) = (region("here"), region("there"));
    for (key, change) in [("set-cold", "set"), ("set", "set"), ("deleted", "delete")] {
        if key != "set-cold" {
            there.set(key, &0_u32).await.unwrap();
            here.invalidate(Mode::Hard).await.unwrap();
        }
        let made = here.get_or_create(key, async || {
            match change {
                "set" => there.set(key, &2_u32).await.unwrap(),
                _ => there.delete(key).await.unwrap(),
            }
            1_u32
        });
        assert_eq!(made.await, 1, "the caller has what it made");
        let stored = there.get::<u32>(key).await.unwrap();
        assert_eq!(stored, (change == "set").then_some(2), "{key}");
        assert!(!there.key_is_locked(key).await.unwrap());
    }
    assert_eq!(here.statistics().leases_lost, 3);
    // And one that nobody changed is stored, over an old value and over none.
    for key in ["set", "deleted"] {
        here.invalidate(Mode::Hard).await.unwrap();
        assert_eq!(here.get_or_create(key, async || 3_u32).await, 3);
        assert_eq!(there.get::<u32>(key).await.unwrap(), Some(3));
    }
}

/// A user who may not touch some key may run scripts all the same.
#[tokio::test]
async fn a_forbidden_key_does_not_switch_scripts_off() {
    let server = RedisServer::start();
    let rule = "ACL SETUSER app on >secret ~app:* ~_lockapp:* ~_mark{app:* %R~read:* &* +@all";
    assert!(server.ask(rule).contains("OK"));
    let url = format!("redis://app:secret@127.0.0.1:{}", server.port());
    let region = Region::new("restricted");
    region.configure(Config::new(Redis::open(&url).unwrap()).shared_keys()).unwrap();
    let told = region.entry("read:1").strict().get_or_create(async || 1_u32).await.unwrap_err();
    let told = told.to_string();
    assert!(
        told.contains("claim failed") && told.to_lowercase().contains("no permissions"),
        "{told}"
    );
    assert_eq!(region.entry("app:1").strict().get_or_create(async || 2_u32).await.unwrap(), 2);
    let scripts = server.count_commands("evalsha");
    assert_eq!(region.entry("app:2").strict().get_or_create(async || 3_u32).await.unwrap(), 3);
    assert_eq!(server.count_commands("evalsha") - scripts, 2, "claim and commit are scripts");
}

/// Certificates without TLS are a mistake that is told at once.
#[test]
fn certificates_for_an_address_without_tls_are_refused() {
    let tls = Tls::new();
    for url in ["redis://127.0.0.1", "unix:///tmp/redis.sock", "redis+cluster://127.0.0.1"] {
        let rooted = Redis::builder(url).unwrap().tls_root(&tls.read("ca.pem"));
        let told = rooted.open().unwrap_err().to_string();
        assert!(told.contains("`rediss`"), "{told}");
        let own = Redis::builder(url).unwrap();
        let own = own.tls_client(&tls.read("client.pem"), &tls.read("client.key"));
        assert!(own.open().is_err(), "{url}");
    }
}
