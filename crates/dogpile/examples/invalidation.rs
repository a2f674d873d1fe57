//! Deleting one key, and invalidating a whole region in two ways.
//!
//! `cargo run -p dogpile --example invalidation`

use dogpile::backend::Memory;
use dogpile::{Config, Mode, Region};

#[tokio::main]
async fn main() -> Result<(), dogpile::Error> {
    let pages: Region = Region::new("pages");
    pages.configure(Config::new(Memory::new(100)))?;
    pages.set("home", &"one".to_owned()).await?;

    pages.delete("home").await?;
    println!("deleted: {:?}", pages.get::<String>("home").await?);

    pages.set("home", &"two".to_owned()).await?;
    pages.invalidate(Mode::Soft).await?;
    let page = pages.entry("home").detailed().get_or_create(|| async { "three".to_owned() }).await;
    println!("after a soft invalidation: {} ({:?})", page.value, page.status);

    pages.invalidate(Mode::Hard).await?;
    let page: Option<String> = pages.get("home").await?;
    println!("after a hard one: {page:?}");
    assert_eq!(page, None);
    Ok(())
}
