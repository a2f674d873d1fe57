//! All options of failures and early creation at once, under load: nobody is given what is older than a
//! deletion that is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dogpile::backend::{AnyBackend, File, Memory, SerializedMemory};
use dogpile::{CachedValue, Config, Early, Region};

const MILLISECOND: Duration = Duration::from_millis(1);

/// The source of the values, and the version of it that all later callers must have.
#[derive(Default)]
struct Source {
    version: AtomicU64,
    floor: AtomicU64,
    runs: AtomicU64,
}

impl Source {
    /// Returns the version, or now and then an error.
    async fn read(&self) -> Result<u64, &'static str> {
        let version = self.version.load(Ordering::SeqCst);
        let run = self.runs.fetch_add(1, Ordering::SeqCst);
        for _ in 0..run % 7 {
            tokio::task::yield_now().await;
        }
        if run % 5 == 3 { Err("down") } else { Ok(version) }
    }

    async fn update(&self, region: &Region) {
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        region.delete("k").await.unwrap();
        self.floor.fetch_max(version, Ordering::SeqCst);
    }
}

/// Returns what a call of one of all kinds gets.
async fn ask(region: &Region, source: &Arc<Source>, kind: u64) -> Option<u64> {
    let entry = region.entry("k");
    let source = source.clone();
    let here = source.clone();
    match kind {
        0 => entry.try_get_or_create(|| here.read()).await.ok(),
        1 => {
            let creator = async move || source.read().await;
            entry.try_get_or_create_in_background(creator).await.ok()
        }
        2 => entry.share_failures().try_get_or_create(|| here.read()).await.ok(),
        3 => {
            let update = async |old: Option<CachedValue<u64>>| {
                let new = here.read().await?;
                Ok::<_, &str>(old.map(|old| old.value).filter(|old| *old == new).unwrap_or(new))
            };
            entry.try_get_or_update(update).await.ok()
        }
        4 => {
            let creator = move |keys: Vec<String>| {
                let source = source.clone();
                async move {
                    let version = source.read().await?;
                    Ok::<_, &str>(vec![version; keys.len()])
                }
            };
            let entries = region.entries(["k", "l"]);
            entries.try_get_or_create_in_background(creator).await.ok().map(|both| both[0])
        }
        _ => region.get("k").await.unwrap(),
    }
}

async fn race(backend: AnyBackend, has_two: bool) {
    let open = || {
        let config = Config::over(backend.clone()).expiration(3 * MILLISECOND);
        let config = config.early(Early::at(0.1)).soft_timeout(MILLISECOND);
        let config = config.stale_if_error(Duration::from_secs(1)).retry_after(MILLISECOND);
        let config = config.stale_while_revalidate(2 * MILLISECOND);
        let config = config.remember_failures(MILLISECOND);
        let region = Region::new("races");
        region
            .configure(config.lifetime(|n: &u64| n.is_multiple_of(3).then_some(MILLISECOND)))
            .unwrap();
        Arc::new(region)
    };
    let here = open();
    let there = if has_two { open() } else { here.clone() };
    let source = Arc::new(Source::default());
    let callers: Vec<_> = (0..6)
        .map(|kind| {
            let (region, source) = (here.clone(), source.clone());
            tokio::spawn(async move {
                for n in 0..1_500 {
                    let floor = source.floor.load(Ordering::SeqCst);
                    if let Some(got) = ask(&region, &source, kind).await {
                        assert!(got >= floor, "call {n} of kind {kind} got {got} after {floor}");
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let writer = tokio::spawn({
        let source = source.clone();
        async move {
            for _ in 0..1_000 {
                source.update(&there).await;
                tokio::time::sleep(Duration::from_micros(300)).await;
            }
        }
    });
    let all = async {
        for caller in callers {
            caller.await.unwrap();
        }
        writer.await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(120), all).await.expect("a call hangs");
    assert!(here.drain(Duration::from_secs(20)).await);
    assert!(!here.key_is_locked("k").await.unwrap());
    let counted = here.statistics();
    let asked = 4 * 1_500 + 2 * 1_500 + 1_500;
    assert_eq!(counted.hits + counted.stale + counted.misses, asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_in_a_process_is_given_what_is_older_than_a_deletion() {
    race(Memory::new(10).into(), false).await;
    race(SerializedMemory::new(10).into(), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_in_another_process_is_given_what_is_older_than_a_deletion() {
    let folder = tempfile::tempdir().unwrap();
    let file = File::builder(folder.path().join("cache")).open().unwrap();
    race(AnyBackend::new(file), true).await;
}
