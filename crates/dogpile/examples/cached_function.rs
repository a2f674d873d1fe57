//! An attribute puts a function behind a region, with companions beside it.
//!
//! `cargo run -p dogpile --example cached_function`

use std::time::Duration;

use dogpile::backend::Memory;
use dogpile::{Config, Region, cached};

static USERS: Region = Region::new("users");

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct User {
    id: u64,
    name: String,
}

#[cached(region = USERS, expiration = "5m")]
async fn load_user(id: u64, lang: &str) -> Result<User, std::io::Error> {
    println!("  the database is asked for {id} in {lang}");
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(User { id, name: format!("user {id}") })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    USERS.configure(Config::new(Memory::new(10_000)))?;
    println!("two calls:");
    load_user(42, "en").await?;
    let user = load_user(42, "en").await?;
    println!("after an invalidation:");
    load_user::invalidate(42, "en").await?;
    assert_eq!(load_user::get(42, "en").await?, None);
    assert_eq!(load_user(42, "en").await?, user);
    println!("its key is {:?}", load_user::key(42, "en"));
    Ok(())
}
