//! Proxies: what they change in the store, and that callers never
//! see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dogpile::backend::{AnyBackend, Backend, BackendError, Memory, SerializedMemory};
use dogpile::codec::{Codec, CodecError};
use dogpile::proxy::{Algorithm, Compression, Encryption, EncryptionKey, KeyPrefix, Layer, Proxy};
use dogpile::value::{Entry, Payload};
use dogpile::{Config, Region};
use serde::Serialize;
use serde::de::DeserializeSeed;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

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

/// A codec that takes any bytes for a value.
struct Plain;

impl Codec for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Vec<u8>, CodecError> {
        let text: Value = serde_json::to_value(value).map_err(CodecError::new)?;
        Ok(text.as_str().unwrap_or_default().chars().map(|c| c as u8).collect())
    }

    fn decode<'de, S: DeserializeSeed<'de>>(
        &self,
        bytes: &'de [u8],
        target: S,
    ) -> Result<S::Value, CodecError> {
        let text: String = bytes.iter().copied().map(char::from).collect();
        target.deserialize(Value::String(text)).map_err(CodecError::new)
    }
}

#[tokio::test]
async fn what_a_proxy_has_changed_is_no_value_without_the_proxy() {
    let memory = Arc::new(SerializedMemory::new(100));
    let over = |layer: &dyn Fn(AnyBackend) -> AnyBackend| {
        let region = Region::new("proxied");
        let backend = layer(AnyBackend::new(Shared(memory.clone())));
        region.configure(Config::over(backend).codec(Plain)).unwrap();
        region
    };
    let plain = over(&|backend| backend);
    let compressing = over(&|backend| Compression::new(Algorithm::Lz4).layer(backend));
    let encrypting =
        over(&|backend| Encryption::new(EncryptionKey::new("one", &[1; 32])).layer(backend));
    let value = "abcdefgh".repeat(1_000);
    for region in [compressing, encrypting] {
        region.set("k", &value).await.unwrap();
        assert_eq!(region.get("k").await.unwrap().as_ref(), Some(&value));
        assert_eq!(plain.get::<String>("k").await.unwrap(), None);
    }
    assert_eq!(plain.statistics().unreadable, 2);
    plain.set("k", &value).await.unwrap();
    assert_eq!(plain.get("k").await.unwrap(), Some(value));
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
    assert_eq!(after_miss, 2, "it looks, and claims");
    assert_eq!(watched.load(Ordering::SeqCst), 4);
}

