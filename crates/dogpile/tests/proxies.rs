//! Proxies (contract 8): what they change in the store, and that callers never
//! see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dogpile::backend::{AnyBackend, Backend, BackendError, Memory, SerializedMemory};
use dogpile::proxy::{
    Algorithm, Compression, Encryption, EncryptionKey, KeyPrefix, Layer, Operations, Proxy,
};
use dogpile::value::{Entry, Payload};
use dogpile::{Config, Region};

fn over(backend: AnyBackend) -> Region {
    let region = Region::new("proxied");
    region.configure(Config::over(backend)).unwrap();
    region
}

async fn stored(region: &Region, key: &str) -> Entry {
    let backend = region.backend().unwrap();
    let actual = backend.actual::<SerializedMemory>().unwrap();
    Backend::get(actual, key).await.unwrap().unwrap()
}

fn size(entry: &Entry) -> usize {
    entry.payload.size().unwrap()
}

#[tokio::test]
async fn the_last_proxy_added_is_outermost() {
    let region = Region::new("order");
    let config = Config::new(SerializedMemory::new(10));
    region.configure(config.proxy(KeyPrefix::new("a:")).proxy(KeyPrefix::new("b:"))).unwrap();
    region.set("k", &1).await.unwrap();
    stored(&region, "a:b:k").await;
}

#[tokio::test]
async fn proxies_that_are_added_at_the_same_time_are_all_there() {
    const AT_ONCE: usize = 4;
    for _ in 0..100 {
        let region = over(AnyBackend::new(SerializedMemory::new(10)));
        let start = std::sync::Barrier::new(AT_ONCE);
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    start.wait();
                    region.add_proxy(KeyPrefix::new("x:")).unwrap();
                });
            }
        });
        region.set("k", &1).await.unwrap();
        stored(&region, "x:x:x:x:k").await;
    }
}

#[tokio::test]
async fn compression_is_for_large_values_and_undone_on_reading() {
    for algorithm in [Algorithm::Zstd(3), Algorithm::Lz4] {
        let backend = AnyBackend::new(SerializedMemory::new(100));
        let region = over(Compression::new(algorithm).layer(backend));
        let (small, large) = ("x".repeat(100), "abcdefgh".repeat(10_000));
        region.set("small", &small).await.unwrap();
        region.set_multi([("large", &large)]).await.unwrap();
        assert_eq!(size(&stored(&region, "small").await), 102, "{algorithm:?}");
        let entry = stored(&region, "large").await;
        assert!(size(&entry) < 8_000, "{algorithm:?}: {}", size(&entry));
        assert!(entry.metadata.extra("z").is_some());
        let found = region.get_multi::<String, _>(["small", "large"]).await.unwrap();
        assert_eq!(found, [Some(small), Some(large)]);
    }
}

#[tokio::test]
async fn what_was_written_without_compression_or_otherwise_is_read() {
    let memory = Arc::new(SerializedMemory::new(100));
    let plain = over(AnyBackend::new(Shared(memory.clone())));
    let zstd =
        over(Compression::new(Algorithm::Zstd(1)).layer(AnyBackend::new(Shared(memory.clone()))));
    let lz4 = over(Compression::new(Algorithm::Lz4).layer(AnyBackend::new(Shared(memory))));
    let value = "words ".repeat(1_000);
    plain.set("plain", &value).await.unwrap();
    zstd.set("zstd", &value).await.unwrap();
    for key in ["plain", "zstd"] {
        assert_eq!(lz4.get::<String>(key).await.unwrap().as_ref(), Some(&value));
    }
    assert_eq!(plain.get::<String>("zstd").await.unwrap(), None, "unreadable is absent");
    assert_eq!(plain.get_or_create("zstd", async || "new".to_owned()).await, "new");
}

/// A memory backend that several regions share.
struct Shared(Arc<SerializedMemory>);

impl Backend for Shared {
    type Keeps = dogpile::backend::KeepsBytes;

    async fn get(&self, key: &str) -> Result<Option<Entry>, BackendError> {
        Backend::get(&*self.0, key).await
    }

    async fn set(&self, key: &str, entry: Entry) -> Result<(), BackendError> {
        Backend::set(&*self.0, key, entry).await
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        Backend::delete(&*self.0, key).await
    }
}

#[tokio::test]
async fn a_decompression_bomb_is_a_miss() {
    let memory = Arc::new(SerializedMemory::new(100));
    let compressing = |max| {
        let backend = AnyBackend::new(Shared(memory.clone()));
        over(Compression::new(Algorithm::Zstd(3)).max_size(max).layer(backend))
    };
    compressing(100 << 20).set("bomb", &"0".repeat(50 << 20)).await.unwrap();
    assert_eq!(compressing(1 << 20).get::<String>("bomb").await.unwrap(), None);
}

