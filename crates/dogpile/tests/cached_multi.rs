//! Decorated functions of many keys.
#![cfg(feature = "macros")]
#![allow(
    clippy::unused_async,
    clippy::unnecessary_wraps,
    reason = "functions are as short as can be"
)]
#![allow(clippy::needless_pass_by_value, reason = "arguments of every kind are tried")]

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{LazyLock, Mutex};

use dogpile::backend::SerializedMemory;
use dogpile::{Config, Region, cached_multi};

static REGION: LazyLock<Region> = LazyLock::new(|| {
    let region = Region::new("many");
    region.configure(Config::new(SerializedMemory::new(1_000))).unwrap();
    region
});

/// The queries to a database.
#[derive(Default)]
struct Queries(Mutex<Vec<Vec<u64>>>);

impl Queries {
    fn note(&self, ids: &[u64]) {
        self.0.lock().unwrap().push(ids.to_vec());
    }

    fn take(&self) -> Vec<Vec<u64>> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[cached_multi(region = REGION, skip(queries))]
async fn names(queries: &Queries, ids: &[u64]) -> Result<Vec<String>, String> {
    queries.note(ids);
    if ids.contains(&13) {
        Err("unlucky".to_owned())
    } else {
        Ok(ids.iter().map(|id| format!("n{id}")).collect())
    }
}

#[tokio::test]
async fn only_what_is_missing_is_asked_for() {
    let queries = Queries::default();
    assert_eq!(names(&queries, &[3, 1, 3]).await.unwrap(), ["n3", "n1", "n3"]);
    assert_eq!(names(&queries, &[1, 2]).await.unwrap(), ["n1", "n2"]);
    assert_eq!(names(&queries, &[]).await.unwrap(), [""; 0]);
    assert_eq!(queries.take(), [vec![3, 1], vec![2]]);
    assert_eq!(names::key(&1), "cached_multi:names|1");
    assert_eq!(names(&queries, &[1, 13]).await.unwrap_err(), "unlucky");
    assert_eq!(names::get(&[1, 13]).await.unwrap(), [Some("n1".to_owned()), None]);
    names::set(&HashMap::from([(1, "one".to_owned()), (13, "thirteen".to_owned())])).await.unwrap();
    assert_eq!(names(&queries, &[1, 13]).await.unwrap(), ["one", "thirteen"]);
    queries.take();
    assert_eq!(names::refresh(&queries, &[1]).await.unwrap(), ["n1"]);
    assert_eq!(names::original(&queries, &[2]).await.unwrap(), ["n2"]);
    assert_eq!(queries.take(), [vec![1], vec![2]]);
    names::invalidate(&[1, 2]).await.unwrap();
    assert_eq!(names::get(&[1, 2, 3]).await.unwrap(), [None, None, Some("n3".to_owned())]);
}

#[cached_multi(region = REGION, should_cache = |length| *length > 1)]
fn lengths(words: Vec<String>) -> HashMap<String, usize> {
    words.into_iter().filter(|word| word != "x").map(|word| (word.clone(), word.len())).collect()
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[test]
fn a_key_that_is_not_in_the_map_is_neither_cached_nor_returned() {
    let expected = HashMap::from([("a".to_owned(), 1), ("bb".to_owned(), 2)]);
    let words = owned(&["a", "bb", "x"]);
    assert_eq!(lengths(words.clone()), expected);
    assert_eq!(lengths::get(words.clone()).unwrap(), [None, Some(2), None]);
    lengths::set([(&"x".to_owned(), &9)]).unwrap();
    assert_eq!(lengths::get(owned(&["x"])).unwrap(), [Some(9)]);
    lengths::invalidate(owned(&["bb", "x"])).unwrap();
    assert_eq!(lengths::get(owned(&["bb"])).unwrap(), [None]);
    assert_eq!(lengths::refresh(words), expected);
    assert_eq!(lengths::get(owned(&["a", "bb"])).unwrap(), [None, Some(2)]);
}

#[cached_multi(region = REGION)]
fn sizes(words: &[&str]) -> Vec<usize> {
    words.iter().map(|word| word.len()).collect()
}

#[test]
fn keys_may_be_borrowed() {
    let words = owned(&["one", "three"]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(sizes(&words), [3, 5]);
    assert_eq!(sizes::get(&words).unwrap(), [Some(3), Some(5)]);
    sizes::set([(&"one", &7)]).unwrap();
    assert_eq!(sizes(&words), [7, 5]);
}

#[cached_multi(region = REGION, namespace = "sorted", expiration = "1h")]
async fn sorted(ids: Vec<u64>) -> Result<BTreeMap<u64, u64>, Infallible> {
    Ok(ids.into_iter().filter(|id| *id < 10).map(|id| (id, id * id)).collect())
}

#[tokio::test]
async fn maps_may_be_sorted() {
    let all = BTreeMap::from([(2, 4), (3, 9)]);
    assert_eq!(sorted(vec![3, 11, 2]).await, Ok(all.clone()));
    assert_eq!(sorted::key(&3), "cached_multi:sorted|sorted|3");
    assert_eq!(sorted(vec![11, 2, 3]).await, Ok(all));
}

#[cached_multi(region = REGION)]
fn too_few(ids: &[u64]) -> Vec<u64> {
    ids.iter().skip(1).copied().collect()
}

#[test]
#[should_panic(expected = "returned 1 value")]
fn too_few_values_are_a_mistake_of_the_function() {
    too_few(&[1, 2]);
}

static UNCONFIGURED: Region = Region::new("unconfigured");

#[cached_multi(region = UNCONFIGURED)]
async fn uncached(ids: &[u64]) -> Vec<u64> {
    ids.to_vec()
}

#[tokio::test]
async fn without_a_backend_functions_run_all_the_same() {
    assert_eq!(uncached(&[1, 2]).await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_calls_make_each_value_once() {
    static QUERIES: LazyLock<Queries> = LazyLock::new(Queries::default);

    #[cached_multi(region = REGION)]
    async fn slow(ids: &[u64]) -> Vec<u64> {
        QUERIES.note(ids);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        ids.iter().map(|id| id + 1).collect()
    }

    let mut tasks = tokio::task::JoinSet::new();
    for first in 0..20 {
        tasks.spawn(async move {
            let ids: Vec<u64> = (first..first + 5).collect();
            assert!(slow(&ids).await.into_iter().eq(ids.iter().map(|id| id + 1)));
        });
    }
    tasks.join_all().await;
    let mut asked = QUERIES.take().concat();
    asked.sort_unstable();
    assert!(asked.into_iter().eq(0..24));
}
