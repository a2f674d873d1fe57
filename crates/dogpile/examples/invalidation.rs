//! Deleting one key, and invalidating a whole region in two ways.
//!
//! `cargo run -p dogpile --example invalidation`

use dogpile::backend::Memory;
use dogpile::{Config, Region};

#[tokio::main]
async fn main() -> Result<(), dogpile::Error> {
    let pages: Region = Region::new("pages");
    pages.configure(Config::new(Memory::new(100)))?;
    pages.set("home", &"one".to_owned()).await?;

    pages.delete("home").await?;
    println!("deleted: {:?}", pages.get::<String>("home").await?);

    pages.set("home", &"two".to_owned()).await?;
    pages.expire_all().await?;
    let page = pages.entry("home").lookup(|| async { "three".to_owned() }).await;
    println!("after a soft invalidation: {} ({:?})", page.value, page.status);

    pages.invalidate_all().await?;
    let page: Option<String> = pages.get("home").await?;
    println!("after a hard one: {page:?}");
    assert_eq!(page, None);
    Ok(())
}