#[tokio::test]
async fn encrypted_values_show_nothing_and_cannot_be_moved_aged_or_forged() {
    let key = || EncryptionKey::new("2026", &[9; 32]);
    let memory = Arc::new(SerializedMemory::new(100));
    let shared = || AnyBackend::new(Shared(memory.clone()));
    let region = over(Encryption::new(key()).layer(shared()));
    region.set("k", &"top secret".to_owned()).await.unwrap();
    assert_eq!(region.get::<String>("k").await.unwrap().as_deref(), Some("top secret"));

    let entry = shared().get("k").await.unwrap().unwrap();
    let Payload::Bytes(bytes) = &entry.payload else { panic!("bytes") };
    assert!(!bytes.windows(6).any(|window| window == b"secret"));

    let mut younger = entry.clone();
    younger.metadata.ct += 1.0;
    let mut torn = bytes.to_vec();
    *torn.last_mut().unwrap() ^= 1;
    let torn = Entry { payload: Payload::Bytes(torn.into()), metadata: entry.metadata.clone() };
    let short = Entry { payload: Payload::Bytes(bytes.slice(..10)), ..entry.clone() };
    let plain = Entry::bytes(b"\"forged\"".to_vec(), entry.metadata.ct);
    let forgeries = [("moved", entry), ("k", younger), ("k", torn), ("k", short), ("k", plain)];
    for (place, forgery) in forgeries {
        shared().set(place, forgery).await.unwrap();
        assert_eq!(region.get::<String>(place).await.unwrap(), None, "{place}");
        assert_eq!(region.get_or_create(place, async || "again".to_owned()).await, "again");
    }
    assert!(!format!("{:?}", key()).contains('9'));
}

#[tokio::test]
async fn encryption_keys_can_be_rotated() {
    let [old, new] =
        [("old", 1), ("new", 2)].map(|(name, byte)| EncryptionKey::new(name, &[byte; 32]));
    let memory = Arc::new(SerializedMemory::new(100));
    let region =
        |encryption: Encryption| over(encryption.layer(AnyBackend::new(Shared(memory.clone()))));
    region(Encryption::new(old.clone())).set("k", &1).await.unwrap();
    let rotated = region(Encryption::new(new.clone()).also_read(old));
    assert_eq!(rotated.get("k").await.unwrap(), Some(1));
    rotated.set("k", &2).await.unwrap();
    assert_eq!(region(Encryption::new(new)).get("k").await.unwrap(), Some(2));
}

#[tokio::test]
async fn live_objects_pass_compression_and_encryption_untouched() {
    let backend = AnyBackend::new(Memory::new(10));
    let backend = Compression::new(Algorithm::Lz4).min_size(0).layer(backend);
    let region = over(Encryption::new(EncryptionKey::new("k", &[0; 32])).layer(backend));
    region.set("k", &"x".repeat(10_000)).await.unwrap();
    assert_eq!(region.get::<String>("k").await.unwrap().unwrap().len(), 10_000);
}

/// Replaces whatever is written by something else.
struct Vandal;

fn vandalized(entry: &Entry) -> Entry {
    Entry::bytes(b"\"vandalized\"".to_vec(), entry.metadata.ct)
}

impl Proxy for Vandal {
    async fn set(&self, next: &AnyBackend, key: &str, entry: Entry) -> Result<(), BackendError> {
        next.set(key, vandalized(&entry)).await
    }

    async fn set_multi(
        &self,
        next: &AnyBackend,
        entries: &[(&str, Entry)],
    ) -> Result<(), BackendError> {
        let entries: Vec<_> =
            entries.iter().map(|(key, entry)| (*key, vandalized(entry))).collect();
        next.set_multi(&entries).await
    }
}

#[tokio::test]
async fn a_proxy_that_changes_what_is_written_does_not_change_what_callers_get() {
    let region = over(Vandal.layer(AnyBackend::new(SerializedMemory::new(10))));
    let made = region.get_or_create_multi(["a", "b"], async |keys: Vec<String>| keys).await;
    assert_eq!(made.unwrap(), ["a", "b"]);
    assert_eq!(region.get_or_create("c", async || "c".to_owned()).await, "c");
    assert_eq!(region.get::<String>("a").await.unwrap().as_deref(), Some("vandalized"));
}

/// Overrides `get` alone, and counts.
struct Watched(Arc<AtomicUsize>);

impl Proxy for Watched {
    async fn get(&self, next: &AnyBackend, key: &str) -> Result<Option<Entry>, BackendError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        next.get(key).await
    }
}

#[tokio::test]
async fn an_overridden_get_is_never_bypassed() {
    let watched = Arc::new(AtomicUsize::new(0));
    let region = over(Watched(watched.clone()).layer(AnyBackend::new(Memory::new(10))));
    region.get_or_create("k", async || 1).await;
    let after_miss = watched.load(Ordering::SeqCst);
    region.get_or_create("k", async || 1).await;
    region.get::<i32>("k").await.unwrap();
    assert_eq!(after_miss, 1);
    assert_eq!(watched.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn operations_are_counted_failures_too() {
    let operations = Operations::default();
    let faults = dogpile_testkit::Faults::new();
    let backend = faults.clone().layer(AnyBackend::new(Memory::new(10)));
    let region = over(operations.clone().layer(backend));
    region.set("k", &1).await.unwrap();
    region.get::<i32>("k").await.unwrap();
    region.delete("k").await.unwrap();
    faults.down();
    assert!(region.get_multi::<i32, _>(["k"]).await.is_err());
    let counts = operations.counts();
    assert_eq!((counts.set, counts.get, counts.delete, counts.get_multi), (1, 1, 1, 1));
    assert_eq!(counts.failed, 1);
}