/// A creation of `k` under way in `region`, and the end of its creator.
async fn creation(region: Region) -> (Arc<Notify>, JoinHandle<i32>) {
    let (began, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (has_begun, may_end) = (began.clone(), go.clone());
    let creating = tokio::spawn(async move {
        let creator = async || {
            has_begun.notify_one();
            may_end.notified().await;
            1
        };
        region.get_or_create("k", creator).await
    });
    began.notified().await;
    (go, creating)
}

/// Returns what is stored after a creation through `proxy` that a removal came between.
async fn stored_after_a_removal(
    proxy: impl Layer,
    other: Option<&dyn Fn(Config) -> Config>,
) -> Option<i32> {
    let backend = AnyBackend::new(Memory::new(10));
    let region = Region::new("through");
    region.configure(Config::over(backend.clone()).proxy(proxy)).unwrap();
    let peer = Region::new("peer");
    let config = Config::over(backend);
    peer.configure(match other {
        Some(other) => other(config),
        None => config,
    })
    .unwrap();
    let (go, creating) = creation(region).await;
    peer.delete("k").await.unwrap();
    go.notify_one();
    assert_eq!(creating.await.unwrap(), 1, "its caller gets it");
    peer.get("k").await.unwrap()
}

/// Stores again what could not be stored, as often as it is told to fail.
struct Retrying(AtomicUsize);

impl Proxy for Retrying {
    async fn set(&self, next: &AnyBackend, key: &str, entry: Entry) -> Result<(), BackendError> {
        let stored = next.set(key, entry.clone()).await;
        if self.0.swap(0, Ordering::SeqCst) > 0 || stored.is_err() {
            return next.set(key, entry).await;
        }
        stored
    }
}

/// Fails so many times.
struct Failing(AtomicUsize);

impl Proxy for Failing {
    async fn set(&self, next: &AnyBackend, key: &str, entry: Entry) -> Result<(), BackendError> {
        if self.0.swap(0, Ordering::SeqCst) > 0 {
            return Err(BackendError::unavailable("once"));
        }
        next.set(key, entry).await
    }
}

struct Both(Failing, Retrying);

impl Layer for Both {
    fn layer(self, inner: AnyBackend) -> AnyBackend {
        self.1.layer(self.0.layer(inner))
    }
}

#[tokio::test]
async fn a_proxy_that_stores_again_stores_nothing_over_a_change() {
    let once = || AtomicUsize::new(1);
    assert_eq!(stored_after_a_removal(Retrying(once()), None).await, None);
    let both = Both(Failing(once()), Retrying(AtomicUsize::new(0)));
    assert_eq!(stored_after_a_removal(both, None).await, None);
}

/// Keeps a copy of what was stored last.
struct Copying;

impl Proxy for Copying {
    async fn set(&self, next: &AnyBackend, key: &str, entry: Entry) -> Result<(), BackendError> {
        next.set("last", entry.clone()).await?;
        next.set(key, entry).await
    }
}

#[tokio::test]
async fn a_claim_is_not_spent_on_another_key() {
    assert_eq!(stored_after_a_removal(Copying, None).await, None);
    let region = Region::new("copied");
    region.configure(Config::new(Memory::new(10)).proxy(Copying)).unwrap();
    assert_eq!(region.get_or_create("k", async || 1).await, 1);
    for key in ["k", "last"] {
        assert_eq!(region.get::<i32>(key).await.unwrap(), Some(1));
    }
}

/// Changes keys by hand.
struct Renaming;

impl Proxy for Renaming {
    async fn get(&self, next: &AnyBackend, key: &str) -> Result<Option<Entry>, BackendError> {
        next.get(&format!("p:{key}")).await
    }

    async fn set(&self, next: &AnyBackend, key: &str, entry: Entry) -> Result<(), BackendError> {
        next.set(&format!("p:{key}"), entry).await
    }

    async fn delete(&self, next: &AnyBackend, key: &str) -> Result<(), BackendError> {
        next.delete(&format!("p:{key}")).await
    }
}

#[tokio::test]
async fn a_claim_is_about_the_key_that_a_proxy_uses_inside() {
    let renamed = |config: Config| config.proxy(Renaming);
    assert_eq!(stored_after_a_removal(Renaming, Some(&renamed)).await, None);
}

/// Stores when it is told to, after its callers have gone.
struct Late(Arc<Notify>, Arc<Notify>);

impl Proxy for Late {
    async fn set(&self, next: &AnyBackend, key: &str, entry: Entry) -> Result<(), BackendError> {
        let (next, key) = (next.clone(), key.to_owned());
        let (may_store, has_stored) = (self.0.clone(), self.1.clone());
        tokio::spawn(async move {
            may_store.notified().await;
            let _ = next.set(&key, entry).await;
            has_stored.notify_one();
        });
        Ok(())
    }
}

#[tokio::test]
async fn what_a_proxy_stores_later_is_not_stored_over_a_change() {
    let backend = AnyBackend::new(Memory::new(10));
    let (may_store, has_stored) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let region = Region::new("late");
    let late = Late(may_store.clone(), has_stored.clone());
    region.configure(Config::over(backend.clone()).proxy(late)).unwrap();
    let peer = over(backend);
    assert_eq!(region.get_or_create("k", async || 1).await, 1);
    peer.delete("k").await.unwrap();
    may_store.notify_one();
    has_stored.notified().await;
    assert_eq!(peer.get::<i32>("k").await.unwrap(), None);
}
