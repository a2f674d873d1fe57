//! Collections in a file: what fits into it, pushes that are given up, and being told
//! of changes.

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use common::wait_for_async;
use dogpile::Error;
use dogpile::backend::{
    AnyBackend, Backend, CollectionPlace, CollectionStore, ErrorKind, File, Upload, Watch,
};
use dogpile::collections::{CachedSequence, CollectionBuilder};
use dogpile::lock::{KeyedLock, Lease};
use dogpile::value::Entry;
use tempfile::TempDir;

const LOAD: Duration = Duration::from_secs(600);

fn place() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("collections.db");
    (directory, path)
}

fn store(file: &File) -> Arc<dyn CollectionStore> {
    AnyBackend::new(file.clone()).collections().unwrap()
}

/// Returns what a collection of this crate stores where it is empty.
fn data() -> bytes::Bytes {
    Entry::bytes("", 1e9).to_frame().unwrap()
}

/// A list of as many numbers as `entries` says, the first of which is the load's.
struct Table {
    entries: Arc<AtomicUsize>,
    loads: Arc<AtomicU32>,
}

impl Table {
    fn of(entries: usize) -> Self {
        Self { entries: Arc::new(entries.into()), loads: Arc::default() }
    }

    fn builder(&self, file: &File) -> CollectionBuilder<Vec<u64>> {
        let (entries, loads) = (self.entries.clone(), self.loads.clone());
        let load = move || {
            let load = u64::from(loads.fetch_add(1, Ordering::SeqCst)) + 1;
            let rest = (1..entries.load(Ordering::SeqCst) as u64).map(|n| n + 1_000_000_000);
            Ok::<_, Error>(std::iter::once(load).chain(rest).collect())
        };
        CachedSequence::builder_blocking("table", file.clone(), load)
            .part_bytes(4 << 10)
            .compression(None)
            .check_interval(Duration::from_millis(50))
    }
}

/// A push that does not fit into the file changes nothing, not even for processes that
/// start afterwards. Other entries make room for one that does.
#[tokio::test]
async fn what_does_not_fit_is_refused_and_the_revision_before_stays() {
    let (_directory, path) = place();
    let file = File::builder(&path).max_bytes(100 << 10).open().unwrap();
    let table = Table::of(3_000);
    let numbers = table.builder(&file).open().await.unwrap();
    let first = numbers.revision();
    for n in 0..100 {
        let entry = Entry::bytes(vec![7; 1 << 10], f64::from(n));
        file.set(&format!("other-{n}"), entry).await.unwrap();
        assert!(
            store(&file).revision(&CollectionPlace::new("table", "0")).await.unwrap().is_some()
        );
        if n % 10 == 0 {
            numbers.push().await.unwrap();
        }
    }
    let second = numbers.push().await.unwrap();
    assert!(second > first);
    for entries in [7_000, 20_000] {
        table.entries.store(entries, Ordering::SeqCst);
        let refused = numbers.push().await.unwrap_err();
        let Error::Collection(of) = &refused else { panic!("{refused}") };
        assert!(of.source.kind() == ErrorKind::Refused, "{refused}");
        assert!(refused.to_string().contains("`max_bytes`"), "{refused}");
        let loads = table.loads.load(Ordering::SeqCst);
        let fresh = table.builder(&file).open().await.unwrap();
        assert_eq!((fresh.revision(), fresh.len()), (second, 3_000));
        assert_eq!(table.loads.load(Ordering::SeqCst), loads, "it was there");
    }
    table.entries.store(3_100, Ordering::SeqCst);
    assert!(numbers.push().await.unwrap() > second, "what was refused is out of the way");
}

/// What is no entry at all can be read by nobody: it is made again by who has an older
/// revision, too.
#[tokio::test]
async fn what_is_no_entry_is_loaded_again() {
    let (_directory, path) = place();
    let file = File::open(&path).unwrap();
    let numbers = Table::of(10).builder(&file).open().await.unwrap();
    let (place, before) = (CollectionPlace::new("table", "0"), numbers.revision());
    let scribble = rusqlite::Connection::open(&path).unwrap();
    let sql = "UPDATE Dict SET value = CAST('no entry' AS BLOB) WHERE key = CAST(?1 AS BLOB)";
    assert_eq!(scribble.execute(sql, [place.data()]).unwrap(), 1);
    let next = (before + 1).to_string();
    file.set(&place.revision(), Entry::bytes(next, 1e9)).await.unwrap();
    wait_for_async(async || numbers.revision() > before + 1).await;
    assert_eq!(numbers.get(0), Some(2));
}

