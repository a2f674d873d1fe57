//! State in the scope of a test, beside the regions themselves.

use std::time::Duration;

use dogpile::Region;
use dogpile::config::Settings;
use dogpile::testing::Scope;
use dogpile_orm::{AfterCommit, configure, region, register};

static USERS: Region = Region::new("users");

#[test]
fn regions_by_name_are_those_of_the_scope() {
    let in_scope = |minutes: u64| {
        let scope = Scope::new();
        let _cache = scope.enter();
        let expiration = format!("{minutes}m");
        let settings = [("named.backend", "memory"), ("named.expiration_time", &*expiration)];
        configure(&Settings::from_iter(settings)).unwrap();
        region("named").unwrap().blocking().set("k", &1).unwrap();
        scope.advance(Duration::from_secs(90));
        scope
    };
    let read = || region("named").unwrap().blocking().get::<i32>("k").unwrap();
    let (short, long) = (in_scope(1), in_scope(2));
    {
        let _cache = long.enter();
        assert_eq!(read(), Some(1));
    }
    let _cache = short.enter();
    assert_eq!(read(), None);
}

#[test]
fn a_name_of_the_process_is_known_in_scopes_and_not_the_other_way_round() {
    static PRICES: Region = Region::new("prices");
    {
        let _cache = Scope::new().enter();
        register(Region::named("only in the scope"));
        assert!(region("only in the scope").is_some());
    }
    assert!(region("only in the scope").is_none());
    register(&PRICES);
    let _cache = Scope::new().enter();
    assert!(region("prices").is_some());
}

/// Stores a value after a commit, and waits for that.
fn stored_after_commit(scope: &Scope) -> AfterCommit {
    let mut after_commit = AfterCommit::new();
    let stores = async { USERS.set("async", &1).await };
    after_commit.add(stores);
    after_commit.add_blocking(|| USERS.blocking().set("blocking", &2));
    // Before the commit there is nothing to wait for.
    scope.blocking_settled();
    after_commit
}

fn assert_stored() {
    assert_eq!(USERS.blocking().get("async").unwrap(), Some(1));
    assert_eq!(USERS.blocking().get("blocking").unwrap(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn work_after_a_commit_is_done_in_the_scope_on_a_runtime() {
    let cache = Scope::new().enter();
    stored_after_commit(&cache).committed();
    cache.settled().await;
    assert_stored();
}

#[test]
fn work_after_a_commit_is_done_in_the_scope_on_a_thread() {
    let cache = Scope::new().enter();
    stored_after_commit(&cache).committed();
    cache.blocking_settled();
    assert_stored();
}
