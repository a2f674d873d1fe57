//! Checks of collections over a store; see
//! [`collections_conformance!`](crate::collections_conformance!).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dogpile::Error;
use dogpile::backend::AnyBackend;
use dogpile::collections::{Cached, CachedMapping, CachedSequence, CollectionBuilder, list, purge};

use super::Fixture;

type Numbers = HashMap<u32, u64>;

/// A table that changes with each load: every number is that of the load.
#[derive(Debug, Clone, Default)]
struct Source {
    loads: Arc<AtomicU32>,
    fails: Arc<AtomicBool>,
}

const ENTRIES: u32 = 500;

impl Source {
    fn load(&self) -> Result<Numbers, &'static str> {
        if self.fails.load(Ordering::SeqCst) {
            return Err("the table is locked");
        }
        let load = u64::from(self.loads.fetch_add(1, Ordering::SeqCst)) + 1;
        Ok((0..ENTRIES).map(|id| (id, load)).collect())
    }

    fn loads(&self) -> u32 {
        self.loads.load(Ordering::SeqCst)
    }
}

impl Fixture {
    /// A name for a collection that no other check uses.
    fn collection(&self) -> String {
        self.key("collection")
    }

    /// The collection of this check over `backend`, as a process has it.
    fn numbers(&self, backend: &AnyBackend, source: &Source) -> CollectionBuilder<Numbers> {
        let source = source.clone();
        let load = move || {
            let loaded = source.load();
            async { loaded }
        };
        CachedMapping::builder(&self.collection(), backend.clone(), load)
            .check_interval(Duration::from_millis(100))
    }

    fn handles(&self) -> [&AnyBackend; 2] {
        [&self.backend, self.peer.as_ref().unwrap_or(&self.backend)]
    }

    /// Two processes that have the collection open.
    async fn two(&self, source: &Source) -> [Cached<Numbers>; 2] {
        let [here, there] = self.handles();
        let here = self.numbers(here, source).open().await.expect("it can be opened");
        let there = self.numbers(there, source).open().await.expect("it can be opened");
        [here, there]
    }