/// A number that is none is no reason not to push: the next one is as ever.
#[tokio::test]
async fn a_number_that_is_none_is_replaced() {
    let (_directory, path) = place();
    let file = File::open(&path).unwrap();
    let numbers = Table::of(10).builder(&file).open().await.unwrap();
    let place = CollectionPlace::new("table", "0");
    for number in ["1000000000000000", "18446744073709551615", "+5", "many"] {
        let before = numbers.revision();
        file.set(&place.revision(), Entry::bytes(number, 1e9)).await.unwrap();
        let pushed = numbers.push().await.unwrap();
        assert!(pushed > before && pushed < 1_000_000_000_000_000, "{pushed} after {number}");
        wait_for_async(async || numbers.statistics().in_step).await;
        assert_eq!(store(&file).revision(&place).await.unwrap(), Some(numbers.revision()));
    }
}

/// What a smaller revision needs no more goes back to the file system, bit by bit.
#[tokio::test]
async fn the_file_of_a_collection_shrinks() {
    let (_directory, path) = place();
    let file = File::open(&path).unwrap();
    let table = Table::of(200_000);
    let numbers = table.builder(&file).open().await.unwrap();
    let look = rusqlite::Connection::open(&path).unwrap();
    let pages = || look.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0)).unwrap();
    assert!(pages() > 400);
    table.entries.store(10, Ordering::SeqCst);
    for _ in 0..10 {
        numbers.push().await.unwrap();
    }
    wait_for_async(async || pages() < 100).await;
}

/// Parts that are gone when they are to be published are an error, and nothing is
/// published.
#[tokio::test]
async fn parts_of_a_file_that_was_replaced_are_not_published() {
    let (_directory, path) = place();
    let file = File::open(&path).unwrap();
    let (store, place) = (store(&file), CollectionPlace::new("c", "1"));
    let lease = hold(&*store, &place).await;
    store.write_part(&place, "u", 0, "one".into()).await.unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    store.write_part(&place, "u", 1, "two".into()).await.unwrap();
    let upload = Some(Upload { id: "u", parts: 2 });
    let refused = store.publish(&place, data(), upload, 0, lease).await.unwrap_err();
    assert!(refused.to_string().contains("1 of the 2 parts"), "{refused}");
    assert_eq!(store.read(&place).await.unwrap(), None);
    assert_eq!(store.read_part(&place, "u", 1).await.unwrap(), None);
    // It holds no lock.
    drop(hold(&*store, &place).await);
}

async fn hold(store: &dyn CollectionStore, place: &CollectionPlace) -> Lease {
    store.mutex(LOAD).try_lock(&place.revision()).await.unwrap().expect("it is free")
}

/// Counts how often it is told of changes of `key`.
fn counted(file: &File, key: &str) -> (Watch, Arc<AtomicU32>) {
    let told = Arc::new(AtomicU32::new(0));
    let count = told.clone();
    let changed = Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    (Backend::watch(file, key, changed).unwrap(), told)
}

fn entry(ct: u32) -> Entry {
    Entry::bytes("1", f64::from(ct))
}

/// Files tell of changes of any key, to any process, and of nothing else.
#[tokio::test]
async fn a_file_tells_of_changes_by_others() {
    let (_directory, path) = place();
    let (here, there) = (File::open(&path).unwrap(), File::open(&path).unwrap());
    let (watch, told) = counted(&here, "k");
    let (_other_watch, other) = counted(&here, "other");
    wait_for_async(async || told.load(Ordering::SeqCst) == 1).await;
    for round in 2..10 {
        there.set("other", entry(round)).await.unwrap();
        there.set("k", entry(round)).await.unwrap();
        wait_for_async(async || told.load(Ordering::SeqCst) == round).await;
    }
    drop(watch);
    // Of both in one transaction: who is told of one would be told of the other.
    let before = other.load(Ordering::SeqCst);
    there.set_multi(&[("k", entry(20)), ("other", entry(20))]).await.unwrap();
    wait_for_async(async || other.load(Ordering::SeqCst) > before).await;
    assert_eq!(told.load(Ordering::SeqCst), 9);
}

