//! Checks of what copies of values go by: versions, and news of changes.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dogpile::backend::{
    AnyBackend, BackendError, ClaimMode, Claimed, Commit, Follower, IfChanged, Version, Wanted,
    Watch,
};
use dogpile::proxy::{KeyPrefix, Layer, Proxy};
use dogpile::value::Entry;
use tokio::sync::Notify;

use super::Fixture;
use super::fixture::text;

/// All entries of these checks have this creation time: what differs is nothing but the value.
const CT: f64 = 1_763_700_000.123_456;

/// A value that is the same is not read again, and each change is told from it, whoever makes it; what
/// is not there has no version.
pub async fn a_version_tells_states_apart(fixture: Fixture) {
    versions(&fixture, &fixture.backend).await;
}

async fn versions(fixture: &Fixture, backend: &AnyBackend) {
    let peer = fixture.peer.as_ref().filter(|_| backend.name() == fixture.backend.name());
    let peer = peer.unwrap_or(backend);
    let key = &*fixture.key("compared");
    let absent = async |since| {
        let read = read(backend, key, since).await;
        assert!(matches!(read, Some((None, None))), "{read:?}");
    };
    absent(None).await;
    let mut since = None;
    for value in ["1", "2", "3", "4"] {
        let by = if value == "2" { peer } else { backend };
        by.set(key, fixture.entry(value, CT)).await.unwrap();
        let (read, _) = read(backend, key, since).await.expect("it has changed");
        assert_eq!(read.as_deref(), Some(value));
        since = settled(backend, key).await;
        if value == "3" {
            // The next one comes where this was.
            backend.delete(key).await.unwrap();
            absent(since).await;
        }
    }
    let mut expired = fixture.entry("4", CT);
    expired.metadata.expired = true;
    for (mode, entry) in [
        (ClaimMode::Expire, Some(expired)),
        (ClaimMode::Refresh, Some(fixture.entry("5", CT))),
        (ClaimMode::Refresh, None),
    ] {
        let is_there = entry.is_some();
        commit(backend, key, mode, entry).await;
        let read = read(backend, key, since).await.expect("it has changed");
        assert_eq!(read.0.is_some(), is_there);
        if is_there {
            since = settled(backend, key).await;
        }
    }
    absent(since).await;
}

/// Reads the value, unless it is `since`.
async fn read(
    backend: &AnyBackend,
    key: &str,
    since: Option<Version>,
) -> Option<(Option<String>, Option<Version>)> {
    match backend.get_if_changed(key, since).await.unwrap() {
        IfChanged::NotModified { .. } => None,
        IfChanged::Read { entry, version, .. } => Some((entry.as_ref().map(text), version)),
    }
}

/// Returns the version that the value is known by. A backend may have to read it some times before, as
/// long as it makes connections.
async fn settled(backend: &AnyBackend, key: &str) -> Option<Version> {
    for _ in 0..100 {
        let (value, version) = read(backend, key, None).await.expect("it is not compared");
        assert!(value.is_some());
        if version.is_none() || read(backend, key, version).await.is_none() {
            return version;
        }
    }
    panic!("a value that stays is another one each time");
}

async fn commit(backend: &AnyBackend, key: &str, mode: ClaimMode, entry: Option<Entry>) {
    let claimed = backend.claim(vec![Wanted::new(key, mode)]).await.unwrap().remove(0);
    let Claimed::Won(lease) = claimed else { panic!("{claimed:?}") };
    assert_eq!(backend.commit(vec![Commit { key, entry, lease }]).await.unwrap(), [true]);
}

/// Behind a proxy that says which key it asks for, versions are those of the backend. Behind one that
/// does not, nothing has a version: nobody would tell of its changes.
pub async fn versions_reach_through_proxies_that_say_their_keys(fixture: Fixture) {
    let keeps_objects = fixture.backend.keeps_objects();
    versions(&fixture, &KeyPrefix::new("near:").layer(fixture.backend.clone())).await;
    let renamed = Renames.layer(fixture.backend.clone());
    let key = fixture.key("renamed");
    renamed.set(&key, fixture.entry("1", CT)).await.unwrap();
    for _ in 0..2 {
        let read = read(&renamed, &key, None).await.expect("there is no version");
        assert_eq!(read, (Some("1".to_owned()), None));
    }
    let prefixed = KeyPrefix::new("near:").layer(fixture.backend.clone());
    prefixed.set(&key, fixture.entry("1", CT)).await.unwrap();
    let (_, version) = read(&prefixed, &key, None).await.expect("it is not compared");
    assert_eq!(version.is_none(), keeps_objects);
}

