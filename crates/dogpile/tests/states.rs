//! The states of an entry, and what each of its callers gets: the whole table of "The states of an
//! entry" in `docs/behaviour.md`, by a real region.
//!
//! Rows are {fresh, early, stale, spare, nothing}, with both orders of the windows; columns are
//! {the creator succeeds, fails, is slow, the key is held elsewhere, the store is down}, each for the
//! elected caller and for others.

use std::sync::Arc;
use std::time::Duration;

use dogpile::backend::Memory;
use dogpile::{Config, Early, Region, Status};
use dogpile_testkit::{Fault, Faults, ManualClock, Operation};
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
const KEPT: Got = Ok((NEW, Status::Kept));
const UNCACHED: Got = Ok((NEW, Status::Uncached));

/// The time after which a stale value is better than waiting on, and that after which waiters give up.
const SOFT: Duration = Duration::from_millis(100);
const WAIT: Duration = Duration::from_secs(1);

/// The moment at which a caller has its answer, while a creation takes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    AtOnce,
    /// With the soft limit.
    Soft,
    /// With the end of the creation.
    AtTheEnd,
}

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
    /// `stale_while_revalidate` and `stale_if_error`, in seconds. Values are early after 30, and expire after 60.
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
    /// The answer to a waiter whose wait timeout ends.
    gives_up: Option<Got>,
    /// The answers to who has the value created in the background, and to another caller, where that
    /// takes longer than the soft limit.
    slow: ((When, u32), (When, Got)),
    /// The answers to a creator that succeeds, and one that fails, if the store goes away
    /// between the look and the claim.
    lost: (Got, Got),
}

const FRESH: Row = Row {
    windows: (None, None),
    age: 20,
    change: Change::No,
    ok: HIT,
    fails: (HIT, HIT),
    meanwhile: None,
    waits: None,
    gives_up: None,
    slow: ((When::AtOnce, OLD), (When::AtOnce, HIT)),
    lost: (HIT, HIT),
};

const EARLY: Row = Row { ok: CREATED, meanwhile: Some(HIT), age: 40, ..FRESH };

const STALE_ROW: Row = Row {
    ok: CREATED,
    fails: (STANDS_IN, STANDS_IN),
    meanwhile: Some(STALE),
    slow: ((When::Soft, OLD), (When::AtOnce, STALE)),
    lost: (CREATED, STANDS_IN),
    age: 65,
    ..FRESH
};

/// Served to others, and too old to stand in for a failure.
const ONLY_SERVED: Row = Row { fails: (FAILED, CREATED), lost: (CREATED, FAILED), ..STALE_ROW };

const SPARE: Row = Row {
    meanwhile: None,
    waits: Some((WAITED, STANDS_IN)),
    gives_up: Some(STALE),
    slow: ((When::Soft, OLD), (When::Soft, STALE)),
    age: 100,
    ..STALE_ROW
};

const NOTHING: Row = Row {
    fails: (FAILED, CREATED),
    waits: Some((WAITED, CREATED)),
    gives_up: Some(UNCACHED),
    slow: ((When::AtTheEnd, NEW), (When::AtTheEnd, WAITED)),
    lost: (CREATED, FAILED),
    age: 170,
    ..SPARE
};

