//! The states of an entry, and what each of its callers gets: the whole table, by a real region.
//!
//! ```text
//!   ct ---- fresh ---- X ---- stale ---- X + stale_while_revalidate ---- spare ---- X + stale_if_error ---- nothing
//! ```
//!
//! Both windows begin with the expiration X, and neither depends on the other.

use std::sync::Arc;
use std::time::Duration;

use dogpile::backend::Memory;
use dogpile::{Config, Region, Status};
use dogpile_testkit::ManualClock;
use tokio::sync::Notify;

const OLD: u32 = 1;
const NEW: u32 = 2;

/// The answer to a caller: a value with its origin, or its creator's error.
type Got = Result<(u32, Status), &'static str>;

const FAILED: Got = Err("it fails");
const CREATED: Got = Ok((NEW, Status::Created));
const HIT: Got = Ok((OLD, Status::Hit));
const STALE: Got = Ok((OLD, Status::Stale));
const STANDS_IN: Got = Ok((OLD, Status::StaleOnError));
const WAITED: Got = Ok((NEW, Status::Waited));

/// A change of the entry beside waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    No,
    Expire,
    ExpireAll,
    InvalidateAll,
    Delete,
}

/// One state, and its row of the table.
#[derive(Debug, Clone, Copy)]
struct Row {
    /// `stale_while_revalidate` and `stale_if_error`, in seconds. Values expire after 60.
    windows: (Option<u64>, Option<u64>),
    age: u64,
    change: Change,
    /// The answer to a creator that succeeds.
    ok: Got,
    /// The answers to a creator that fails, and to the next caller, whose creator would succeed.
    fails: (Got, Got),
    /// The answer while another's creation goes on; none if the caller would wait.
    meanwhile: Option<Got>,
    /// The answers to waiters for a creation that succeeds, and for one that fails.
    waits: Option<(Got, Got)>,
}

const FRESH: Row = Row {
    windows: (None, None),
    age: 30,
    change: Change::No,
    ok: HIT,
    fails: (HIT, HIT),
    meanwhile: None,
    waits: None,
};

const STALE_ROW: Row =
    Row { ok: CREATED, fails: (STANDS_IN, STANDS_IN), meanwhile: Some(STALE), age: 65, ..FRESH };

/// Served to others, and too old to stand in for a failure.
const ONLY_SERVED: Row = Row { fails: (FAILED, CREATED), ..STALE_ROW };

const SPARE: Row = Row { meanwhile: None, waits: Some((WAITED, STANDS_IN)), age: 100, ..STALE_ROW };

const NOTHING: Row =
    Row { fails: (FAILED, CREATED), waits: Some((WAITED, CREATED)), age: 170, ..SPARE };

const ROWS: [Row; 19] = {
    const SHORT: (Option<u64>, Option<u64>) = (Some(10), Some(100));
    const LONG: (Option<u64>, Option<u64>) = (Some(100), Some(10));
    const ANY_AGE: (Option<u64>, Option<u64>) = (None, Some(100));
    const NO_STAND_IN: (Option<u64>, Option<u64>) = (Some(10), None);
    [
        Row { windows: SHORT, ..FRESH },
        Row { windows: SHORT, ..STALE_ROW },
        Row { windows: SHORT, ..SPARE },
        Row { windows: SHORT, ..NOTHING },
        Row { windows: LONG, ..FRESH },
        Row { windows: LONG, ..STALE_ROW },
        Row { windows: LONG, age: 100, ..ONLY_SERVED },
        Row { windows: LONG, ..NOTHING },
        Row { windows: ANY_AGE, ..STALE_ROW },
        Row { windows: ANY_AGE, age: 170, ..ONLY_SERVED },
        Row { windows: NO_STAND_IN, ..ONLY_SERVED },
        Row { windows: NO_STAND_IN, age: 100, ..NOTHING },
        Row { windows: SHORT, age: 30, change: Change::Expire, ..STALE_ROW },
        Row { windows: SHORT, age: 100, change: Change::Expire, ..SPARE },
        Row { windows: SHORT, age: 30, change: Change::ExpireAll, ..STALE_ROW },
        Row { windows: NO_STAND_IN, age: 30, change: Change::Expire, ..ONLY_SERVED },
        Row { windows: SHORT, age: 30, change: Change::InvalidateAll, ..NOTHING },
        Row { windows: SHORT, age: 65, change: Change::InvalidateAll, ..NOTHING },
        Row { windows: ANY_AGE, age: 65, change: Change::Delete, ..NOTHING },
    ]
};

impl Row {
    /// A region whose key is in this state.
    async fn region(&self) -> Arc<Region> {
        let (region, clock) = (Region::new("states"), ManualClock::new());
        let mut config = Config::new(Memory::new(10)).clock(clock.clone());
        config = config.expiration(Duration::from_secs(60));
        if let Some(limit) = self.windows.0 {
            config = config.stale_while_revalidate(Duration::from_secs(limit));
        }
        if let Some(limit) = self.windows.1 {
            config = config.stale_if_error(Duration::from_secs(limit));
        }
        region.configure(config).unwrap();
        region.set("k", &OLD).await.unwrap();
        clock.advance(Duration::from_secs(self.age));
        match self.change {
            Change::No => {}
            Change::Expire => region.expire("k").await.unwrap(),
            Change::ExpireAll => region.expire_all().await.unwrap(),
            Change::InvalidateAll => region.invalidate_all().await.unwrap(),
            Change::Delete => region.delete("k").await.unwrap(),
        }
        Arc::new(region)
    }

    /// Returns what another caller gets while a creation goes on that ends with `result`.
    async fn beside(&self, result: Result<u32, &'static str>, must_wait: bool) -> Got {
        let region = self.region().await;
        let (began, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let elected = tokio::spawn({
            let (region, began, go) = (region.clone(), began.clone(), go.clone());
            async move {
                let creator = async || {
                    began.notify_one();
                    go.notified().await;
                    result
                };
                region.entry("k").try_lookup(creator).await.map(|found| found.value)
            }
        });
        began.notified().await;
        let other = tokio::spawn(async move { ask(&region, Ok(NEW)).await });
        while !must_wait && !other.is_finished() {
            tokio::task::yield_now().await;
        }
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert_eq!(other.is_finished(), !must_wait, "{self:?}");
        go.notify_one();
        let _ = elected.await.unwrap();
        other.await.unwrap()
    }
}

async fn ask(region: &Region, result: Result<u32, &'static str>) -> Got {
    let found = region.entry("k").try_lookup(async || result).await?;
    Ok((found.value, found.status))
}

#[tokio::test]
async fn every_caller_gets_what_the_table_says() {
    for row in ROWS {
        assert_eq!(ask(&*row.region().await, Ok(NEW)).await, row.ok, "ok: {row:?}");
        let region = row.region().await;
        let first = ask(&region, Err("it fails")).await;
        let next = ask(&region, Ok(NEW)).await;
        assert_eq!((first, next), row.fails, "fails: {row:?}");
        if let Some(meanwhile) = row.meanwhile {
            for result in [Ok(NEW), Err("it fails")] {
                assert_eq!(row.beside(result, false).await, meanwhile, "meanwhile: {row:?}");
            }
        }
        if let Some((of_success, of_failure)) = row.waits {
            assert_eq!(row.beside(Ok(NEW), true).await, of_success, "waits: {row:?}");
            let got = row.beside(Err("it fails"), true).await;
            assert_eq!(got, of_failure, "waits for a failure: {row:?}");
        }
    }
}