    async fn stored_keys(&self) -> Vec<String> {
        let inspect = self.backend.inspect().expect("a store of collections can be looked into");
        let (mut keys, mut after) = (Vec::new(), None);
        loop {
            let page = inspect.keys(b"cached.", after.as_deref(), 1_000).await.expect("it answers");
            let name = self.collection();
            let listed = page.keys.into_iter().map(|key| key.key.to_string());
            keys.extend(listed.filter(|key| key.contains(&name)));
            after = page.next;
            if after.is_none() {
                // A server's cursor may come by a key twice.
                keys.sort_unstable();
                keys.dedup();
                return keys;
            }
        }
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(30), "it never happens that {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Every number is that of one load: which?
fn load_of(numbers: &Numbers) -> u64 {
    let load = numbers[&0];
    assert!(numbers.len() == ENTRIES as usize && numbers.values().all(|number| *number == load));
    load
}

fn total(numbers: &Numbers) -> u64 {
    numbers.values().sum()
}

/// The first to come loads; the others take what it stored.
pub async fn the_first_loads_and_the_others_pull(fixture: Fixture) {
    let source = Source::default();
    let [here, there] = fixture.two(&source).await;
    assert_eq!((source.loads(), there.revision()), (1, here.revision()));
    assert_eq!(*here.snapshot(), *there.snapshot());
    assert_eq!((there.get(&7), there.get(&ENTRIES), there.len()), (Some(1), None, 500));
    assert!(there.contains_key(&7) && !there.is_empty());
    let (here, there) = (here.statistics(), there.statistics());
    assert_eq!((here.loads, here.pushes, here.pulls), (1, 1, 0));
    assert_eq!((there.loads, there.pushes, there.pulls), (0, 0, 1));
    assert!(there.bytes_read > 0 && there.bytes_read == here.bytes_written && there.in_step);
}

/// However many open an empty store at once, one loads.
pub async fn a_crowd_that_opens_loads_once(fixture: Fixture) {
    let source = Source::default();
    let opening = (0..8).map(|n| {
        let builder = fixture.numbers(fixture.handles()[n % 2], &source);
        tokio::spawn(builder.open())
    });
    for opened in opening.collect::<Vec<_>>() {
        let opened = opened.await.expect("no task panics").expect("it can be opened");
        assert_eq!(load_of(&opened.snapshot()), 1);
    }
    assert_eq!(source.loads(), 1);
}

/// A push is in all processes soon, told of or found out.
pub async fn a_push_reaches_everyone(fixture: Fixture) {
    let source = Source::default();
    let [here, there] = fixture.two(&source).await;
    for round in 2..=4 {
        let before = here.revision();
        let pushed = here.push().await.expect("it can be pushed");
        assert_eq!((here.revision(), load_of(&here.snapshot())), (pushed, round));
        until("the other process has it", || there.revision() == pushed).await;
        assert_eq!(load_of(&there.snapshot()), round);
        assert!(pushed > before);
    }
    assert!(!there.pull().await.expect("it can be pulled"), "there is nothing newer");
    assert_eq!(source.loads(), 4);
}

/// A snapshot and its views are one revision for as long as they are held.
pub async fn a_snapshot_stays_as_it_is(fixture: Fixture) {
    let source = Source::default();
    let [here, there] = fixture.two(&source).await;
    let old = there.snapshot();
    let first = old.revision();
    let second = here.push().await.expect("it can be pushed");
    until("the other process has it", || there.revision() == second).await;
    assert_eq!((old.revision(), load_of(&old), *old.view(total)), (first, 1, 500));
    let new = there.snapshot();
    assert_eq!((new.revision(), load_of(&new), *new.view(total)), (second, 2, 1_000));
    assert_eq!((new.view(total).revision(), old.view(total).revision()), (second, first));
}

/// Prepared data are there before readers get the revision.
pub async fn views_can_be_prepared(fixture: Fixture) {
    static MADE: AtomicU32 = AtomicU32::new(0);
    fn counted(numbers: &Numbers) -> usize {
        MADE.fetch_add(1, Ordering::SeqCst);
        numbers.len()
    }
    let builder = fixture.numbers(&fixture.backend, &Source::default());
    let prepare = |now: &dogpile::collections::Snapshot<Numbers>| drop(now.view(counted));
    let before = MADE.load(Ordering::SeqCst);
    let numbers = builder.prepare(prepare).open().await.expect("it can be opened");
    assert_eq!(MADE.load(Ordering::SeqCst), before + 1);
    assert_eq!(*numbers.view(counted), 500);
    assert_eq!(MADE.load(Ordering::SeqCst), before + 1);
}

/// Data too large for one value are stored in parts, and nothing of them is left
/// behind.
pub async fn large_data_come_in_parts(fixture: Fixture) {
    let source = Source::default();
    let [here, there] = fixture.handles();
    let small = |backend| fixture.numbers(backend, &source).part_bytes(512).compression(None);
    let here = small(here).open().await.expect("it can be opened");
    let there = small(there).open().await.expect("it can be opened");
    assert_eq!(load_of(&there.snapshot()), 1);
    let mut most = None;
    for round in 2..=5 {
        let pushed = here.push().await.expect("it can be pushed");
        until("the other process has it", || there.revision() == pushed).await;
        assert_eq!(load_of(&there.snapshot()), round);
        // Of two revisions at most, as after the second one.
        let keys = fixture.stored_keys().await;
        let most = *most.get_or_insert(keys.len());
        assert!((3..=most).contains(&keys.len()), "{most} before, {keys:?} now");
    }
    drop((here, there));
    let purged = purge(&fixture.backend, &fixture.collection(), "0").await;
    assert!(purged.expect("it can be purged"));
    assert_eq!(fixture.stored_keys().await, Vec::<String>::new());
}

/// A loader's error goes to who pushes, and changes nothing.
pub async fn a_failed_load_changes_nothing(fixture: Fixture) {
    let source = Source::default();
    let [here, _there] = fixture.two(&source).await;
    let first = here.revision();
    source.fails.store(true, Ordering::SeqCst);
    let failed = here.push().await.expect_err("the loader fails");
    assert!(matches!(failed, Error::Load { .. }) && failed.to_string().contains("locked"));
    assert_eq!((here.revision(), load_of(&here.snapshot())), (first, 1));
    assert_eq!(here.statistics().load_failures, 1);
    source.fails.store(false, Ordering::SeqCst);
    assert!(here.push().await.expect("the lock was given up") > first);
}

/// Opening an empty collection fails with the loader.
pub async fn opening_fails_with_the_loader(fixture: Fixture) {
    let source = Source::default();
    source.fails.store(true, Ordering::SeqCst);
    let failed = fixture.numbers(&fixture.backend, &source).open().await;
    assert!(matches!(failed, Err(Error::Load { .. })));
    source.fails.store(false, Ordering::SeqCst);
    assert!(fixture.numbers(&fixture.backend, &source).open().await.is_ok());
}

/// Pushes at the same time come one after the other; all end with the last.
pub async fn concurrent_pushes_end_with_the_last(fixture: Fixture) {
    let source = Source::default();
    let both = fixture.two(&source).await;
    let first = both[0].revision();
    let pushing = (0..10).map(|n| {
        let numbers = both[n % 2].clone();
        tokio::spawn(async move { numbers.push().await.expect("it can be pushed") })
    });
    let mut revisions = Vec::new();
    for pushed in pushing.collect::<Vec<_>>() {
        revisions.push(pushed.await.expect("no task panics"));
    }
    revisions.sort_unstable();
    revisions.dedup();
    assert!(revisions.len() == 10 && revisions[0] > first, "{first}, {revisions:?}");
    for numbers in &both {
        until("the last push is there", || numbers.revision() == revisions[9]).await;
        assert_eq!(load_of(&numbers.snapshot()), 11);
    }
}

/// A store that has lost the data gets them again, under a higher number.
pub async fn what_the_store_has_lost_is_loaded_again(fixture: Fixture) {
    let source = Source::default();
    let [here, there] = fixture.two(&source).await;
    let second = here.push().await.expect("it can be pushed");
    until("the other process has it", || there.revision() == second).await;
    assert!(here.purge("0").await.expect("it can be purged"));
    for numbers in [&here, &there] {
        until("it is there again", || numbers.revision() > second).await;
        assert!(load_of(&numbers.snapshot()) >= 3);
    }
    // A fresh process may come first: whoever was, all agree, and on something new.
    drop(there);
    let before = here.revision();
    let [_, there] = fixture.handles();
    assert!(purge(there, &fixture.collection(), "0").await.is_ok());
    let fresh = fixture.numbers(there, &source).open().await.expect("it can be opened");
    until("all agree", || fresh.revision() == here.revision() && here.revision() > before).await;
    assert_eq!(load_of(&fresh.snapshot()), load_of(&here.snapshot()));
}

/// Versions live side by side, are listed, and are purged one by one.
pub async fn versions_live_side_by_side(fixture: Fixture) {
    let source = Source::default();
    let open = |version| fixture.numbers(&fixture.backend, &source).version(version).open();
    let (old, new) = (open("1.9").await.expect("it opens"), open("1.10").await.expect("it opens"));
    let pushed = new.push().await.expect("it can be pushed");
    assert_eq!((load_of(&old.snapshot()), load_of(&new.snapshot())), (1, 3));
    let name = fixture.collection();
    let listed = async || {
        let all = list(&fixture.backend).await.expect("it can be listed");
        let mut own: Vec<_> = all.into_iter().filter(|found| found.name == name).collect();
        own.sort_by(|one, other| one.version.cmp(&other.version));
        own
    };
    let found = listed().await;
    let versions: Vec<_> = found.iter().map(|f| (&*f.version, f.revision, f.entries)).collect();
    let expected = [("1.10", pushed, Some(500)), ("1.9", old.revision(), Some(500))];
    assert_eq!(versions, expected);
    assert!(found.iter().all(|found| found.pushed.is_some_and(f64::is_finite)));
    drop(old);
    assert!(new.purge("1.9").await.expect("it can be purged"));
    assert!(!new.purge("1.9").await.expect("it can be purged"), "it is gone");
    assert_eq!(listed().await.len(), 1);
    assert_eq!((new.revision(), load_of(&new.snapshot())), (pushed, 3));
}

/// Opening replaces unreadable data; a process that has data keeps them.
pub async fn unreadable_data_are_replaced_by_who_opens(fixture: Fixture) {
    let source = Source::default();
    let [here, _there] = fixture.two(&source).await;
    let first = here.revision();
    let text = |(): ()| async { Ok::<_, Error>(HashMap::from([("a".to_owned(), "b".to_owned())])) };
    let name = fixture.collection();
    let other = CachedMapping::builder(&name, fixture.backend.clone(), move || text(()));
    let other = other.open().await.expect("it can be opened");
    assert!(other.revision() > first && other.get("a").as_deref() == Some("b"));
    let refused = here.pull().await.expect_err("it cannot read that");
    assert!(refused.to_string().contains("pull"), "{refused}");
    assert_eq!((here.revision(), load_of(&here.snapshot())), (first, 1));
    assert!(here.statistics().unreadable > 0);
    // A list of pairs is no mapping, though its entries look alike.
    let pairs = || async { Ok::<_, Error>(vec![("a".to_owned(), "c".to_owned())]) };
    let list = CachedSequence::builder(&name, fixture.backend.clone(), pairs);
    let list = list.open().await.expect("it can be opened");
    assert_eq!(list.get(0).map(|(_, value)| value).as_deref(), Some("c"));
    let refused = other.pull().await.expect_err("it is no mapping").to_string();
    assert!(refused.contains("sequence") && refused.contains("change the version"), "{refused}");
    assert_eq!(other.get("a").as_deref(), Some("b"));
}

/// Data that are gone while their number is not are made again by who needs them,
/// and by one only.
pub async fn data_that_are_gone_are_loaded_again(fixture: Fixture) {
    let source = Source::default();
    let [here, there] = fixture.two(&source).await;
    let first = here.revision();
    let store = fixture.backend.collections().expect("it keeps collections");
    let place = store.place(&fixture.collection(), "0");
    fixture.backend.delete(&place.data()).await.expect("it can be deleted");
    let read = store.read(&place).await.expect("it can be read");
    assert!(matches!(read, Some((number, None)) if number == first), "{read:?}");
    let opening = fixture.handles().map(|backend| fixture.numbers(backend, &source).open());
    for opened in opening.map(tokio::spawn) {
        let fresh = opened.await.expect("no task panics").expect("it can be opened");
        assert_eq!(load_of(&fresh.snapshot()), 2);
        assert!(fresh.revision() > first);
    }
    for numbers in [&here, &there] {
        until("it is there again", || numbers.revision() > first).await;
        assert_eq!(load_of(&numbers.snapshot()), 2);
    }
}

/// Lists and ordered maps are collections too.
pub async fn sequences_and_ordered_maps_are_kept(fixture: Fixture) {
    let name = fixture.collection();
    let words = || Ok::<_, Error>(vec!["one".to_owned(), "two".to_owned()]);
    let ordered = || Ok::<_, Error>(BTreeMap::from([((1_i8, 'x'), 1.5_f64), ((-1, 'y'), 2.5)]));
    for backend in fixture.handles() {
        let list =
            CachedSequence::builder_blocking(&format!("{name}-list"), backend.clone(), words);
        let list = list.open().await.expect("it can be opened");
        assert_eq!((list.get(1).as_deref(), list.get(2), list.len()), (Some("two"), None, 2));
        assert_eq!(*list.view(|words: &[String]| words.concat()), "onetwo");
        let map = Cached::builder_blocking(&format!("{name}-map"), backend.clone(), ordered);
        let map = map.open().await.expect("it can be opened");
        assert_eq!((map.get(&(-1, 'y')), map.snapshot().first_key_value()), {
            (Some(2.5), Some((&(-1, 'y'), &2.5)))
        });
        let empty =
            CachedSequence::builder_blocking(&format!("{name}-empty"), backend.clone(), || {
                Ok::<Vec<u8>, Error>(Vec::new())
            });
        assert!(empty.open().await.expect("it can be opened").is_empty());
    }
}

/// All of it works without a runtime.
pub async fn blocking_calls_work_anywhere(fixture: Fixture) {
    let source = Source::default();
    let builder = fixture.numbers(&fixture.backend, &source);
    let work = move || {
        let numbers = builder.open_blocking().expect("it can be opened");
        let first = numbers.revision();
        assert!(numbers.blocking().push().expect("it can be pushed") > first);
        assert!(!numbers.blocking().pull().expect("it can be pulled"));
        assert!(!numbers.blocking().purge("none").expect("it can be purged"));
        for (id, load) in &numbers.snapshot() {
            assert!(*id < ENTRIES && *load == 2);
        }
        load_of(&numbers.snapshot())
    };
    let (done, outcome) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || done.send(work()));
    assert_eq!(outcome.await.expect("the thread does not panic"), 2);
}

/// Runs the suite of collections on a store: a module called `$name` with one test
/// for each check. `$open` is as for
/// [`conformance!`](crate::conformance!).
///
/// ```
/// use dogpile::backend::{AnyBackend, File};
///
/// dogpile_testkit::collections_conformance!(file, async || {
///     let directory = tempfile::TempDir::new().unwrap();
///     let path = directory.keep().join("collections.db");
///     AnyBackend::new(File::open(path).unwrap()).into()
/// });
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! collections_conformance {
    ($name:ident, $open:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $crate::conformance_checks! { $open;
                the_first_loads_and_the_others_pull
                a_crowd_that_opens_loads_once
                a_push_reaches_everyone
                a_snapshot_stays_as_it_is
                views_can_be_prepared
                large_data_come_in_parts
                a_failed_load_changes_nothing
                opening_fails_with_the_loader
                concurrent_pushes_end_with_the_last
                what_the_store_has_lost_is_loaded_again
                versions_live_side_by_side
                unreadable_data_are_replaced_by_who_opens
                data_that_are_gone_are_loaded_again
                sequences_and_ordered_maps_are_kept
                blocking_calls_work_anywhere
            }
        }
    };
}
