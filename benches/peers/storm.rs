//! A cold key and a crowd: how many creations, and how long after the creation
//! the last of the crowd has the value.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dogpile::backend::Memory;
use dogpile::{Config, Region};
use tokio::task::JoinSet;

const TASKS: usize = 10_000;
const CREATION: Duration = Duration::from_millis(50);

/// Creates the value: the time at which it was made.
async fn create(creations: &AtomicUsize) -> Instant {
    creations.fetch_add(1, Ordering::SeqCst);
    tokio::time::sleep(CREATION).await;
    Instant::now()
}

async fn storm<F, Fut>(name: &str, call: F)
where
    F: Fn(Arc<AtomicUsize>) -> Fut,
    Fut: Future<Output = Instant> + Send + 'static,
{
    let creations = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let call = call(creations.clone());
        tasks.spawn(async move {
            let made = call.await;
            made.elapsed()
        });
    }
    let delays = tasks.join_all().await;
    let slowest = delays.into_iter().max().unwrap_or_default();
    let creations = creations.load(Ordering::SeqCst);
    println!(
        "  {name:24} {creations} creation(s), the last answer {:.1} ms after it",
        slowest.as_secs_f64() * 1e3
    );
}

pub(crate) fn run() {
    println!(
        "\n{TASKS} tasks, one cold key, a creation of {CREATION:?} (target: 1 creation, 50 ms)"
    );
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let region: Arc<Region<dogpile::Local>> = Arc::new(Region::local("storm"));
    region.configure(Config::new(Memory::new(10))).expect("a new region");
    let moka = moka::future::Cache::<&str, Instant>::new(10);
    runtime.block_on(async {
        for _ in 0..3 {
            region.delete("key").await.expect("memory does not fail");
            moka.invalidate("key").await;
            storm("dogpile get_or_create", |creations| {
                let region = region.clone();
                async move { region.get_or_create("key", async || create(&creations).await).await }
            })
            .await;
            storm("moka get_with", |creations| {
                let moka = moka.clone();
                async move { moka.get_with("key", async { create(&creations).await }).await }
            })
            .await;
        }
    });
}
