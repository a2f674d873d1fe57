//! Decorated functions where nothing may stand beside them, and in a crate that forbids
//! what macros like to allow.
#![cfg(feature = "macros")]
#![allow(clippy::unused_async, reason = "functions are as short as can be")]
#![forbid(
    dead_code,
    unused_imports,
    unused_variables,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    non_camel_case_types,
    non_snake_case
)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

use dogpile::backend::SerializedMemory;
use dogpile::{Config, Region, cached};

static REGION: LazyLock<Region> = LazyLock::new(|| {
    let region = Region::new("methods");
    region.configure(Config::new(SerializedMemory::new(1_000))).unwrap();
    region
});

trait Loads {
    async fn load(&self, id: u32) -> Result<String, std::io::Error>;
    fn name(&self, pair: (u8, u8)) -> String;
}

struct Database {
    tenant: &'static str,
    runs: AtomicU32,
}

impl Loads for Database {
    #[cached(region = REGION, key = (self.tenant, id), companions = false)]
    async fn load(&self, id: u32) -> Result<String, std::io::Error> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        if id == 13 {
            return Err(std::io::Error::other("unlucky"));
        }
        let text = String::from_utf8(vec![b'x']).map_err(std::io::Error::other)?;
        Ok(format!("{text}{id} of {}", self.tenant))
    }

    #[cached(region = REGION, key = self.tenant, companions = false, should_cache = |name| !name.is_empty())]
    fn name(&self, (a, b): (u8, u8)) -> String {
        format!("{} {a}{b}", self.tenant)
    }
}

#[async_trait::async_trait]
trait Boxed: Send + Sync {
    async fn load(&self, id: u32) -> Result<String, std::io::Error>;
    async fn count<'a>(&self, words: &'a [String]) -> usize;
}

#[async_trait::async_trait]
impl Boxed for Database {
    #[cached(region = REGION, key = (self.tenant, id))]
    async fn load(&self, id: u32) -> Result<String, std::io::Error> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        let text = String::from_utf8(vec![b'y']).map_err(std::io::Error::other)?;
        Ok(format!("{text}{id} of {}", self.tenant))
    }

    #[cached(region = REGION, skip(self))]
    async fn count<'a>(&self, words: &'a [String]) -> usize {
        words.len()
    }
}

fn database(tenant: &'static str) -> Database {
    Database { tenant, runs: AtomicU32::new(0) }
}

#[tokio::test]
async fn methods_of_a_traits_implementation_are_cached() {
    let (one, two) = (database("one"), database("two"));
    for _ in 0..2 {
        assert_eq!(Loads::load(&one, 1).await.unwrap(), "x1 of one");
        assert_eq!(Loads::load(&two, 1).await.unwrap(), "x1 of two");
        assert_eq!(Boxed::load(&one, 1).await.unwrap(), "y1 of one", "another trait");
    }
    assert_eq!(one.runs.load(Ordering::SeqCst), 2);
    assert!(Loads::load(&one, 13).await.is_err());
    assert_eq!((one.name((1, 2)), one.name((3, 4))), ("one 12".into(), "one 12".into()));
    assert_eq!(Boxed::count(&two, &["a".to_owned()]).await, 1);
}

#[tokio::test]
async fn a_method_of_a_trait_can_be_cached_in_a_task() {
    let database = Arc::new(database("task"));
    let task = {
        let database = database.clone();
        tokio::spawn(async move { Boxed::load(&*database, 2).await })
    };
    assert_eq!(task.await.unwrap().unwrap(), "y2 of task");
    let task = tokio::spawn(async move { Loads::load(&*database, 3).await });
    assert_eq!(task.await.unwrap().unwrap(), "x3 of task");
}

/// Nothing of it but the function is used.
#[cached(region = REGION)]
async fn alone(n: u32) -> u32 {
    n
}

#[cached(region = REGION, companions = false)]
async fn without_companions((a, b): (u32, u32)) -> Option<u32> {
    a.checked_add(b)
}

#[dogpile::cached_multi(region = REGION)]
fn many(ids: &[u32]) -> Vec<u32> {
    ids.to_vec()
}

struct Shop;

impl Shop {
    #[cached(region = REGION, skip(self))]
    async fn load(&self, id: u32) -> u32 {
        id
    }

    #[cached(region = REGION, skip(self), background, expiration = 5m)]
    async fn owned(self: Arc<Self>, id: u32) -> u32 {
        id
    }
}

#[tokio::test]
async fn functions_work_where_lints_are_forbidden() {
    assert_eq!((alone(1).await, without_companions((1, 2)).await), (1, Some(3)));
    assert_eq!((many(&[1]), Shop.load(1).await), (vec![1], 1));
    assert_eq!(Arc::new(Shop).owned(2).await, 2);
    let key = r"cached_methods:without_companions|\[1\,2\,\]";
    assert_eq!(REGION.get::<Option<u32>>(key).await.unwrap(), Some(Some(3)));
}
