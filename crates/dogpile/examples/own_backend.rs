//! A backend of one's own: a place to keep entries, by three operations.
//!
//! `cargo run -p dogpile --example own_backend`

use std::collections::HashMap;
use std::sync::Mutex;

use dogpile::backend::{Backend, BackendError, KeepsBytes};
use dogpile::value::Entry;
use dogpile::{Config, Region};

#[derive(Default)]
struct Shelf(Mutex<HashMap<String, bytes::Bytes>>);

impl Backend for Shelf {
    type Keeps = KeepsBytes;

    async fn get(&self, key: &str) -> Result<Option<Entry>, BackendError> {
        Ok(self.0.lock().unwrap().get(key).map(Entry::from_frame))
    }

    async fn set(&self, key: &str, entry: Entry) -> Result<(), BackendError> {
        let frame = entry.to_frame().ok_or_else(|| BackendError::refused("an object"))?;
        println!("  {key} = {}", String::from_utf8_lossy(&frame));
        self.0.lock().unwrap().insert(key.to_owned(), frame);
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        self.0.lock().unwrap().remove(key);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), dogpile::Error> {
    let region: Region = Region::new("shelf");
    region.configure(Config::new(Shelf::default()))?;
    let answer: u32 = region.get_or_create("answer", || async { 42 }).await;
    assert_eq!(answer, 42);
    assert_eq!(region.get::<u32>("answer").await?, Some(42));
    Ok(())
}
