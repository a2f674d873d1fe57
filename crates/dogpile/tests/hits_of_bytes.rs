//! Hits in serialized memory: bytes are decoded where the call stands, and judged as anywhere else.

use std::time::Duration;

use dogpile::backend::{AnyBackend, SerializedMemory};
use dogpile::key::Mangler;
use dogpile::value::Entry;
use dogpile::{Config, Region};
use dogpile_testkit::ManualClock;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
}

/// The same with a field that it had not when values were stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Larger {
    id: u64,
    name: String,
    email: Option<String>,
}

fn user() -> User {
    User { id: 7, name: "Ada".to_owned() }
}

fn region(backend: &AnyBackend) -> Region {
    let region = Region::named("bytes");
    region.configure(Config::over(backend.clone())).unwrap();
    region
}

#[tokio::test]
async fn hits_and_their_bytes_are_counted() {
    let region = region(&SerializedMemory::new(10).into());
    assert_eq!(region.get::<User>("k").await.unwrap(), None);
    region.set("k", &user()).await.unwrap();
    assert_eq!(region.get("k").await.unwrap(), Some(user()));
    assert_eq!(region.get_or_create("k", async || User { id: 8, ..user() }).await, user());
    assert_eq!(region.peek("k"), Some(user()));
    let counted = region.statistics();
    assert_eq!((counted.hits, counted.misses), (3, 1));
    assert_eq!(counted.bytes_read, 3 * br#"{"id":7,"name":"Ada"}"#.len() as u64);
}

#[tokio::test]
async fn keys_that_are_mangled_are_found() {
    let region = Region::new("bytes_mangled");
    let config = Config::new(SerializedMemory::new(10));
    region.configure(config.key_mangler(Mangler::new(|key| format!("of:{key}")))).unwrap();
    region.set("k", &user()).await.unwrap();
    assert_eq!(region.peek("k"), Some(user()));
    assert!(region.backend().unwrap().get("of:k").await.unwrap().is_some());
}

#[tokio::test]
async fn what_expired_or_was_invalidated_is_no_hit() {
    let (region, clock) = (Region::new("bytes_expired"), ManualClock::new());
    let config = Config::new(SerializedMemory::new(10)).clock(clock.clone());
    region.configure(config.expiration(Duration::from_secs(10))).unwrap();
    region.set("k", &user()).await.unwrap();
    clock.advance(Duration::from_secs(9));
    assert_eq!(region.peek("k"), Some(user()));
    let shorter = region.entry("k").expiration(Duration::from_secs(8));
    assert!(shorter.peek::<User>().is_none());
    clock.advance(Duration::from_secs(2));
    assert_eq!(region.peek::<User>("k"), None);
    region.set("k", &user()).await.unwrap();
    region.expire("k").await.unwrap();
    assert_eq!(region.peek::<User>("k"), None);
    region.set("k", &user()).await.unwrap();
    region.invalidate_all().await.unwrap();
    assert_eq!(region.peek::<User>("k"), None);
    assert_eq!(region.statistics().hits, 1);
}

/// Entries whose metadata say more are kept as frames, and found as well.
#[tokio::test]
async fn a_value_with_a_lifetime_of_its_own_is_found_until_that_ends() {
    let (region, clock) = (Region::new("bytes_lifetimes"), ManualClock::new());
    let config = Config::new(SerializedMemory::new(10)).clock(clock.clone());
    region.configure(config.lifetime(|user: &User| Some(Duration::from_secs(user.id)))).unwrap();
    region.set("k", &user()).await.unwrap();
    clock.advance(Duration::from_secs(6));
    assert_eq!(region.peek("k"), Some(user()));
    clock.advance(Duration::from_secs(2));
    assert_eq!(region.peek::<User>("k"), None);
}

#[tokio::test]
async fn bytes_of_another_type_or_of_no_text_are_no_hit() {
    let backend = AnyBackend::new(SerializedMemory::new(10));
    let region = region(&backend);
    region.set("k", &user()).await.unwrap();
    assert_eq!(region.peek::<Larger>("k"), None);
    assert_eq!(region.peek::<Vec<u8>>("k"), None);
    assert_eq!(region.peek("k"), Some(user()));
    let entry = Entry::bytes(&b"{\"id\":7,\"name\":\"\xff\"}"[..], 1e9);
    backend.set("broken", entry).await.unwrap();
    assert_eq!(region.get::<User>("broken").await.unwrap(), None);
    let (good, broken) = (br#"{"id":7,"name":"Ada"}"#.len(), br#"{"id":7,"name":"-"}"#.len());
    let counted = region.statistics();
    assert_eq!((counted.unreadable, counted.bytes_read), (1, (good + broken) as u64));
    assert_eq!(region.get_or_create("broken", async || user()).await, user());
}