/// Uses other keys, and does not say so.
struct Renames;

fn renamed(key: &str) -> String {
    format!("other:{key}")
}

impl Proxy for Renames {
    async fn get(&self, next: &AnyBackend, key: &str) -> Result<Option<Entry>, BackendError> {
        next.get(&renamed(key)).await
    }

    async fn set(&self, next: &AnyBackend, key: &str, entry: Entry) -> Result<(), BackendError> {
        next.set(&renamed(key), entry).await
    }

    async fn delete(&self, next: &AnyBackend, key: &str) -> Result<(), BackendError> {
        next.delete(&renamed(key)).await
    }
}

/// Followers are told of each change to what was read, before they are told that they are in step with
/// what came after it; or they ask, and each change gives another state.
pub async fn followers_learn_of_changes(fixture: Fixture) {
    follows(&fixture, "").await;
}

/// The same behind a proxy that changes keys.
pub async fn followers_behind_proxies_learn_of_changes(fixture: Fixture) {
    follows(&fixture, "near:").await;
}

async fn follows(fixture: &Fixture, prefix: &'static str) {
    let backend = &KeyPrefix::new(prefix).layer(fixture.backend.clone());
    let news = Arc::new(News::default());
    let Some(watch) = backend.follow(news.clone()) else { return };
    let key = fixture.key("followed");
    let (inside, told_as) = (format!("{prefix}{key}"), backend.told_as(&key).into_owned());
    let peer = fixture.peer.as_ref().unwrap_or(&fixture.backend);
    let entry = |value| fixture.entry(value, CT);
    for change in 0..4 {
        let is_followed = match backend.get_if_changed(&key, None).await.unwrap() {
            IfChanged::NotModified { is_followed } | IfChanged::Read { is_followed, .. } => {
                is_followed
            }
        };
        if !is_followed {
            return;
        }
        let (before, state) = (news.len(), state(&watch));
        match change {
            0 => peer.set(&inside, entry("1")).await.unwrap(),
            1 => backend.set(&key, entry("2")).await.unwrap(),
            2 => peer.set_multi(&[(&*inside, entry("3"))]).await.unwrap(),
            _ => peer.delete(&inside).await.unwrap(),
        }
        match state {
            Some(state) => assert!(self::state(&watch) > Some(state), "a new state"),
            None => news.tells_in_order(before, &told_as, Instant::now()).await,
        }
    }
}

/// The number of the present state, where a follower is to ask for it.
fn state(watch: &Watch) -> Option<u64> {
    let now = watch.state()?;
    let mut number = now().expect("it answers");
    // What else is in the same store may change.
    for _ in 0..1_000 {
        match now().expect("it answers") {
            same if same == number => return Some(number),
            other => assert!(other > std::mem::replace(&mut number, other)),
        }
    }
    panic!("what nobody changes is in another state each time");
}

/// The news that a follower was told, in their order.
#[derive(Default)]
struct News {
    told: Mutex<Vec<Told>>,
    more: Notify,
}

#[derive(Debug)]
enum Told {
    Changed(String),
    /// All have changed, or the link was lost.
    All,
    InStep(Instant),
}

impl News {
    fn push(&self, told: Told) {
        self.told.lock().unwrap().push(told);
        self.more.notify_one();
    }

    fn len(&self) -> usize {
        self.told.lock().unwrap().len()
    }

    /// Waits until it is in step with what was over at `moment`. Then it knows of a change to `key`.
    async fn tells_in_order(&self, after: usize, key: &str, moment: Instant) {
        loop {
            {
                let told = self.told.lock().unwrap();
                let mut news = told[after..].iter();
                let is_later = |told: &&Told| matches!(told, Told::InStep(now) if *now >= moment);
                if let Some(in_step) = news.clone().position(|told| is_later(&told)) {
                    let ends = |told: &Told| match told {
                        Told::Changed(changed) => changed == key,
                        Told::All => true,
                        Told::InStep(_) => false,
                    };
                    assert!(news.by_ref().take(in_step).any(ends), "{key}: {:?}", &told[after..]);
                    return;
                }
            }
            self.more.notified().await;
        }
    }
}

impl Follower for News {
    fn changed(&self, key: &str) {
        self.push(Told::Changed(key.to_owned()));
    }

    fn all_changed(&self) {
        self.push(Told::All);
    }

    fn lost(&self) {
        self.push(Told::All);
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(10)
    }

    fn in_step(&self, moment: Instant) {
        self.push(Told::InStep(moment));
    }
}
