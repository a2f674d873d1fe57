//! Every asynchronous call can be boxed by its callers as a future that may be sent, whatever it
//! borrows: a trait of theirs asks for that.

use std::future::Future;
use std::pin::Pin;

use dogpile::backend::Memory;
use dogpile::{CachedValue, Config, Keyspace, Region};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

fn boxed<'a, T>(call: impl Future<Output = T> + Send + 'a) -> Boxed<'a, T> {
    Box::pin(call)
}

/// Calls about one key.
fn of_one<'a>(region: &'a Region, key: &'a str, value: &'a String) -> Vec<Boxed<'a, bool>> {
    vec![
        boxed(async move { region.get_or_create(key, async || value.clone()).await == *value }),
        boxed(async move {
            let creator = async || Ok::<_, std::fmt::Error>(value.clone());
            region.try_get_or_create(key, creator).await.is_ok()
        }),
        boxed(async move { region.get::<String>(key).await.is_ok() }),
        boxed(async move { region.get_with_metadata::<String>(key).await.is_ok() }),
        boxed(async move { region.set(key, value).await.is_ok() }),
        boxed(async move { region.delete(key).await.is_ok() }),
        boxed(async move { region.expire(key).await.is_ok() }),
        boxed(async move { region.key_is_locked(key).await.is_ok() }),
        boxed(async move { region.invalidate_all().await.is_ok() }),
        boxed(async move { region.expire_all().await.is_ok() }),
        boxed(
            async move { region.entry(key).lookup(async || value.clone()).await.value == *value },
        ),
        boxed(async move { region.entry(key).refresh(async || value.clone()).await == *value }),
        boxed(async move {
            let creator = async |_: Option<CachedValue<String>>| value.clone();
            region.entry(key).get_or_update(creator).await == *value
        }),
        boxed(async move {
            region.entry(key).delete_in_background().await;
            true
        }),
    ]
}

/// Calls about several keys.
fn of_several<'a>(
    region: &'a Region,
    keys: [&'a str; 2],
    value: &'a String,
) -> Vec<Boxed<'a, bool>> {
    let values = move || keys.into_iter().map(move |key| (key, value));
    vec![
        boxed(async move {
            let creator = async |_| vec![value.clone(); keys.len()];
            region.get_or_create_multi(keys, creator).await.is_ok()
        }),
        boxed(async move { region.get_multi::<String, _>(keys).await.is_ok() }),
        boxed(async move { region.set_multi(values()).await.is_ok() }),
        boxed(async move { region.delete_multi(keys).await.is_ok() }),
        boxed(
            async move { region.entries(keys).set(&vec![value.clone(); keys.len()]).await.is_ok() },
        ),
        boxed(async move { region.entries(keys).get_with_metadata::<String>().await.is_ok() }),
        boxed(async move { region.entries(keys).expire().await.is_ok() }),
        boxed(async move {
            region.entries(keys).delete_in_background().await;
            true
        }),
    ]
}

fn of_keyspace<'a>(
    keyspace: &'a Keyspace<'a, String, String>,
    value: &'a String,
) -> Vec<Boxed<'a, bool>> {
    vec![
        boxed(async move { keyspace.get_or_create(value, async || value.clone()).await == *value }),
        boxed(async move { keyspace.get(value).await.is_ok() }),
        boxed(async move { keyspace.set(value, value).await.is_ok() }),
        boxed(async move { keyspace.delete(value).await.is_ok() }),
    ]
}

#[test]
fn every_call_may_be_boxed_and_sent() {
    let region = Region::new("boxed");
    region.configure(Config::new(Memory::new(10))).unwrap();
    let (value, keyspace) = ("value".to_owned(), region.keyspace("space"));
    let mut calls = of_one(&region, "k", &value);
    calls.extend(of_several(&region, ["a", "b"], &value));
    calls.extend(of_keyspace(&keyspace, &value));
    for (number, call) in calls.into_iter().enumerate() {
        assert!(pollster::block_on(call), "call {number}");
    }
}
