//! A cold key and a crowd: how many creations, and how long after the end of
//! the creation the last of the crowd has the value.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dogpile::backend::Memory;
use dogpile::{Config, InMemory, Region};
use tokio::task::JoinSet;

use crate::measure::Effort;
use crate::table::{Row, Section};

const TASKS: usize = 10_000;
const CREATION: Duration = Duration::from_millis(50);

static REGION: Region<InMemory> = Region::in_memory("storm");

/// The storms at one cache.
#[derive(Default)]
struct Storms {
    most_creations: usize,
    last_answers: Vec<Duration>,
}

impl Storms {
    /// Lets the crowd loose once: each task makes its own `call` and gets the
    /// time at which the value was made.
    async fn rage<F, Fut>(&mut self, call: F)
    where
        F: Fn(Arc<AtomicUsize>) -> Fut,
        Fut: Future<Output = Instant> + Send + 'static,
    {
        let creations = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            let call = call(creations.clone());
            tasks.spawn(async move { call.await.elapsed() });
        }
        let last = tasks.join_all().await.into_iter().max().unwrap_or_default();
        self.most_creations = self.most_creations.max(creations.load(Ordering::SeqCst));
        self.last_answers.push(last);
    }

    /// The median of the last answers, in milliseconds.
    fn last_answer(&mut self) -> f64 {
        self.last_answers.sort();
        self.last_answers[self.last_answers.len() / 2].as_secs_f64() * 1e3
    }
}

async fn create(creations: &AtomicUsize) -> Instant {
    creations.fetch_add(1, Ordering::SeqCst);
    tokio::time::sleep(CREATION).await;
    Instant::now()
}

pub(crate) fn section(effort: Effort) -> Section {
    REGION.configure(Config::new(Memory::new(10))).expect("it is the only time");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let (mut ours, mut moka) = runtime.expect("a runtime").block_on(storms(effort.rounds / 5));
    let creations = Row::new(
        ("get_or_create: creations", ours.most_creations as f64),
        ("moka get_with", moka.most_creations as f64),
        "",
    );
    let last_answer = Row::new(
        ("get_or_create: last answer after the creation", ours.last_answer()),
        ("moka get_with", moka.last_answer()),
        "ms",
    );
    let rows = vec![creations.at_most(1.0), last_answer.at_most(50.0)];
    Section { title: "10,000 tasks, one cold key, a creation of 50 ms", rows }
}

async fn storms(rounds: usize) -> (Storms, Storms) {
    let moka = moka::future::Cache::<&str, Instant>::new(10);
    let (mut at_us, mut at_moka) = (Storms::default(), Storms::default());
    for _ in 0..rounds {
        REGION.delete("key").await.expect("memory does not fail");
        at_us
            .rage(async |creations| {
                REGION.get_or_create("key", async || create(&creations).await).await
            })
            .await;
        moka.invalidate("key").await;
        at_moka
            .rage(|creations| {
                let moka = moka.clone();
                async move { moka.get_with("key", async { create(&creations).await }).await }
            })
            .await;
    }
    (at_us, at_moka)
}
