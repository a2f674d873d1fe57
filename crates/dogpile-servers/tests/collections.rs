//! Collections: the conformance suite over every store, and what is particular to
//! some.

use std::sync::LazyLock;

use dogpile::backend::{AnyBackend, File, Redis};
use dogpile_servers::{RedisCluster, RedisSentinels, RedisServer};
use dogpile_testkit::collections_conformance;
use dogpile_testkit::conformance::Fixture;
use tempfile::TempDir;

static SINGLE: LazyLock<RedisServer> = LazyLock::new(RedisServer::start);
static SENTINELS: LazyLock<RedisSentinels> = LazyLock::new(RedisSentinels::start);
static CLUSTER: LazyLock<RedisCluster> = LazyLock::new(RedisCluster::start);

fn redis(url: &str) -> Fixture {
    let open = || AnyBackend::new(Redis::open(url).unwrap());
    Fixture::from(open()).with_peer(open())
}

static FILES: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().unwrap());

collections_conformance!(file, async || {
    let path = FILES.path().join("shared.db");
    let open = || AnyBackend::new(File::open(&path).unwrap());
    Fixture::from(open()).with_peer(open())
});

collections_conformance!(single, async || redis(&SINGLE.url()));

collections_conformance!(sentinel, async || redis(&SENTINELS.url()));

collections_conformance!(cluster, async || redis(&CLUSTER.url()));

collections_conformance!(key_prefix, async || {
    static CONFINED: LazyLock<RedisServer> = LazyLock::new(RedisServer::start);
    assert!(CONFINED.ask("ACL SETUSER app on >secret ~app:* &* +@all").contains("OK"));
    redis(&format!("redis://app:secret@127.0.0.1:{}?key_prefix=app:", CONFINED.port()))
});

collections_conformance!(existing_connection, async || {
    let client = redis::Client::open(SINGLE.url()).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let backend = Redis::existing(connection).open().unwrap();
    Fixture::from(AnyBackend::new(backend)).with_peer(Redis::open(&SINGLE.url()).unwrap().into())
});

collections_conformance!(no_scripts, async || {
    static SERVER: LazyLock<RedisServer> = LazyLock::new(|| {
        let server = RedisServer::start();
        let rule = "ACL SETUSER app on >secret ~* &* +@all -@scripting";
        assert!(server.ask(rule).contains("OK"));
        server
    });
    redis(&SERVER.url().replace("//", "//app:secret@"))
});