const ROWS: [Row; 24] = {
    const SHORT: (Option<u64>, Option<u64>) = (Some(10), Some(100));
    const LONG: (Option<u64>, Option<u64>) = (Some(100), Some(10));
    const ANY_AGE: (Option<u64>, Option<u64>) = (None, Some(100));
    const NO_STAND_IN: (Option<u64>, Option<u64>) = (Some(10), None);
    [
        Row { windows: SHORT, ..FRESH },
        Row { windows: SHORT, ..EARLY },
        Row { windows: SHORT, ..STALE_ROW },
        Row { windows: SHORT, ..SPARE },
        Row { windows: SHORT, ..NOTHING },
        Row { windows: LONG, ..FRESH },
        Row { windows: LONG, ..EARLY },
        Row { windows: LONG, ..STALE_ROW },
        Row { windows: LONG, age: 100, ..ONLY_SERVED },
        Row { windows: LONG, ..NOTHING },
        Row { windows: ANY_AGE, ..EARLY },
        Row { windows: ANY_AGE, ..STALE_ROW },
        Row { windows: ANY_AGE, age: 170, ..ONLY_SERVED },
        Row { windows: NO_STAND_IN, ..EARLY },
        Row { windows: NO_STAND_IN, ..ONLY_SERVED },
        Row { windows: NO_STAND_IN, age: 100, ..NOTHING },
        Row { windows: SHORT, age: 30, change: Change::Expire, ..STALE_ROW },
        Row { windows: SHORT, age: 100, change: Change::Expire, ..SPARE },
        Row { windows: SHORT, age: 30, change: Change::ExpireAll, ..STALE_ROW },
        Row { windows: NO_STAND_IN, age: 30, change: Change::Expire, ..ONLY_SERVED },
        Row { windows: SHORT, age: 40, change: Change::Expire, ..STALE_ROW },
        Row { windows: SHORT, age: 30, change: Change::InvalidateAll, ..NOTHING },
        Row { windows: SHORT, age: 65, change: Change::InvalidateAll, ..NOTHING },
        Row { windows: ANY_AGE, age: 65, change: Change::Delete, ..NOTHING },
    ]
};

/// A region whose key is in some state.
struct Case {
    region: Arc<Region>,
    clock: ManualClock,
    faults: Faults,
}

impl Row {
    async fn case(&self, change: impl FnOnce(Config) -> Config) -> Case {
        let (region, clock, faults) = (Region::new("states"), ManualClock::new(), Faults::new());
        let mut config = Config::new(Memory::new(10)).clock(clock.clone()).early(Early::at(0.5));
        config = config.expiration(Duration::from_secs(60));
        if let Some(limit) = self.windows.0 {
            config = config.stale_while_revalidate(Duration::from_secs(limit));
        }
        if let Some(limit) = self.windows.1 {
            config = config.stale_if_error(Duration::from_secs(limit));
        }
        region.configure(change(config.proxy(faults.clone()))).unwrap();
        region.set("k", &OLD).await.unwrap();
        clock.advance(Duration::from_secs(self.age));
        match self.change {
            Change::No => {}
            Change::Expire => region.expire("k").await.unwrap(),
            Change::ExpireAll => region.expire_all().await.unwrap(),
            Change::InvalidateAll => region.invalidate_all().await.unwrap(),
            Change::Delete => region.delete("k").await.unwrap(),
        }
        Case { region: Arc::new(region), clock, faults }
    }

