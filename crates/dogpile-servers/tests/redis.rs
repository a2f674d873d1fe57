//! The Redis backend: the conformance suite on a single server, by sentinels,
//! on a cluster, with TLS, by the socket, and where scripts are forbidden.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use dogpile::__bridge::poll_blocking;
use dogpile::backend::inspect::Clear;
use dogpile::backend::{
    AnyBackend, Backend, BackendError, ClaimMode, Claimed, Commit, Redis, Seen, Wanted,
};
use dogpile::invalidation::SharedInvalidation;
use dogpile::lock::{AnyMutex, KeyedLock, KeyedMutex, Lease};
use dogpile::proxy::{Layer, Proxy, Transform, Transforming};
use dogpile::value::Entry;
use dogpile::{Config, Region};
use dogpile_servers::{RedisCluster, RedisSentinels, RedisServer, Tls, free_port};
use dogpile_testkit::conformance;
use dogpile_testkit::conformance::Fixture;
use dogpile_testkit::{Fault, Faults, Operation};

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

/// A user of the server who may use keys that begin with `app:`, and no others.
fn confined() -> String {
    static CONFINED: LazyLock<RedisServer> = LazyLock::new(|| {
        let server = RedisServer::start();
        let rule = "ACL SETUSER app on >secret ~app:* &* +@all";
        assert!(server.ask(rule).contains("OK"));
        server
    });
    format!("redis://app:secret@127.0.0.1:{}?key_prefix=app:", CONFINED.port())
}

conformance!(key_prefix, async || fixture(&confined()));

conformance!(key_prefix_on_a_cluster, async || {
    fixture(&format!("{}?key_prefix=app:", CLUSTER.url()))
});

conformance!(cluster_without_locks, async || without_locks(&CLUSTER.url()));

/// A server on which nobody may run scripts.
static PLAIN: LazyLock<RedisServer> = LazyLock::new(|| {
    let server = RedisServer::start();
    assert!(server.ask("ACL SETUSER default -@scripting").contains("OK"));
    server
});

conformance!(plain_without_locks, async || without_locks(&PLAIN.url()));

conformance!(socket, async || fixture(&SINGLE.socket_url()));

/// Reads on threads of no runtime, as blocking callers do.
struct OnAThread;

fn on_a_thread<T: Send>(work: impl Future<Output = T> + Send) -> T {
    let wait = || {
        let mut work = pin!(work);
        pollster::block_on(poll_fn(|context| {
            poll_blocking(context.waker(), |context| work.as_mut().poll(context))
        }))
    };
    std::thread::scope(|scope| scope.spawn(wait).join().unwrap())
}

impl Proxy for OnAThread {
    async fn get(&self, next: &AnyBackend, key: &str) -> Result<Option<Entry>, BackendError> {
        on_a_thread(next.get(key))
    }

    async fn get_multi(
        &self,
        next: &AnyBackend,
        keys: &[&str],
    ) -> Result<Vec<Option<Entry>>, BackendError> {
        on_a_thread(next.get_multi(keys))
    }
}

conformance!(blocking_callers, async || {
    let open = || {
        let backend = open(&SINGLE.url());
        // So many that the next one counts as alone.
        (0..20).for_each(|_| drop(on_a_thread(backend.get("absent")).unwrap()));
        OnAThread.layer(backend)
    };
    Fixture::from(open()).with_peer(open())
});

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
            let strategy = SharedInvalidation::new(open(&url), "told", Duration::from_secs(3_600));
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
            here.invalidate_all().await.unwrap();
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
            here.invalidate_all().await.unwrap();
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
        here.invalidate_all().await.unwrap();
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

/// A process whose look at the moments is lost, and whose next request is answered, does not
/// take a value for valid that another process has invalidated.
#[tokio::test]
async fn a_look_that_was_lost_is_taken_again() {
    let faults = Faults::new();
    let region = |backend: AnyBackend| {
        let region = Region::new("unjudged");
        let strategy = SharedInvalidation::new(backend.clone(), "unjudged", Duration::ZERO);
        region.configure(Config::over(backend).invalidation(Arc::new(strategy))).unwrap();
        region
    };
    let (there, here) = (open(&SINGLE.url()), faults.clone().layer(open(&SINGLE.url())));
    let (there, here) = (region(there), region(here));
    let invalidated = async || {
        here.set("k", &1_u32).await.unwrap();
        there.invalidate_all().await.unwrap();
        faults.next(Operation::Get, Fault::Unavailable, 1);
    };
    invalidated().await;
    assert_eq!(here.get::<u32>("k").await.unwrap(), None);
    invalidated().await;
    assert_eq!(here.get_multi::<u32, _>(["k", "l"]).await.unwrap(), [None, None]);
    invalidated().await;
    assert_eq!(here.get_or_create("k", async || 3_u32).await, 3);
    assert_eq!(there.get::<u32>("k").await.unwrap(), Some(3));
    assert_eq!(faults.injected(), 3);
}

