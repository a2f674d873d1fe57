//! A whole table in every process: the packages of a Debian machine, in
//! PostgreSQL, kept as a mapping with two views by two processes.
//!
//! ```sh
//! cargo run --release -p dogpile-example-packages
//! ```
//!
//! starts a PostgreSQL and a Redis of its own, fills a table with the lists of
//! `apt-cache`, and starts itself a second time. A row is changed, and one push
//! later both processes have it.
//!
//! - `catalogue`: the collection and its views: what an application would have;
//! - `database`: the table, and where its rows come from;
//! - `shop`: the second process.

mod catalogue;
mod database;
mod shop;

use std::error::Error;
use std::time::Instant;

use dogpile_servers::{PostgresServer, RedisServer};

use database::Database;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => show().await,
        [role, postgres, redis] if role == "shop" => shop::run(postgres, redis).await,
        _ => Err("without arguments it starts all that it needs".into()),
    }
}

/// The package that is changed in the course of the story.
const PACKAGE: &str = "bash";

async fn show() -> Outcome {
    let (postgres, redis) = (PostgresServer::start(), RedisServer::start());
    let database = Database::connect(&postgres.url()).await?;
    let rows = database.fill().await?;
    println!("{rows} packages are in PostgreSQL");

    let packages = catalogue::open(&postgres.url(), &redis.url()).await?;
    let seen = packages.statistics();
    println!(
        "office: loaded {} in {:.0?}, pushed {:.1} MiB in {:.0?}",
        packages.len(),
        seen.load_time.max(),
        seen.bytes_written as f64 / f64::from(1 << 20),
        seen.push_time.max()
    );
    let mut shop = shop::Shop::start(&postgres.url(), &redis.url()).await?;

    let before = packages.snapshot();
    let old = &before[PACKAGE].section;
    let largest = before.view(catalogue::by_section).view(catalogue::largest);
    println!("office: the largest sections are {}", largest[..3].join(", "));
    let needed = before.view(catalogue::needed_by).get("libc6").map_or(0, Vec::len);
    println!("office: {needed} packages need libc6");

    database.move_to(PACKAGE, "antiques").await?;
    println!("office: {PACKAGE} moves from {old} to antiques; pushing");
    let began = Instant::now();
    packages.push().await?;
    let pushed = began.elapsed();
    shop.has_seen(2).await?;
    println!(
        "office: pushed in {pushed:.0?}; the shop had it {:.0?} after the beginning",
        began.elapsed()
    );
    let now = packages.snapshot();
    assert_eq!(now.view(catalogue::by_section)["antiques"], [PACKAGE]);
    assert!(before.view(catalogue::by_section).get("antiques").is_none(), "it is held still");
    Ok(())
}