    /// Returns what another caller gets while a creation goes on that ends with `result`.
    async fn beside(&self, result: Result<u32, &'static str>, must_wait: bool) -> Got {
        let Case { region, .. } = self.case(|config| config).await;
        let (began, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let elected = tokio::spawn(ask_gated(region.clone(), began.clone(), go.clone(), result));
        began.notified().await;
        let other = tokio::spawn(async move { ask(&region, Ok(NEW)).await });
        while !must_wait && !other.is_finished() {
            tokio::task::yield_now().await;
        }
        settle().await;
        assert_eq!(other.is_finished(), !must_wait, "{self:?}");
        go.notify_one();
        let _ = elected.await.unwrap();
        other.await.unwrap()
    }

    /// Returns what a waiter gets whose wait timeout ends.
    async fn after_the_wait_timeout(&self) -> Got {
        let Case { region, clock, .. } = self.case(|config| config.wait_timeout(WAIT)).await;
        let (began, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let elected = tokio::spawn(ask_gated(region.clone(), began.clone(), go.clone(), Ok(OLD)));
        began.notified().await;
        let other = tokio::spawn(async move { ask(&region, Ok(NEW)).await });
        settle().await;
        assert!(!other.is_finished(), "{self:?}");
        clock.advance(WAIT);
        let got = other.await.unwrap();
        go.notify_one();
        let _ = elected.await.unwrap();
        got
    }

    /// Returns what callers get whose creation in the background is slow, and when.
    async fn beside_a_slow_one(&self) -> ((When, u32), (When, Got)) {
        let Case { region, clock, .. } = self.case(|config| config.soft_timeout(SOFT)).await;
        let go = Arc::new(Notify::new());
        let elected = tokio::spawn({
            let (region, go) = (region.clone(), go.clone());
            let creator = async move || {
                go.notified().await;
                NEW
            };
            async move { region.entry("k").get_or_create_in_background(creator).await }
        });
        settle().await;
        let other = tokio::spawn(async move { ask(&region, Ok(OLD)).await });
        settle().await;
        let at_once = (elected.is_finished(), other.is_finished());
        clock.advance(SOFT);
        settle().await;
        let soft = (elected.is_finished(), other.is_finished());
        go.notify_one();
        let when = |at_once, soft| match (at_once, soft) {
            (true, _) => When::AtOnce,
            (false, true) => When::Soft,
            (false, false) => When::AtTheEnd,
        };
        let (of_elected, of_other) = (when(at_once.0, soft.0), when(at_once.1, soft.1));
        ((of_elected, elected.await.unwrap()), (of_other, other.await.unwrap()))
    }

    /// Returns what a caller gets who has looked before the store goes away.
    async fn of_a_lost_store(&self, result: Result<u32, &'static str>) -> Got {
        let Case { region, faults, .. } = self.case(|config| config).await;
        faults.next(Operation::Get, Fault::Held, 1);
        let call = tokio::spawn(async move { ask(&region, result).await });
        settle().await;
        assert!(!call.is_finished(), "{self:?}");
        faults.down();
        faults.release();
        call.await.unwrap()
    }
}

/// Lets all tasks go on as far as they can.
async fn settle() {
    for _ in 0..30 {
        tokio::task::yield_now().await;
    }
}

/// Asks with a creator that ends when it is told to.
async fn ask_gated(
    region: Arc<Region>,
    began: Arc<Notify>,
    go: Arc<Notify>,
    result: Result<u32, &'static str>,
) -> Result<u32, &'static str> {
    let creator = async || {
        began.notify_one();
        go.notified().await;
        result
    };
    region.entry("k").try_lookup(creator).await.map(|found| found.value)
}

async fn ask(region: &Region, result: Result<u32, &'static str>) -> Got {
    let found = region.entry("k").try_lookup(async || result).await?;
    Ok((found.value, found.status))
}

#[tokio::test]
async fn every_caller_gets_what_the_table_says() {
    for row in ROWS {
        let region = row.case(|config| config).await.region;
        assert_eq!(ask(&region, Ok(NEW)).await, row.ok, "ok: {row:?}");
        let region = row.case(|config| config).await.region;
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
        if let Some(expected) = row.gives_up {
            assert_eq!(row.after_the_wait_timeout().await, expected, "gives up: {row:?}");
        }
        assert_eq!(row.beside_a_slow_one().await, row.slow, "slow: {row:?}");
    }
}

/// While the store is away, whatever it holds is not known. There is no other tier that has it.
#[tokio::test]
async fn every_caller_gets_what_the_table_says_of_a_store_that_is_down() {
    for row in ROWS {
        let Case { region, faults, .. } = row.case(|config| config).await;
        faults.down();
        assert_eq!(ask(&region, Err("it fails")).await, FAILED, "down, and fails: {row:?}");
        assert_eq!(ask(&region, Ok(NEW)).await, CREATED, "down: {row:?}");
        assert_eq!(ask(&region, Ok(OLD)).await, KEPT, "down, and again: {row:?}");
        let lost = (row.of_a_lost_store(Ok(NEW)).await, row.of_a_lost_store(Err("it fails")).await);
        assert_eq!(lost, row.lost, "lost: {row:?}");
    }
}
