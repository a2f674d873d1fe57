//! Checks of creations that fail: what stands in for them, and who tries again.

use std::future::pending;
use std::time::Duration;

use dogpile::Status;
use tokio::sync::Notify;

use super::Fixture;
use super::fixture::EXPIRATION;

const HOUR: Duration = Duration::from_secs(3_600);
const LIMIT: Duration = Duration::from_secs(30);

/// A creator that hangs is dropped at the creation timeout, and the next caller creates.
pub async fn a_hung_creator_frees_its_key(fixture: Fixture) {
    let (region, clock) = fixture.region();
    let key = fixture.key("hung");
    let began = Notify::new();
    let hangs = async || {
        began.notify_one();
        pending::<u32>().await
    };
    let entry = region.entry(&key).strict().creation_timeout(LIMIT);
    let advance = async {
        began.notified().await;
        assert!(region.key_is_locked(&key).await.unwrap());
        clock.advance(LIMIT * 2);
    };
    let (ended, ()) = tokio::join!(entry.get_or_create(hangs), advance);
    assert!(ended.unwrap_err().is_timeout());
    assert_eq!(region.entry(&key).strict().get_or_create(async || 2_u32).await.unwrap(), 2);
    assert_eq!(region.get::<u32>(&key).await.unwrap(), Some(2), "it is stored");
}

/// Where a creation has failed, the stale value stands in for it, and no process tries again
/// before its time.
pub async fn a_failed_creation_is_known_to_every_process(fixture: Fixture) {
    let (region, clock) = fixture.region();
    let peer = fixture.peer.clone().unwrap_or_else(|| fixture.backend.clone());
    let (other, other_clock) = fixture.region_over(peer);
    let key = fixture.key("failing");
    region.set(&key, &1_u32).await.unwrap();
    for clock in [&clock, &other_clock] {
        clock.advance(EXPIRATION * 2);
    }
    let entry = |region| dogpile::Region::entry(region, &key).stale_if_error(HOUR);
    let found = entry(&region).try_lookup(async || Err::<u32, _>("it fails")).await.unwrap();
    assert_eq!((found.value, found.status), (1, Status::StaleOnError));
    for region in [&other, &region] {
        let found = entry(region).lookup(async || -> u32 { panic!("it is too early") }).await;
        assert_eq!((found.value, found.status), (1, Status::StaleOnError));
    }
    for clock in [&clock, &other_clock] {
        clock.advance(Duration::from_secs(11));
    }
    assert_eq!(entry(&other).get_or_create(async || 2_u32).await, 2);
    assert_eq!(region.get::<u32>(&key).await.unwrap(), Some(2));
}
