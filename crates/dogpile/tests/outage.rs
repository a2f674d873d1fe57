//! A backend that does not answer: what a process keeps meanwhile, and for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dogpile::backend::{AnyBackend, BackendError, Memory, SerializedMemory};
use dogpile::clock::Clock;
use dogpile::invalidation::{InProcess, Invalidation, Mode};
use dogpile::proxy::Proxy;
use dogpile::value::Entry;
use dogpile::{Config, Region, Status};
use dogpile_testkit::{Faults, ManualClock};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const KEPT: Duration = Duration::from_secs(10);

/// A region whose backend is down.
fn down(change: impl FnOnce(Config) -> Config) -> (Arc<Region>, Faults, ManualClock) {
    let (region, faults, clock) = (Region::new("down"), Faults::new(), ManualClock::new());
    let config = Config::new(Memory::new(10)).proxy(faults.clone()).clock(clock.clone());
    region.configure(change(config)).unwrap();
    faults.down();
    (Arc::new(region), faults, clock)
}

#[tokio::test]
async fn a_key_costs_one_creation_in_a_process_and_time() {
    let (region, _, clock) = down(|config| config);
    let runs = Arc::new(AtomicUsize::new(0));
    for round in 1..4 {
        let mut calls = JoinSet::new();
        for _ in 0..50 {
            let (region, runs) = (region.clone(), runs.clone());
            calls.spawn(async move {
                let creator = async || {
                    tokio::task::yield_now().await;
                    runs.fetch_add(1, Ordering::SeqCst) + 1
                };
                region.get_or_create::<usize, _, _>("k", creator).await
            });
        }
        assert!(calls.join_all().await.into_iter().all(|value| value == round));
        let found = region.entry("k").lookup(async || 0_usize).await;
        assert_eq!((found.value, found.status), (round, Status::Kept));
        let both = region.get_or_create_multi(["k", "other"], async |_| vec![100 * round]).await;
        assert_eq!(both.unwrap(), [round, 100 * round]);
        clock.advance(KEPT + Duration::from_millis(1));
    }
    assert_eq!(runs.load(Ordering::SeqCst), 3);
    // Who wants to know is told.
    assert!(region.entry("k").strict().get_or_create(async || 0_usize).await.is_err());
    assert!(region.get::<usize>("k").await.is_err());
}

#[tokio::test]
async fn a_backend_that_is_back_has_the_say() {
    let (region, faults, _) = down(|config| config);
    assert_eq!(region.get_or_create("k", async || 1).await, 1);
    faults.clear();
    region.set("other", &7).await.unwrap();
    assert_eq!(region.get_or_create("k", async || 2).await, 2, "nothing is stored");
    faults.down();
    assert_eq!(region.get_or_create("k", async || 3).await, 3, "nothing is kept any more");
}

#[tokio::test]
async fn changes_end_it_also_where_they_fail() {
    let (region, _, _) = down(|config| config);
    let mut next = 0;
    let mut is_created = async |region: &Region| {
        next += 1;
        let value = region.get_or_create("k", async || next).await;
        assert_eq!(region.get_or_create("k", async || 0).await, value, "it is kept");
        value == next
    };
    assert!(is_created(&region).await);
    assert!(!is_created(&region).await);
    region.delete("k").await.unwrap_err();
    assert!(is_created(&region).await);
    region.set("k", &1).await.unwrap_err();
    assert!(is_created(&region).await);
    region.delete_multi(["k"]).await.unwrap_err();
    assert!(is_created(&region).await);
    region.invalidate_all().await.unwrap();
    assert!(is_created(&region).await);
    assert_eq!(region.entry("k").refresh(async || 50).await, 50);
    assert_eq!(region.get_or_create("k", async || 0).await, 50);
    // A change while the value is created: it must not stay.
    region.delete("k").await.unwrap_err();
    let overtaken = async || {
        region.delete("k").await.unwrap_err();
        60
    };
    assert_eq!(region.get_or_create("k", overtaken).await, 60);
    assert_eq!(region.get_or_create("k", async || 70).await, 70);
}

#[tokio::test]
async fn what_is_kept_expires_as_what_is_stored() {
    let second = Duration::from_secs(1);
    let (region, _, clock) = down(|config| config.expiration(second));
    assert_eq!(region.get_or_create("k", async || 1).await, 1);
    clock.advance(second * 2);
    assert_eq!(region.get_or_create("k", async || 2).await, 2);
    let vetoed = region.entry("v").should_cache(|_: &i32| false);
    assert_eq!(vetoed.get_or_create(async || 1).await, 1);
    assert_eq!(region.get_or_create("v", async || 2).await, 2);
    // A kept value of another type is none.
    assert_eq!(region.get_or_create("k", async || "text".to_owned()).await, "text");
}

