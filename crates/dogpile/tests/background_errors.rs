//! The log line of a failed creation in the background.
#![cfg(all(feature = "macros", feature = "tracing"))]
#![allow(clippy::unused_async, reason = "functions are as short as can be")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dogpile::backend::Memory;
use dogpile::{Config, Region, cached};

/// The lines that were logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

static REGION: Region = Region::new("background");

/// An error with a cause, and without `Display`.
#[derive(Debug)]
struct OnlyDebug;

#[cached(region = REGION, background, expiration = 0s)]
async fn with_cause(fails: bool) -> Result<u32, io::Error> {
    let _ = fails;
    Err(io::Error::other("the database is away"))
}

#[cached(region = REGION, background, expiration = 0s)]
fn only_debug(n: u32) -> Result<u32, OnlyDebug> {
    let _ = n;
    Err(OnlyDebug)
}

#[tokio::test]
async fn a_failure_in_the_background_is_logged_with_its_error() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let clock = dogpile_testkit::ManualClock::new();
    REGION.configure(Config::new(Memory::new(10)).clock(clock.clone())).unwrap();
    with_cause::set(&1, true).await.unwrap();
    only_debug::set(&2, 1).unwrap();
    REGION.set("direct", &3_u32).await.unwrap();
    clock.advance(Duration::from_secs(1));
    assert_eq!(with_cause(true).await.unwrap(), 1);
    assert_eq!(only_debug(1).unwrap(), 2);
    let direct = REGION.entry("direct").expiration(Duration::ZERO);
    assert_eq!(
        direct.try_get_or_create_in_background(async || Err::<u32, _>("no luck")).await,
        Ok(3)
    );
    while REGION.statistics().creator_failures < 3 {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let text = log.text();
    for cause in ["the database is away", "OnlyDebug", "no luck"] {
        assert!(text.contains("the creator failed for") && text.contains(cause), "{cause}: {text}");
    }
}
