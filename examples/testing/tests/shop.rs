//! The shop's tests. They run in parallel, over the same static regions and with the same keys,
//! and each has the cache to itself.

use std::sync::Arc;
use std::time::Duration;

use dogpile::Config;
use dogpile::backend::Memory;
use dogpile::config::Settings;
use dogpile::testing::{Faults, Scope};
use dogpile_example_testing::{
    Database, PRODUCTS, Product, STOCK, Unreachable, catalogue, configure_caches, import_finished,
    pieces_in_total, product, sell, stock,
};

fn lamp(name: &str) -> Product {
    Product { id: 1, name: name.to_owned(), cents: 4_900 }
}

#[tokio::test]
async fn a_product_is_read_once() {
    let _cache = Scope::new().enter();
    let database = Arc::new(Database::with_products());

    for _ in 0..10 {
        assert_eq!(product(database.clone(), 1).await, Ok(Some(lamp("Lamp"))));
    }
    assert_eq!(database.queries(), 1);
    assert_eq!(PRODUCTS.statistics().hits, 9);
}

#[tokio::test]
async fn a_product_is_read_again_after_ten_minutes() {
    let cache = Scope::new().enter();
    let database = Arc::new(Database::with_products());
    product(database.clone(), 1).await.unwrap();
    database.put(lamp("Lantern"), 4);

    cache.advance(Duration::from_secs(9 * 60));
    assert_eq!(product(database.clone(), 1).await, Ok(Some(lamp("Lamp"))));

    cache.advance(Duration::from_secs(2 * 60));
    assert_eq!(product(database.clone(), 1).await, Ok(Some(lamp("Lantern"))));
}

#[tokio::test]
async fn an_import_is_seen_at_once() {
    let _cache = Scope::new().enter();
    let database = Arc::new(Database::with_products());
    product(database.clone(), 1).await.unwrap();
    database.put(lamp("Lantern"), 4);

    import_finished().await.unwrap();
    assert_eq!(product(database, 1).await, Ok(Some(lamp("Lantern"))));
}

#[tokio::test]
async fn a_sale_is_seen_at_once() {
    let _cache = Scope::new().enter();
    let database = Arc::new(Database::with_products());
    assert_eq!(stock(vec![1, 2], database.clone()).await, Ok(vec![4, 1]));

    assert_eq!(sell(database.clone(), 2).await, Ok(true));
    let queries = database.queries();
    assert_eq!(stock(vec![1, 2], database.clone()).await, Ok(vec![4, 0]));
    assert_eq!(database.queries(), queries + 1, "one query, for the one that was sold");
    assert_eq!(sell(database, 2).await, Ok(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_is_renewed_in_the_background() {
    let cache = Scope::new().enter();
    let database = Arc::new(Database::with_products());
    let old = catalogue(database.clone()).await.unwrap();
    database.put(lamp("Lantern"), 4);

    cache.advance(Duration::from_secs(11 * 60));
    assert_eq!(catalogue(database.clone()).await, Ok(old), "stale, and at once");
    cache.settled().await;
    assert_eq!(catalogue(database).await.unwrap(), ["Lantern", "Chair", "Table"]);
}

#[tokio::test]
async fn what_was_read_before_an_outage_is_still_there() {
    let _cache = Scope::new().enter();
    let database = Arc::new(Database::with_products());
    product(database.clone(), 1).await.unwrap();

    database.set_down(true);
    assert_eq!(product(database.clone(), 1).await, Ok(Some(lamp("Lamp"))));
    assert_eq!(product(database.clone(), 2).await, Err(Unreachable));
    database.set_down(false);
    assert!(product(database, 2).await.unwrap().is_some(), "errors are not remembered");
}

#[tokio::test]
async fn the_shop_goes_on_without_its_cache() {
    let _cache = Scope::new().enter();
    let database = Arc::new(Database::with_products());
    let faults = Faults::new();
    PRODUCTS.configure(Config::new(Memory::new(100)).proxy(faults.clone())).unwrap();

    faults.down();
    for _ in 0..3 {
        assert_eq!(product(database.clone(), 1).await, Ok(Some(lamp("Lamp"))));
    }
    assert_eq!(database.queries(), 1, "what cannot be stored is kept for ten seconds");

    faults.clear();
    product(database.clone(), 1).await.unwrap();
    product(database.clone(), 1).await.unwrap();
    assert_eq!(database.queries(), 2);
}

/// As `main` does it, in more than one test.
fn with_settings(stock_expiration: &str) {
    let settings = Settings::from_iter([
        ("products.backend", "memory"),
        ("stock.backend", "memory_pickle"),
        ("stock.expiration_time", stock_expiration),
    ]);
    configure_caches(&settings).unwrap();
}

#[tokio::test]
async fn settings_say_how_long_values_that_are_set_live() {
    let cache = Scope::new().enter();
    with_settings("5m");
    STOCK.set("k", &1).await.unwrap();
    cache.advance(Duration::from_secs(4 * 60));
    assert_eq!(STOCK.get("k").await.unwrap(), Some(1));
}

#[tokio::test]
async fn other_settings_of_another_test_do_not_matter() {
    let cache = Scope::new().enter();
    with_settings("3m");
    STOCK.set("k", &1).await.unwrap();
    cache.advance(Duration::from_secs(4 * 60));
    assert_eq!(STOCK.get::<i32>("k").await.unwrap(), None);
}

#[test]
fn the_report_is_an_hour_behind_at_most() {
    let cache = Scope::new().enter();
    let database = Database::with_products();
    assert_eq!(pieces_in_total(&database), Ok(5));
    database.put(lamp("Lamp"), 10);

    cache.advance(Duration::from_secs(59 * 60));
    assert_eq!(pieces_in_total(&database), Ok(5));
    cache.advance(Duration::from_secs(2 * 60));
    assert_eq!(pieces_in_total(&database), Ok(11));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_makes_one_query() {
    let cache = Scope::new().enter();
    let database = Arc::new(Database::with_products());
    let crowd: Vec<_> =
        (0..100).map(|_| tokio::spawn(cache.run(product(database.clone(), 1)))).collect();
    for task in crowd {
        assert_eq!(task.await.unwrap(), Ok(Some(lamp("Lamp"))));
    }
    assert_eq!(database.queries(), 1);
}