/// Two programs with prefixes of their own share a server, and neither sees the other's keys.
#[tokio::test]
async fn key_prefixes_keep_programs_apart() {
    let server = RedisServer::start();
    let open = |prefix| Redis::builder(&server.url()).unwrap().key_prefix(prefix).open().unwrap();
    let [app, other] = ["app:", "other:"].map(open);
    let region = |backend: &Redis| {
        let region = Region::new("users");
        region.configure(Config::new(backend.clone())).unwrap();
        region
    };
    let (here, there) = (region(&app), region(&other));
    here.set("42", &1_u32).await.unwrap();
    there.set("42", &2_u32).await.unwrap();
    here.expire_all().await.unwrap();
    assert_eq!(there.get::<u32>("42").await.unwrap(), Some(2));
    let names = async |backend: &Redis| {
        let page = backend.inspect().unwrap().keys(b"", None, 100).await.unwrap();
        let mut keys: Vec<_> = page.keys.into_iter().map(|info| info.key.to_string()).collect();
        keys.sort();
        keys
    };
    assert_eq!(names(&app).await, ["_invalidation:users", "users:42"]);
    assert_eq!(names(&other).await, ["users:42"]);
    assert!(server.ask("EXISTS app:users:42 other:users:42").contains(":2"));
    app.inspect().unwrap().clear(Clear::default()).await.unwrap();
    assert_eq!(names(&app).await, [""; 0]);
    assert_eq!(there.get::<u32>("42").await.unwrap(), Some(2));
    for wrong in ["white space", "a{b"] {
        let told = Redis::builder(&server.url()).unwrap().key_prefix(wrong).open().unwrap_err();
        assert!(told.to_string().contains(wrong), "{told}");
    }
}

/// A value under a lock's key would hold the lock for ever.
#[tokio::test]
async fn keys_of_locks_and_marks_are_refused() {
    let region = Region::new("own keys");
    region.configure(Config::new(Redis::open(&SINGLE.url()).unwrap()).shared_keys()).unwrap();
    for key in ["_lockrow", "_mark{row}"] {
        let told = region.set(key, &1_u32).await.unwrap_err().to_string();
        assert!(told.contains("locks and marks"), "{told}");
        let created = region.entry(key).strict().get_or_create(async || 1_u32).await;
        assert!(created.is_err(), "{key}");
    }
    assert_eq!(region.entry("row").strict().get_or_create(async || 2_u32).await.unwrap(), 2);
    assert_eq!(region.get::<u32>("row").await.unwrap(), Some(2));
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

async fn win(backend: &AnyBackend, key: &str) -> Lease {
    let wanted = Wanted::new(key, ClaimMode::Create(Seen::Nothing));
    match backend.claim(vec![wanted]).await.unwrap().pop() {
        Some(Claimed::Won(lease)) => lease,
        other => panic!("{other:?}"),
    }
}

async fn commit(backend: &AnyBackend, key: &str, lease: Lease) -> bool {
    let entry = Some(Entry::bytes("value", 1_763_700_000.5));
    backend.commit(vec![Commit { key, entry, lease }]).await.unwrap() == [true]
}

/// Nothing may be stored yet under a key that is being created.
#[tokio::test]
async fn clearing_ends_claims_of_what_is_cleared() {
    for url in [SINGLE.url(), CLUSTER.url()] {
        let backend = open(&url);
        for key in ["pre:k", "pre:{tag}k"] {
            let (cleared, other) = (win(&backend, key).await, win(&backend, "post:k").await);
            let what = Clear { prefix: b"pre:", all: false };
            open(&url).inspect().unwrap().clear(what).await.unwrap();
            assert!(!commit(&backend, key, cleared).await, "{key}");
            assert!(backend.get(key).await.unwrap().is_none());
            assert!(commit(&backend, "post:k", other).await);
            backend.delete("post:k").await.unwrap();
        }
    }
}

/// Brings another mutex, or none.
struct Locking(Option<AnyMutex>);

impl Proxy for Locking {
    fn mutex(&self, _next: &AnyBackend) -> Option<AnyMutex> {
        self.0.clone()
    }
}

#[tokio::test]
async fn a_proxy_without_the_servers_locks_stores_nothing_over_a_change() {
    for mutex in [None, Some(AnyMutex::new(KeyedMutex::new()))] {
        let layered = || Locking(mutex.clone()).layer(open(&SINGLE.url()));
        let (backend, peer) = (layered(), layered());
        let key = "other locks";
        let lease = win(&backend, key).await;
        peer.delete(key).await.unwrap();
        assert!(!commit(&backend, key, lease).await);
        assert!(peer.get(key).await.unwrap().is_none());
        let lease = win(&backend, key).await;
        assert!(commit(&backend, key, lease).await);
        peer.delete(key).await.unwrap();
    }
}

/// Has values expire earlier.
struct Aging;

impl Transform for Aging {
    fn name(&self) -> &'static str {
        "aging"
    }

    fn read(&self, _key: &str, mut entry: Entry) -> Entry {
        entry.metadata.ct -= 60.0;
        entry
    }
}