#[tokio::test]
async fn nothing_is_kept_for_no_time() {
    let (region, _, _) = down(|config| config.keep_when_down(Duration::ZERO));
    for n in 0..3 {
        assert_eq!(region.get_or_create("k", async || n).await, n);
    }
}

/// Two processes over one store; the first loses it.
struct Two {
    cut_off: Region,
    other: Region,
    faults: Faults,
    clock: ManualClock,
}

impl Two {
    fn new() -> Self {
        Self::with(|config| config)
    }

    fn with(change: impl Fn(Config) -> Config) -> Self {
        let (faults, clock) = (Faults::new(), ManualClock::new());
        let backend = AnyBackend::new(SerializedMemory::new(100));
        let open = |config: Config| {
            let region = Region::new("two");
            region.configure(change(config.clock(clock.clone()))).unwrap();
            region
        };
        let cut_off = open(Config::over(backend.clone()).proxy(faults.clone()));
        Self { cut_off, other: open(Config::over(backend)), faults, clock }
    }

    /// Lets time pass until nothing is left to be deleted.
    async fn pay(&self) {
        while self.cut_off.statistics().pending_deletions > 0 {
            self.clock.advance(Duration::from_millis(100));
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_deletion_that_failed_holds_here_at_once_and_everywhere_when_the_store_is_back() {
    let two = Two::new();
    two.other.set_multi([("a", &1), ("b", &1), ("c", &1), ("d", &1)]).await.unwrap();
    two.faults.down();
    two.cut_off.delete("a").await.unwrap_err();
    two.cut_off.set("b", &2).await.unwrap_err();
    two.cut_off.delete_multi(["c"]).await.unwrap_err();
    assert_eq!(two.cut_off.entry("d").refresh(async || 2).await, 2);
    assert_eq!(two.cut_off.statistics().pending_deletions, 4);
    two.faults.clear();
    // The store is back, and has not been told yet.
    assert_eq!(two.other.get("a").await.unwrap(), Some(1));
    for key in ["a", "b", "c", "d"] {
        assert_eq!(two.cut_off.get::<i32>(key).await.unwrap(), None, "{key}");
    }
    let several = two.cut_off.get_multi::<i32, _>(["a", "b"]).await.unwrap();
    assert_eq!(several, [None, None]);
    assert_eq!(two.cut_off.get_or_create("a", async || 3).await, 3);
    assert_eq!(two.other.get("a").await.unwrap(), Some(3), "what is created since is stored");
    two.cut_off.set("b", &4).await.unwrap();
    assert_eq!(two.cut_off.statistics().pending_deletions, 2);
    two.pay().await;
    let left = two.other.get_multi::<i32, _>(["a", "b", "c", "d"]).await.unwrap();
    assert_eq!(left, [Some(3), Some(4), None, None]);
}

#[tokio::test]
async fn an_invalidation_that_failed_holds_here_at_once_and_everywhere_when_the_store_is_back() {
    for mode in [Mode::Hard, Mode::Soft] {
        let two = Two::with(|config| config.shared_invalidation(Duration::ZERO));
        two.other.set("k", &1).await.unwrap();
        two.faults.down();
        match mode {
            Mode::Hard => two.cut_off.invalidate_all().await.unwrap_err(),
            Mode::Soft => two.cut_off.expire_all().await.unwrap_err(),
        };
        assert_eq!(two.cut_off.statistics().pending_deletions, 1);
        two.faults.clear();
        assert_eq!(two.cut_off.get::<i32>("k").await.unwrap(), None);
        assert_eq!(two.other.get("k").await.unwrap(), Some(1), "it was not told");
        let stale = two.cut_off.entry("k").ignore_expiration().get::<i32>().await.unwrap();
        assert_eq!(stale, Some(1));
        two.pay().await;
        assert_eq!(two.other.get::<i32>("k").await.unwrap(), None);
        two.clock.advance(Duration::from_millis(1));
        assert_eq!(two.other.get_or_create("k", async || 2).await, 2);
        assert_eq!(two.cut_off.get("k").await.unwrap(), Some(2), "{mode:?}");
    }
}

/// Attempts are a second apart by then. Whoever finds the store answering again ends the pause.
#[tokio::test]
async fn what_is_owed_is_paid_as_soon_as_the_store_answers_again() {
    let step = Duration::from_millis(100);
    for steps in 0..10 {
        let two = Two::new();
        two.other.set("k", &1).await.unwrap();
        two.faults.down();
        two.cut_off.delete("k").await.unwrap_err();
        let pass = async |steps| {
            for _ in 0..steps {
                two.clock.advance(step);
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
            }
        };
        pass(40 + steps).await;
        assert_eq!(two.cut_off.get_or_create("another", async || 2).await, 2);
        two.faults.clear();
        assert_eq!(two.cut_off.get_or_create("another", async || 3).await, 3);
        pass(1).await;
        assert_eq!(two.cut_off.statistics().pending_deletions, 0, "after {steps} steps");
    }
}

/// More deletions than are remembered are one invalidation of all.
#[tokio::test]
async fn too_many_deletions_invalidate_the_region() {
    let two = Two::with(|config| config.shared_invalidation(Duration::ZERO));
    two.other.set("last", &1).await.unwrap();
    two.other.set("never touched", &1).await.unwrap();
    two.clock.advance(Duration::from_secs(1));
    two.faults.down();
    for key in 0..10_000 {
        two.cut_off.entry(key.to_string()).delete().await.unwrap_err();
    }
    assert_eq!(two.cut_off.statistics().pending_deletions, 10_000);
    two.cut_off.delete("last").await.unwrap_err();
    assert_eq!(two.cut_off.statistics().pending_deletions, 10_001);
    two.faults.clear();
    for key in ["last", "never touched"] {
        assert_eq!(two.cut_off.get::<i32>(key).await.unwrap(), None);
    }
    two.pay().await;
    assert_eq!(two.other.get::<i32>("last").await.unwrap(), None);
}

/// A value that is created while the store is away is newer than the change, although that is not made yet.
#[tokio::test]
async fn what_is_kept_after_a_change_that_failed_is_used() {
    let two = Two::new();
    two.other.set("k", &1).await.unwrap();
    two.faults.down();
    two.cut_off.delete("k").await.unwrap_err();
    assert_eq!(two.cut_off.get_or_create("k", async || 2).await, 2);
    assert_eq!(two.cut_off.get_or_create("k", async || 3).await, 2, "it is kept");
    two.faults.clear();
    two.pay().await;
    assert_eq!(two.other.get::<i32>("k").await.unwrap(), None);
}

#[tokio::test]
async fn a_refresh_ends_what_is_kept_whatever_becomes_of_it() {
    let (region, faults, _) = down(|config| config);
    assert_eq!(region.get_or_create("k", async || 1).await, 1);
    let vetoed = region.entry("k").should_cache(|_: &i32| false);
    assert_eq!(vetoed.refresh(async || 2).await, 2);
    assert_eq!(region.get_or_create("k", async || 3).await, 3);
    faults.clear();
    assert_eq!(region.entry("k").strict().refresh(async || 4).await.unwrap(), 4);
    faults.down();
    assert_eq!(region.get_or_create("k", async || 5).await, 5);
    region.expire("k").await.unwrap_err();
    assert_eq!(region.get_or_create("k", async || 6).await, 6);
    faults.clear();
    region.expire("k").await.unwrap();
    faults.down();
    assert_eq!(region.get_or_create("k", async || 7).await, 7);
}

/// A process does not go back behind a value that it has read.
#[tokio::test]
async fn every_answer_about_a_key_ends_what_is_kept_of_it() {
    let two = Two::new();
    for way in 0..4 {
        two.faults.down();
        two.cut_off.delete("k").await.unwrap_err();
        assert_eq!(two.cut_off.get_or_create("k", async || 1).await, 1);
        two.faults.clear();
        two.pay().await;
        two.other.set("k", &2).await.unwrap();
        match way {
            0 => assert_eq!(two.cut_off.get("k").await.unwrap(), Some(2)),
            1 => assert_eq!(two.cut_off.get_multi(["k"]).await.unwrap(), [Some(2)]),
            2 => assert_eq!(two.cut_off.get_or_create("k", async || 0).await, 2),
            _ => {
                let found = two.cut_off.get_or_create_multi(["k"], async |_| vec![0]).await;
                assert_eq!(found.unwrap(), [2]);
            }
        }
        two.faults.down();
        assert_eq!(two.cut_off.get_or_create("k", async || 3).await, 3, "{way}");
        two.faults.clear();
    }
}

/// An invalidation that becomes known afterwards takes what is kept as what is stored: by the
/// moment when its creation began.
#[tokio::test]
async fn an_invalidation_that_comes_late_takes_what_is_kept() {
    for is_down in [false, true] {
        let (faults, clock, moments) =
            (Faults::new(), ManualClock::new(), Arc::new(InProcess::new()));
        let config = Config::new(Memory::new(10)).proxy(faults.clone()).clock(clock.clone());
        let region = Region::new("late");
        region.configure(config.invalidation(moments.clone())).unwrap();
        if is_down {
            faults.down();
        }
        let began = clock.now();
        let slow = async || {
            clock.advance(Duration::from_secs(4));
            1
        };
        assert_eq!(region.get_or_create("k", slow).await, 1);
        moments.invalidate(Mode::Hard, began + 2.0).await.unwrap();
        assert_eq!(region.get_or_create("k", async || 2).await, 2, "down: {is_down}");
    }
}

/// One server of several does not answer.
#[derive(Clone)]
struct OneServerIsDown;

impl Proxy for OneServerIsDown {
    async fn get(&self, next: &AnyBackend, key: &str) -> Result<Option<Entry>, BackendError> {
        if key.starts_with("down") { Err(away()) } else { next.get(key).await }
    }

    async fn set(&self, next: &AnyBackend, key: &str, entry: Entry) -> Result<(), BackendError> {
        if key.starts_with("down") { Err(away()) } else { next.set(key, entry).await }
    }
}

fn away() -> BackendError {
    BackendError::unavailable("it is away")
}

#[tokio::test]
async fn keys_of_a_server_that_is_away_are_kept_while_others_answer() {
    let region = Region::new("several");
    region.configure(Config::new(Memory::new(10)).proxy(OneServerIsDown)).unwrap();
    assert_eq!(region.get_or_create("down", async || 1).await, 1);
    assert_eq!(region.get_or_create("up", async || 1).await, 1);
    assert_eq!(region.get_or_create("down", async || 2).await, 1);
}

/// Holds deletions back before they are made, and answers to stores after they are; one permit
/// each lets one go.
#[derive(Clone)]
struct Slow {
    deletions: Arc<Semaphore>,
    stored: Arc<Semaphore>,
}

impl Proxy for Slow {
    async fn set(&self, next: &AnyBackend, key: &str, entry: Entry) -> Result<(), BackendError> {
        next.set(key, entry).await?;
        self.stored.acquire().await.unwrap().forget();
        Ok(())
    }

    async fn set_multi(
        &self,
        next: &AnyBackend,
        entries: &[(&str, Entry)],
    ) -> Result<(), BackendError> {
        next.set_multi(entries).await?;
        self.stored.acquire().await.unwrap().forget();
        Ok(())
    }

    async fn delete_multi(&self, next: &AnyBackend, keys: &[&str]) -> Result<(), BackendError> {
        self.deletions.acquire().await.unwrap().forget();
        next.delete_multi(keys).await
    }
}

/// The late deletion after a failed change does not take what a later one has stored.
#[tokio::test]
async fn a_late_deletion_does_not_take_what_was_stored_meanwhile() {
    for (is_deletion_first, is_multi) in
        [(true, false), (false, false), (true, true), (false, true)]
    {
        let none = || Arc::new(Semaphore::new(0));
        let slow = Slow { deletions: none(), stored: none() };
        let (region, faults, clock) = down(|config| config.proxy(slow.clone()));
        region.set("k", &1).await.unwrap_err();
        faults.clear();
        let pass = async || {
            for _ in 0..10 {
                clock.advance(Duration::from_millis(100));
                tokio::task::yield_now().await;
            }
        };
        let (first, second) = (&slow.deletions, &slow.stored);
        let (first, second) = if is_deletion_first { (first, second) } else { (second, first) };
        if is_deletion_first {
            pass().await;
        }
        let set = tokio::spawn({
            let region = region.clone();
            async move {
                if is_multi {
                    region.set_multi([("k", &2)]).await
                } else {
                    region.set("k", &2).await
                }
            }
        });
        pass().await;
        second.add_permits(1);
        pass().await;
        first.add_permits(1);
        pass().await;
        set.await.unwrap().unwrap();
        pass().await;
        let case = format!("deletion first: {is_deletion_first}, several: {is_multi}");
        assert_eq!(region.get("k").await.unwrap(), Some(2), "{case}");
        assert_eq!(region.statistics().pending_deletions, 0);
    }
}
