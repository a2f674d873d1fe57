//! The cryptography of connections with TLS: nothing is installed for the process, and what
//! the application has installed is used. One test, since a process installs once.

use std::sync::atomic::{AtomicUsize, Ordering};

use dogpile::backend::{Backend, Redis};
use dogpile::value::Entry;
use dogpile_servers::{RedisServer, Tls, free_port};
use rustls::crypto::{CryptoProvider, GetRandomFailed, SecureRandom, ring};

/// The application's source of random bytes, which counts who asks.
#[derive(Debug)]
struct Counted;

static ASKED: AtomicUsize = AtomicUsize::new(0);

impl SecureRandom for Counted {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        ASKED.fetch_add(1, Ordering::SeqCst);
        ring::default_provider().secure_random.fill(bytes)
    }
}

async fn use_once(tls: &Tls, port: u16) {
    let builder = Redis::builder(&format!("rediss://127.0.0.1:{port}")).unwrap();
    let builder = builder.tls_root(&tls.read("ca.pem"));
    let builder = builder.tls_client(&tls.read("client.pem"), &tls.read("client.key"));
    let redis = builder.open().unwrap();
    redis.set("k", Entry::bytes("v", 1.0)).await.unwrap();
    assert!(redis.get("k").await.unwrap().is_some());
    // Waiting has a connection of its own, by the protocol's next version.
    let mutex = redis.mutex().unwrap();
    let lease = dogpile::lock::KeyedLock::try_lock(&mutex, "k").await.unwrap().unwrap();
    let waiting = dogpile::lock::KeyedLock::wait(&mutex, "k");
    let unlocking = dogpile::lock::KeyedLock::unlock(&mutex, lease);
    let (waited, unlocked) = tokio::join!(waiting, unlocking);
    assert!(waited.is_ok() && unlocked.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cryptography_of_the_process_is_the_applications() {
    let (tls, port) = (Tls::new(), free_port());
    let options = tls.options(port);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let _server = RedisServer::with(&options);

    use_once(&tls, port).await;
    assert!(CryptoProvider::get_default().is_none());

    let own = CryptoProvider { secure_random: &Counted, ..ring::default_provider() };
    own.install_default().expect("nobody was faster");
    use_once(&tls, port).await;
    assert!(ASKED.load(Ordering::SeqCst) > 0, "it is not used");
}
