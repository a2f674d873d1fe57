//! Decorated functions that are given the value of before.
#![cfg(feature = "macros")]
#![allow(
    clippy::unused_async,
    clippy::unnecessary_wraps,
    clippy::needless_pass_by_value,
    reason = "functions are as short as can be"
)]

use std::collections::HashMap;
use std::time::Duration;

use dogpile::backend::SerializedMemory;
use dogpile::{CachedValue, Config, Region, Result, cached, cached_multi};
use dogpile_testkit::ManualClock;

const MINUTE: Duration = Duration::from_secs(60);

/// Has values of `region` expire after a minute of the clock.
fn configured(region: &Region) -> ManualClock {
    let clock = ManualClock::new();
    let config = Config::new(SerializedMemory::new(100)).clock(clock.clone());
    region.configure(config.expiration(MINUTE)).unwrap();
    clock
}

static PAGES: Region = Region::new("pages");

/// Returns the version that is known and its age in seconds, or one of its own.
#[cached(region = PAGES, previous(known))]
async fn page(path: &str, known: Option<CachedValue<String>>) -> String {
    match known {
        Some(known) => format!("{} again after {}", known.value, known.age.as_secs()),
        None => path.to_owned(),
    }
}

#[tokio::test]
async fn callers_do_not_pass_it_and_the_function_is_given_it() -> Result<()> {
    let clock = configured(&PAGES);
    assert_eq!((page("/").await, page("/").await), ("/".to_owned(), "/".to_owned()));
    clock.advance(2 * MINUTE);
    assert_eq!(page("/").await, "/ again after 120");
    assert_eq!(page::get("/").await?.unwrap(), "/ again after 120", "it is stored");
    assert_eq!(page::key("/"), "cached_previous:page|/");
    assert_eq!(page::refresh("/").await, "/", "whatever is stored");
    assert_eq!(page::original("/", None).await, "/");
    page::set(&"set".to_owned(), "/").await?;
    page::invalidate("/").await?;
    assert_eq!(page("/").await, "/", "nothing is left of it");
    Ok(())
}

static COUNTS: Region = Region::new("counts");

#[cached(region = COUNTS, previous(count))]
fn count(_id: u32, mut count: Option<u32>) -> u32 {
    *count.get_or_insert(0) += 1;
    count.unwrap()
}

#[cached(region = COUNTS, previous(count), skip(fails))]
fn fallible_count(count: Option<u32>, fails: bool) -> std::result::Result<u32, &'static str> {
    if fails { Err("down") } else { Ok(count.map_or(1, |count| count + 1)) }
}

#[test]
fn a_blocking_function_may_take_the_value_alone() {
    let clock = configured(&COUNTS);
    for expected in [1, 2, 3] {
        assert_eq!((count(7), fallible_count(false)), (expected, Ok(expected)));
        assert_eq!((count(7), fallible_count(true)), (expected, Ok(expected)));
        clock.advance(2 * MINUTE);
    }
    assert_eq!(fallible_count(true), Err("down"));
    assert_eq!((count::refresh(7), fallible_count::refresh(false)), (1, Ok(1)));
}

static LATER: Region = Region::new("later");

#[cached(region = LATER, previous(count), background)]
async fn later(count: Option<u32>) -> u32 {
    count.map_or(1, |count| count + 1)
}

#[cached(region = LATER, previous(count), background, fallible)]
async fn perhaps_later(count: Option<u32>) -> std::result::Result<u32, String> {
    Ok(count.map_or(1, |count| count + 1))
}

#[cached(region = LATER, previous(count), background)]
fn blocking_later(count: Option<CachedValue<u32>>) -> u32 {
    count.map_or(1, |count| count.value + 1)
}

