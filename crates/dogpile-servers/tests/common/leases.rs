//! Leases over servers: nothing stays locked for longer than somebody creates, and nothing
//! is lost while somebody does.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use dogpile::backend::AnyBackend;
use dogpile::lock::KeyedLock;
use dogpile::{Config, Region};
use dogpile_testkit::tcp::{Condition, Proxy};

use super::faults::eventually;

/// Opens the server at a port of this machine, with locks of this lease.
pub(crate) type Open = fn(u16, Duration) -> AnyBackend;

/// Nobody waits so long for a lease to end.
pub(crate) const LONG: Duration = Duration::from_secs(3_600);

/// A network in which requests can be caught on their way.
const SLOW: Duration = Duration::from_millis(4);

fn over(backend: AnyBackend) -> Arc<Region> {
    let region = Region::new("leases");
    region.configure(Config::over(backend).shared_keys()).unwrap();
    Arc::new(region)
}

/// Calls that are dropped at any moment of their way.
pub(crate) async fn cancelled_calls_leave_nothing_locked(port: u16, open: Open) {
    let proxy = Proxy::to(port);
    let (cancelled, others) = (open(proxy.port(), LONG), open(port, LONG));
    let (region, others) = (over(cancelled.clone()), others.mutex().unwrap());
    let mutex = cancelled.mutex().unwrap();
    region.set("warm-up", &1).await.unwrap();
    proxy.set(Condition::Slow(SLOW));
    let mut keys = Vec::new();
    for after in (0..40).map(Duration::from_millis) {
        let key = format!("call-{}", after.as_millis());
        let creator = async || std::future::pending::<u32>().await;
        let call = region.get_or_create(&key, creator);
        tokio::time::timeout(after, call).await.expect_err("it never ends by itself");
        keys.push(key);
    }
    for after in (0..20).map(Duration::from_millis) {
        let key = format!("lock-{}", after.as_millis());
        drop(tokio::time::timeout(after, mutex.try_lock(&key)).await);
        keys.push(key);
    }
    for key in keys {
        let free = async || !others.is_locked(&key).await.unwrap();
        eventually(&format!("freeing {key}"), free).await;
    }
}

/// A call for two keys waits for both. It is told of the second while it creates the first,
/// and must not keep what it won of it without knowing.
pub(crate) async fn a_call_for_two_keys_keeps_nothing_locked(port: u16, open: Open) {
    let proxy = Proxy::to(port);
    let (waiting, holder) = (over(open(proxy.port(), LONG)), open(port, LONG).mutex().unwrap());
    waiting.set("warm-up", &1).await.unwrap();
    proxy.set(Condition::Slow(SLOW));
    for gap in 0..40 {
        let keys = [format!("{gap}-one"), format!("{gap}-two")];
        let mut leases = Vec::new();
        for key in &keys {
            leases.push(holder.try_lock(key).await.unwrap().expect("it is free"));
        }
        let creator = async |wanted: Vec<String>| wanted.iter().map(String::len).collect();
        let call = waiting.get_or_create_multi(&keys, creator);
        let release = async {
            // Until it waits for both.
            tokio::time::sleep(10 * SLOW).await;
            for lease in leases {
                holder.unlock(lease).await.unwrap();
                tokio::time::sleep(Duration::from_millis(gap)).await;
            }
        };
        let both = async { tokio::join!(call, release) };
        let (made, ()) = tokio::time::timeout(Duration::from_secs(30), both)
            .await
            .expect("it waits for a lease");
        assert_eq!(made.unwrap(), [keys[0].len(), keys[1].len()]);
    }
}

/// Creators block every thread of their runtime for longer than the lease: who waits in
/// another process does not create meanwhile.
pub(crate) fn blocked_workers_keep_their_leases(port: u16, open: Open) {
    // It is extended each third of it: a busy machine may be late by a second.
    const LEASE: Duration = Duration::from_secs(2);
    const KEYS: [&str; 2] = ["blocked-one", "blocked-two"];
    let runtime = |workers| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(workers).enable_all().build().unwrap()
    };
    let (blocked, other) = (runtime(2), runtime(1));
    let (here, there) = (over(open(port, LEASE)), over(open(port, LEASE)));
    let begun = Arc::new(AtomicUsize::new(0));
    // The connection is driven by the runtime that it is first used on.
    blocked.block_on(async { here.set("warm-up", &1).await.unwrap() });
    let creations = KEYS.map(|key| {
        let (here, begun) = (here.clone(), begun.clone());
        blocked.spawn(async move {
            let creator = async || {
                begun.fetch_add(1, Ordering::SeqCst);
                // No worker is left once both have begun.
                while begun.load(Ordering::SeqCst) < 2 {
                    std::thread::yield_now();
                }
                // memcached may keep a lock for two seconds longer.
                std::thread::sleep(2 * LEASE + Duration::from_secs(1));
                "first".to_owned()
            };
            here.get_or_create(key, creator).await
        })
    });
    other.block_on(async {
        eventually("creating", async || begun.load(Ordering::SeqCst) == 2).await;
        for key in KEYS {
            let value: String = there.get_or_create(key, async || "second".to_owned()).await;
            assert_eq!(value, "first", "{key} was created twice at a time");
        }
        for creation in creations {
            assert_eq!(creation.await.unwrap(), "first");
        }
    });
}

/// A server that takes connections and says nothing: those that led to nothing are closed.
pub(crate) async fn a_silent_server_is_left_alone(open: fn(u16) -> AnyBackend) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepted = Arc::new(StdMutex::new(Vec::new()));
    let accepting = accepted.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            stream.set_nonblocking(true).unwrap();
            accepting.lock().unwrap().push(stream);
        }
    });
    let backend = open(port);
    backend.get("k").await.unwrap_err();
    eventually("trying again", async || accepted.lock().unwrap().len() > 4).await;
    let is_closed = |stream: &std::net::TcpStream| {
        let mut greeting = [0; 4_096];
        loop {
            match std::io::Read::read(&mut &*stream, &mut greeting) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
            }
        }
    };
    let closed = async || accepted.lock().unwrap()[..4].iter().all(is_closed);
    eventually("closing what led to nothing", closed).await;
}