/// SQLite writes a transaction to its log before others can read it: it is told of all
/// the same, however the looks fall.
#[tokio::test]
async fn no_change_is_missed() {
    let (_directory, path) = place();
    let (here, there) = (File::open(&path).unwrap(), File::open(&path).unwrap());
    let (_watch, told) = counted(&here, "k");
    for round in 1..600 {
        wait_for_async(async || told.load(Ordering::SeqCst) >= round).await;
        // The larger it is, the longer is the moment in between.
        there.set("k", Entry::bytes(vec![0; 1 << 18], f64::from(round))).await.unwrap();
    }
}

/// A file that is called by a link's name: its log lies beside what the link leads to.
#[cfg(unix)]
#[tokio::test]
async fn a_link_to_a_file_tells_of_its_changes() {
    let (_directory, path) = place();
    let links = TempDir::new().unwrap();
    let link = links.path().join("link.db");
    let there = File::open(&path).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let here = File::open(&link).unwrap();
    let (_watch, told) = counted(&here, "k");
    for round in 1..5 {
        wait_for_async(async || told.load(Ordering::SeqCst) == round).await;
        there.set("k", entry(round)).await.unwrap();
    }
}

/// A push that nobody waits for any more has its lock until it has happened.
#[tokio::test]
async fn a_push_that_was_given_up_keeps_its_lock_until_it_is_done() {
    let (_directory, path) = place();
    let [here, there] = [(); 2].map(|()| store(&File::open(&path).unwrap()));
    let place = CollectionPlace::new("c", "1");
    let lease = hold(&*here, &place).await;
    let busy = rusqlite::Connection::open(&path).unwrap();
    busy.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut publishing = here.publish(&place, data(), None, 0, lease);
    assert!(polled_once(&mut publishing).await.is_none(), "another process is writing");
    drop(publishing);
    assert!(there.mutex(LOAD).try_lock(&place.revision()).await.unwrap().is_none());
    assert_eq!(there.revision(&place).await.unwrap(), None);
    busy.execute_batch("COMMIT").unwrap();
    wait_for_async(async || !there.mutex(LOAD).is_locked(&place.revision()).await.unwrap()).await;
    assert_eq!(there.revision(&place).await.unwrap(), Some(1));
}

/// Returns the result of `future` if it is polled once.
async fn polled_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    tokio::select! {
        biased;
        done = future => Some(done),
        () = std::future::ready(()) => None,
    }
}

/// Collections lie beside values in a form of their own: a proxy that encrypts values or
/// puts a prefix before keys would be skipped in silence.
#[tokio::test]
async fn collections_do_not_go_past_a_proxy() {
    use dogpile::proxy::{Encryption, EncryptionKey, KeyPrefix, Layer, Logging};

    let (_directory, path) = place();
    let file = || AnyBackend::new(File::open(&path).unwrap());
    let open = async |backend| {
        let load = || Ok::<_, Error>(vec!["plain text".to_owned()]);
        CachedSequence::builder_blocking("secrets", backend, load).open().await
    };
    let sealed = Encryption::new(EncryptionKey::new("test", &[7; 32])).layer(file());
    let prefixed = KeyPrefix::new("app:").layer(file());
    for (proxy, backend) in [("Encryption", sealed), ("KeyPrefix", prefixed)] {
        let told = open(Logging.layer(backend.clone())).await.unwrap_err().to_string();
        assert!(told.contains("go past the proxy") && told.contains(proxy), "{told}");
        let told = dogpile::collections::list(&backend).await.unwrap_err().to_string();
        assert!(told.contains("go past the proxy"), "{told}");
    }
    let secrets = open(Logging.layer(file())).await.unwrap();
    assert_eq!(secrets.len(), 1);
}
