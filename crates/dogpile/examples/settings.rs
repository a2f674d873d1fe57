//! A region by settings: its backend is a line of TOML.
//!
//! `cargo run -p dogpile --features toml --example settings`

use std::time::Duration;

use dogpile::config::Settings;
use dogpile::{Region, cached};

static USERS: Region = Region::new("users");

const TOML: &str = r#"
[users]
backend = "memory"
expiration_time = "5m"
arguments.max_entries = 10_000
"#;

#[cached(region = USERS)]
async fn load_user(id: u64) -> String {
    tokio::time::sleep(Duration::from_millis(20)).await;
    format!("user {id}")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings::from_toml(TOML)?;
    USERS.configure(settings.with_prefix("users.").config()?)?;
    println!("{}", load_user(42).await);
    println!("over {:?}", USERS.backend()?);
    Ok(())
}
