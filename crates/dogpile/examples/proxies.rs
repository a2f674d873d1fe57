//! Layers around a backend: values are compressed, then encrypted.
//!
//! `cargo run -p dogpile --features compression,encryption --example proxies`

use dogpile::backend::SerializedMemory;
use dogpile::proxy::{Algorithm, Compression, Encryption, EncryptionKey, KeyPrefix};
use dogpile::{Config, Region};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let letters: Region = Region::new("letters");
    let key = EncryptionKey::new("2026", &[7; 32]); // from where you keep secrets
    letters.configure(
        Config::new(SerializedMemory::new(100))
            .proxy(KeyPrefix::new("v1:"))
            .proxy(Encryption::new(key))
            .proxy(Compression::new(Algorithm::Lz4)),
    )?;
    let letter = "Dear Ada, ".repeat(1_000);
    letters.set("42", &letter).await?;
    assert_eq!(letters.get::<String>("42").await?, Some(letter));
    println!("stored as {:?}, and read back", letters.stored_key("42")?);
    Ok(())
}
