//! The view at three in the morning: events, counts, metrics.

use std::cell::RefCell;
use std::io::Write;
use std::sync::Once;
use std::time::Duration;

use dogpile::backend::{Memory, SerializedMemory};
use dogpile::proxy::Logging;
use dogpile::value::Entry;
use dogpile::{Config, Region};
use dogpile_testkit::{Faults, ManualClock};

thread_local! {
    /// The log of this thread.
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes to the lines of the thread that logs.
struct OfThisThread;

impl Write for OfThisThread {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.with(|lines| lines.borrow_mut().extend(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Returns the log of `work`. One subscriber serves all tests, because
/// which events are wanted is cached for the whole process.
fn logged(work: impl Future<Output = ()>) -> String {
    static SUBSCRIBED: Once = Once::new();
    SUBSCRIBED.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(|| OfThisThread)
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
    LINES.with(|lines| lines.borrow_mut().clear());
    pollster::block_on(work);
    LINES.with(|lines| String::from_utf8(lines.borrow().clone()).unwrap())
}

#[test]
fn the_documented_events_are_logged_at_debug() {
    let clock = ManualClock::new();
    let region = Region::new("users");
    let config = Config::new(SerializedMemory::new(10)).clock(clock.clone());
    region.configure(config.expiration(Duration::from_secs(60))).unwrap();
    let text = logged(async {
        region.get_or_create("k", async || "secret-value".to_owned()).await;
        region.invalidate_all().await.unwrap();
        region.get_or_create("k", async || "secret-value".to_owned()).await;
        let mut entry = region.backend().unwrap().get("k").await.unwrap().unwrap();
        entry.metadata.v = 1;
        region.backend().unwrap().set("k", entry).await.unwrap();
        region.get_or_create("k", async || "secret-value".to_owned()).await;
    });
    for words in [
        "DEBUG dogpile: no value present for k region=\"users\"",
        "hard invalidation detected",
        "value version changed",
        "value generated in 0.000 seconds for k",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    assert!(!text.contains("secret-value"), "{text}");
}

#[test]
fn creators_run_in_a_span() {
    let region = Region::new("users");
    region.configure(Config::new(Memory::new(10))).unwrap();
    let text = logged(async {
        region
            .get_or_create("k", async || {
                tracing::info!("asking the database");
                1
            })
            .await;
    });
    let line = text.lines().find(|line| line.contains("asking the database")).unwrap();
    assert!(line.contains("create{region=\"users\" keys=k}"), "{line}");
}

#[test]
fn what_needs_attention_is_a_warning() {
    let faults = Faults::new();
    let region = Region::new("users");
    let config = Config::new(SerializedMemory::new(10)).proxy(faults.clone());
    region.configure(config).unwrap();
    let text = logged(async {
        let broken = Entry::bytes(b"{broken".to_vec(), 1e9);
        region.backend().unwrap().set("k", broken).await.unwrap();
        region.get_or_create("k", async || 1).await;
        faults.down();
        region.get_or_create("k", async || 1).await;
        static EARLY: Region = Region::new("early");
        EARLY.get_or_create("k", async || 1).await;
        EARLY.get_or_create("k", async || 1).await;
    });
    for words in [
        "WARN dogpile: stored value cannot be read and counts as missing",
        "WARN dogpile: backend failed; going on without it region=\"users\" operation=\"get\"",
        "region `early` is not configured",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    assert_eq!(text.matches("`early`").count(), 1, "warned once");
}

/// While a server is away, each call fails; one of them in ten seconds is a
/// warning.
#[test]
fn a_series_of_failures_is_one_warning() {
    let (faults, clock) = (Faults::new(), ManualClock::new());
    let region = Region::new("series");
    let config = Config::new(SerializedMemory::new(10)).proxy(faults.clone());
    region.configure(config.clock(clock.clone())).unwrap();
    faults.down();
    let warnings = |text: &str| text.lines().filter(|line| line.contains("WARN")).count();
    let calls = async || {
        for n in 0..20 {
            let _: u32 = region.get_or_create("k", async || n).await;
        }
    };
    assert_eq!(warnings(&logged(calls())), 1);
    assert_eq!(warnings(&logged(calls())), 0);
    clock.advance(Duration::from_secs(10));
    assert_eq!(warnings(&logged(calls())), 1);
    assert!(region.statistics().backend_errors >= 60, "all are counted");
}

#[test]
fn the_logging_proxy_logs_operations_and_their_outcomes() {
    let region = Region::new("users");
    region.configure(Config::new(Memory::new(10)).proxy(Logging)).unwrap();
    let text = logged(async {
        region.get::<u8>("line\nbreak").await.unwrap();
        region.set("k", &1_u8).await.unwrap();
        region.get::<u8>("k").await.unwrap();
    });
    for words in ["operation=\"get\"", "outcome=\"miss\"", "outcome=\"hit\"", "operation=\"set\""] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    assert_eq!(text.lines().count(), 3, "keys cannot break lines: {text}");
}

#[test]
fn statistics_say_what_happened() {
    let clock = ManualClock::new();
    let region = Region::new("users");
    let config = Config::new(SerializedMemory::new(10)).clock(clock.clone());
    region.configure(config.expiration(Duration::from_secs(60))).unwrap();
    let blocking = region.blocking();
    blocking.get::<String>("k").unwrap();
    blocking.get_or_create("k", || "12345678".to_owned());
    blocking.get_or_create("k", || "not called".to_owned());
    blocking.get::<String>("k").unwrap();
    let _ = blocking.try_get_or_create("j", || Err::<String, _>("failed"));
    let statistics = region.statistics();
    assert_eq!((statistics.hits, statistics.misses, statistics.stale), (2, 3, 0));
    assert_eq!((statistics.creations, statistics.creator_failures), (1, 1));
    assert_eq!(statistics.creation_time.count(), 1);
    assert_eq!(statistics.bytes_written, 10);
    assert_eq!(statistics.bytes_read, 20);
    assert!((statistics.hit_ratio() - 0.4).abs() < 1e-9);
}

#[test]
fn debug_of_statistics_is_short_and_has_what_happened() {
    let region = Region::new("users");
    region.configure(Config::new(Memory::new(10))).unwrap();
    assert_eq!(format!("{:?}", region.statistics()), "Statistics { hit_ratio: 0.0%, .. }");
    region.blocking().get_or_create("k", || 1);
    region.blocking().get_or_create("k", || 1);
    let text = format!("{:?}", region.statistics());
    let begins = "Statistics { hit_ratio: 50.0%, hits: 1, misses: 1, creations: 1, creation_time: 1 (median ";
    assert!(text.starts_with(begins), "{text}");
    assert!(text.len() < 200 && !text.contains("wait_time"), "{text}");
}

#[test]
fn a_failing_creator_of_a_plain_call_is_a_warning() {
    let region = Region::new("failing");
    region.configure(Config::new(Memory::new(10))).unwrap();
    let text = logged(async {
        let failed = region.try_get_or_create::<u8, _, _, _>("k", async || Err(std::fmt::Error));
        assert!(failed.await.is_err());
    });
    let warnings: Vec<_> = text.lines().filter(|line| line.contains("WARN")).collect();
    let [warning] = warnings[..] else { panic!("{text}") };
    for words in ["the creator failed for k", "region=\"failing\"", "core::fmt::Error"] {
        assert!(warning.contains(words), "{words}: {warning}");
    }
}

/// Statistics are what is read at night: a call that ends in an error is one that missed.
#[test]
fn failing_calls_count_as_misses() {
    let region = Region::new("failing");
    let faults = Faults::new();
    region.configure(Config::new(Memory::new(10)).proxy(faults.clone())).unwrap();
    pollster::block_on(async {
        let failing = || region.try_get_or_create::<u32, _, _, _>("k", async || Err(()));
        assert!(failing().await.is_err());
        assert_eq!((region.statistics().misses, region.statistics().hits), (1, 0));
        region.set("k", &1_u32).await.unwrap();
        assert_eq!(failing().await, Ok(1));
        faults.down();
        assert!(failing().await.is_err());
        assert!(region.entry("k").strict().get_or_create(async || 1_u32).await.is_err());
        let counted = region.statistics();
        assert_eq!((counted.misses, counted.hits), (3, 1));
        assert_eq!(region.get_or_create("k", async || 1_u32).await, 1);
        assert_eq!(region.statistics().misses, 4);
    });
}