impl Proxy for Aging {
    async fn get(&self, next: &AnyBackend, key: &str) -> Result<Option<Entry>, BackendError> {
        let entry = next.get(key).await?;
        Ok(entry.map(|entry| Transform::read(self, key, entry)))
    }
}

#[tokio::test]
async fn a_value_that_is_shown_as_older_can_be_created_again() {
    let config = || Config::over(open(&SINGLE.url())).expiration(Duration::from_secs(30));
    for config in [config().proxy(Transforming(Aging)), config().proxy(Aging)] {
        let region = Region::new("aged");
        region.configure(config).unwrap();
        region.set("k", &1).await.unwrap();
        let created = region.get_or_create("k", async || 2);
        let created = tokio::time::timeout(Duration::from_secs(10), created).await;
        assert_eq!(created.expect("it ends"), 2);
    }
}

/// Values have a time to live, the moments of invalidations have none.
#[tokio::test]
async fn an_invalidation_outlives_the_creations_that_it_is_about() {
    let region = || {
        let builder = Redis::builder(&SINGLE.url()).unwrap();
        let region = Region::new("short lives");
        let retention = Duration::from_millis(500);
        region.configure(Config::new(builder.retention(retention).open().unwrap())).unwrap();
        region
    };
    let (here, there) = (region(), region());
    let creator = async || {
        there.invalidate_all().await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        1
    };
    assert_eq!(here.get_or_create("k", creator).await, 1);
    assert_eq!(here.get::<i32>("k").await.unwrap(), None);
}

/// A time to live that ends is no change, and hides none.
#[tokio::test]
async fn a_creation_is_stored_also_if_the_value_before_has_ended() {
    let open = |url: &str| {
        let builder = Redis::builder(url).unwrap().retention(Duration::from_millis(200));
        AnyBackend::new(builder.open().unwrap())
    };
    for url in [SINGLE.url(), CLUSTER.url(), PLAIN.url()] {
        let backend = open(&url);
        let mut leases = Vec::new();
        for key in ["ended", "ended and deleted"] {
            let entry = Entry::bytes("before", 1_763_700_000.0);
            backend.set(key, entry.clone()).await.unwrap();
            let wanted = Wanted::new(key, ClaimMode::Create(Seen::of(Some(&entry))));
            match backend.claim(vec![wanted]).await.unwrap().pop() {
                Some(Claimed::Won(lease)) => leases.push(lease),
                other => panic!("{url}: {other:?}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(400)).await;
        open(&url).delete("ended and deleted").await.unwrap();
        assert!(!commit(&backend, "ended and deleted", leases.pop().unwrap()).await, "{url}");
        assert!(commit(&backend, "ended", leases.pop().unwrap()).await, "{url}");
    }
}

/// Before its time to live has ended, somebody else has removed the value that is gone.
#[tokio::test]
async fn a_removal_by_another_program_ends_the_creation() {
    let builder = Redis::builder(&SINGLE.url()).unwrap().retention(Duration::from_secs(60));
    let backend = AnyBackend::new(builder.open().unwrap());
    let entry = Entry::bytes("before", 1_763_700_000.0);
    backend.set("plainly-removed", entry.clone()).await.unwrap();
    let wanted = Wanted::new("plainly-removed", ClaimMode::Create(Seen::of(Some(&entry))));
    let Some(Claimed::Won(lease)) = backend.claim(vec![wanted]).await.unwrap().pop() else {
        panic!("it was not won");
    };
    assert!(SINGLE.ask("DEL plainly-removed").contains(":1"));
    assert!(!commit(&backend, "plainly-removed", lease).await);
}

/// A value that is to be marked as expired does not come back if somebody removes it meanwhile;
/// one that was created anew does.
#[tokio::test]
async fn a_value_removed_by_another_program_is_not_marked_as_expired() {
    for (server, name) in [(&SINGLE, "scripts"), (&PLAIN, "no scripts")] {
        let backend = AnyBackend::new(Redis::open(&server.url()).unwrap());
        for (mode, comes_back) in [(ClaimMode::Expire, false), (ClaimMode::Refresh, true)] {
            let key = &format!("gone-while-{comes_back}");
            backend.set(key, Entry::bytes("before", 1_763_700_000.0)).await.unwrap();
            let claimed = backend.claim(vec![Wanted::new(key, mode)]).await.unwrap().pop();
            let Some(Claimed::Won(lease)) = claimed else { panic!("{claimed:?}") };
            assert!(server.ask(&format!("DEL {key}")).contains(":1"));
            assert_eq!(commit(&backend, key, lease).await, comes_back, "{name}, {mode:?}");
            let found = backend.get(key).await.unwrap();
            assert_eq!(found.is_some(), comes_back, "{name}, {mode:?}");
        }
    }
}
