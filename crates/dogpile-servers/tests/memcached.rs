//! The memcached backend: the conformance suite on one server, on two, by the
//! socket, by the binary protocol, with TLS, and with both kinds of login.

use std::fs;
use std::sync::LazyLock;

use dogpile::backend::{AnyBackend, Memcached, MemcachedBuilder};
use dogpile_servers::{MemcachedServer, MemcachedSocket, Tls};
use dogpile_testkit::conformance;
use dogpile_testkit::conformance::Fixture;

static ONE: LazyLock<MemcachedServer> = LazyLock::new(MemcachedServer::start);
static OTHER: LazyLock<MemcachedServer> = LazyLock::new(MemcachedServer::start);
static SOCKET: LazyLock<MemcachedSocket> = LazyLock::new(MemcachedSocket::start);

/// Two clients of the same servers, as two processes are.
fn fixture(builder: impl Fn() -> MemcachedBuilder) -> Fixture {
    let open = || AnyBackend::new(builder().open().unwrap());
    Fixture::from(open()).with_peer(open())
}

fn at(url: &str) -> MemcachedBuilder {
    Memcached::builder(url).unwrap()
}

conformance!(one_server, async || fixture(|| at(&ONE.url())));

conformance!(two_servers, async || {
    fixture(|| at(&format!("memcached://{},{}", ONE.address(), OTHER.address())))
});

conformance!(several_connections, async || fixture(|| at(&ONE.url()).connections(4)));

conformance!(without_locks, async || fixture(|| at(&ONE.url()).creation_locks(false)));

conformance!(key_prefix, async || {
    fixture(|| at(&format!("memcached://{},{}", ONE.address(), OTHER.address())).key_prefix("app:"))
});

conformance!(socket, async || fixture(|| at(&SOCKET.url())));

conformance!(binary, async || { fixture(|| at(&format!("memcached+binary://{}", ONE.address()))) });

conformance!(compressed, async || fixture(|| at(&ONE.url()).min_compress_bytes(100)));

static SASL: LazyLock<MemcachedServer> = LazyLock::new(MemcachedServer::with_sasl);

conformance!(sasl, async || {
    fixture(|| at(&format!("memcached+binary://app:secret@{}", SASL.address())))
});

/// A server with certificates, and its `--auth-file`.
struct Guarded {
    tls: Tls,
    server: MemcachedServer,
}

static GUARDED: LazyLock<Guarded> = LazyLock::new(|| {
    let tls = Tls::new();
    let users = tls.path("users");
    fs::write(&users, "app:secret\n").unwrap();
    let path = |name: &str| tls.path(name).display().to_string();
    let certificate = format!("ssl_chain_cert={}", path("server.pem"));
    let key = format!("ssl_key={}", path("server.key"));
    let authority = format!("ssl_ca_cert={}", path("ca.pem"));
    let server = MemcachedServer::with(&[
        "-Z",
        "-Y",
        &users.display().to_string(),
        "-o",
        &certificate,
        "-o",
        &key,
        "-o",
        &authority,
        "-o",
        "ssl_verify_mode=2",
    ]);
    Guarded { tls, server }
});

fn guarded(password: &str) -> MemcachedBuilder {
    let tls = &GUARDED.tls;
    let builder = at(&format!("memcacheds://app:{password}@{}", GUARDED.server.address()));
    let builder = builder.tls_root(&tls.read("ca.pem"));
    builder.tls_client(&tls.read("client.pem"), &tls.read("client.key"))
}

conformance!(tls_and_auth_file, async || fixture(|| guarded("secret")));

#[tokio::test]
async fn a_wrong_password_or_authority_is_told() {
    let told = async |builder: MemcachedBuilder| {
        AnyBackend::new(builder.open().unwrap()).get("k").await.unwrap_err().to_string()
    };
    let wrong = told(guarded("wrong")).await;
    assert!(wrong.contains("refuses the user name and password"), "{wrong}");
    let sasl = told(at(&format!("memcached+binary://app:wrong@{}", SASL.address()))).await;
    assert!(sasl.contains("refuses the user name and password"), "{sasl}");
    let strange = at(&format!("memcacheds://{}", GUARDED.server.address()));
    let strange = told(strange.tls_root(&Tls::new().read("ca.pem"))).await;
    assert!(strange.contains("certificate"), "{strange}");
    let plain = told(at(&format!("memcached+binary://{}", GUARDED.server.address()))).await;
    assert!(plain.contains("127.0.0.1"), "{plain}");
}

/// Certificates without TLS are a mistake that is told at once.
#[test]
fn certificates_for_an_address_without_tls_are_refused() {
    let root = Tls::new().read("ca.pem");
    let told = at("memcached://127.0.0.1").tls_root(&root).open().unwrap_err().to_string();
    assert!(told.contains("`memcacheds`"), "{told}");
    assert!(at("memcached://127.0.0.1").tls_root(&root).tls().open().is_ok());
}