#[cached(region = LATER, previous(count), background)]
fn perhaps_blocking_later(count: Option<u32>) -> std::result::Result<u32, String> {
    Ok(count.map_or(1, |count| count + 1))
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_background_it_is_given_it_too() {
    let clock = configured(&LATER);
    let ask = async || {
        let blocking = tokio::task::spawn_blocking(|| (blocking_later(), perhaps_blocking_later()));
        let (of_blocking, perhaps) = blocking.await.unwrap();
        [later().await, perhaps_later().await.unwrap(), of_blocking, perhaps.unwrap()]
    };
    assert_eq!(ask().await, [1; 4]);
    clock.advance(2 * MINUTE);
    assert_eq!(ask().await, [1; 4], "stale values at once");
    assert!(LATER.drain(MINUTE).await);
    assert_eq!(ask().await, [2; 4]);
}

struct Repository {
    region: Region,
}

trait Names {
    fn name(&self, id: u32) -> String;
}

impl Names for Repository {
    #[cached(region = self.region, key = (id), skip(self), previous(known), companions = false)]
    fn name(&self, id: u32, known: Option<String>) -> String {
        known.map_or_else(|| id.to_string(), |known| known + "!")
    }
}

impl Repository {
    #[cached(region = self.region, skip(self), previous(known))]
    async fn load<T: ToString + Sync + ?Sized + dogpile::key::KeyPart>(
        &self,
        id: &T,
        known: Option<CachedValue<String>>,
    ) -> std::result::Result<String, ()> {
        Ok(known.map_or_else(|| id.to_string(), |known| known.value + "?"))
    }
}

#[tokio::test]
async fn methods_may_take_it() {
    let repository = Repository { region: Region::new("repository") };
    let clock = configured(&repository.region);
    assert_eq!((repository.load("a").await.unwrap(), repository.name(7)), ("a".into(), "7".into()));
    clock.advance(2 * MINUTE);
    assert_eq!(repository.load("a").await.unwrap(), "a?");
    assert_eq!(repository.name(7), "7!");
    assert_eq!(repository.load_refresh("a").await.unwrap(), "a");
    assert_eq!(repository.load_original("a", None).await.unwrap(), "a");
}

static MANY: Region = Region::new("many_previous");

#[cached_multi(region = MANY, previous(known), expiration = "1m")]
async fn versions(ids: &[u32], known: Vec<Option<CachedValue<u32>>>) -> Vec<u32> {
    assert_eq!(ids.len(), known.len());
    let known = known.into_iter().zip(ids);
    known.map(|(known, id)| known.map_or(*id, |known| known.value + 1)).collect()
}

/// Knows none above 10, and remembers that for an hour.
#[cached_multi(region = MANY, previous(known), none = "1h", lifetime = |_| Some(MINUTE / 2))]
fn found(
    ids: Vec<u32>,
    known: Vec<Option<u32>>,
) -> std::result::Result<HashMap<u32, u32>, &'static str> {
    let known = ids.into_iter().zip(known).filter(|(id, _)| *id <= 10);
    Ok(known.map(|(id, known)| (id, known.map_or(id, |known| known + 100))).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_of_many_keys_are_given_those_that_they_are_asked_for() {
    let clock = configured(&MANY);
    assert_eq!(versions(&[3, 1]).await, [3, 1]);
    assert_eq!(versions(&[1, 5, 1]).await, [1, 5, 1]);
    clock.advance(2 * MINUTE);
    versions::set([(&5, &50)]).await.unwrap();
    assert_eq!(versions(&[3, 5, 7, 1]).await, [4, 50, 7, 2]);
    assert_eq!(versions::refresh(&[3]).await, [3]);
    assert_eq!(versions::original(&[3], vec![None]).await, [3]);
    let blocking = move || {
        let of = |pairs: &[(u32, u32)]| Ok(pairs.iter().copied().collect());
        assert_eq!(found(vec![20, 2]), of(&[(2, 2)]));
        clock.advance(MINUTE);
        assert_eq!(found(vec![2, 20, 4]), of(&[(2, 102), (4, 4)]));
        // What is set has its own lifetime, too.
        found::set([(&2, &7)]).unwrap();
        clock.advance(Duration::from_secs(29));
        assert_eq!(found(vec![2]), of(&[(2, 7)]));
        clock.advance(Duration::from_secs(2));
        assert_eq!(found(vec![2]), of(&[(2, 107)]));
    };
    tokio::task::spawn_blocking(blocking).await.unwrap();
}

static UNCONFIGURED: Region = Region::new("unconfigured");

#[cached(region = UNCONFIGURED, previous(known))]
async fn uncached(known: Option<u32>) -> u32 {
    known.map_or(1, |known| known + 1)
}

#[cached_multi(region = UNCONFIGURED, previous(known))]
fn many_uncached(ids: &[u32], known: Vec<Option<u32>>) -> Vec<u32> {
    ids.iter().zip(known).map(|(id, known)| known.unwrap_or(*id)).collect()
}

#[tokio::test]
async fn without_a_backend_there_is_none() {
    assert_eq!(uncached().await, 1);
    assert_eq!(many_uncached(&[3, 4]), [3, 4]);
}
