//! A worker's task: one call after the other, drawn at random.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dogpile::invalidation::Mode;

use super::calls::{Wants, Worker};
use crate::clock::{MILLISECOND, nanoseconds, now};
use crate::plan::{CREATION, Change, KEYS};
use crate::random::Random;

/// The number of calls in a hundred that are changes.
const CHANGES: u64 = 6;
/// The number of calls in a hundred that are dropped, where calls are.
const DROPPED: u64 = 30;
/// After how many milliseconds at most.
const LATEST: u64 = 10;
/// The longest pause between two calls, in milliseconds.
const PAUSE: u64 = 3;
/// For how many milliseconds at most a changed key is left alone by its owner.
const REST: u64 = 40;
/// For so long there are changes, and then for so long none, so that a value which a change
/// has not reached is seen to stay.
const PHASES: [u64; 2] = [300 * MILLISECOND, 500 * MILLISECOND];

/// Calls the cache until it is to stop.
pub(super) async fn run(worker: Arc<Worker>, mut random: Random, stopping: Arc<AtomicBool>) {
    while !stopping.load(Ordering::Relaxed) {
        if random.percent(75) {
            tokio::time::sleep(random.duration(0, PAUSE)).await;
        } else {
            tokio::task::yield_now().await;
        }
        let drops = worker.job.cancels && random.percent(DROPPED);
        let limit = random.duration(0, LATEST);
        let called = call(&worker, &mut random);
        if drops {
            if let Ok(called) = tokio::time::timeout(limit, called).await {
                called.expect("the database can be written");
            }
        } else {
            called.await.expect("the database can be written");
        }
    }
}

/// Reads `key`, and does nothing else, until it is to stop.
pub(super) async fn read(worker: Arc<Worker>, key: usize, stopping: Arc<AtomicBool>) {
    while !stopping.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(PAUSE)).await;
        worker.get(key).await;
    }
}

async fn call(worker: &Worker, random: &mut Random) -> io::Result<()> {
    let key = random.index(KEYS);
    let takes = random.duration(0, CREATION.as_millis().try_into().unwrap_or(u64::MAX));
    let (is_quiet, drawn) = (is_quiet(worker), random.below(100));
    if drawn < CHANGES {
        return if is_quiet { Ok(()) } else { change(worker, random, key, takes).await };
    }
    match drawn {
        0..25 => worker.get(key).await,
        25..35 => worker.get_multi(&several(random, key)).await,
        35..65 => worker.create(key, Wants::Any, takes).await,
        65..85 if is_quiet => worker.get(key).await,
        65..72 => worker.create(key, Wants::Young(young(takes)), takes).await,
        72..85 => worker.create(key, Wants::OnlyYoung(young(takes)), takes).await,
        _ => worker.create_multi(&several(random, key), takes).await,
    }
    Ok(())
}

/// Do all tasks leave the keys as they are now? What is missing they create.
fn is_quiet(worker: &Worker) -> bool {
    let [busy, quiet] = PHASES;
    // Long enough for copies to be found that are older than they may be.
    let quiet = quiet + nanoseconds(worker.job.near.unwrap_or_default());
    now().saturating_sub(worker.job.began) % (busy + quiet) >= busy
}

/// Changes need a creation now and then that they can meet, so values get old soon.
fn young(takes: Duration) -> Duration {
    CREATION / 2 + takes
}

/// Two to four keys, `first` among them.
fn several(random: &mut Random, first: usize) -> Vec<usize> {
    let count = 2 + random.index(3);
    let step = 1 + random.index(KEYS - 1) / 2;
    let mut keys: Vec<usize> = (0..count).map(|n| (first + n * step) % KEYS).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

async fn change(
    worker: &Worker,
    random: &mut Random,
    key: usize,
    takes: Duration,
) -> io::Result<()> {
    let change = match worker.job.change {
        Change::Mixed => {
            let all = [Change::Delete, Change::Set, Change::Refresh, Change::Invalidate];
            all[random.index(all.len())]
        }
        change => change,
    };
    if change == Change::Refresh && random.percent(30) {
        return worker.refresh(key, takes).await;
    }
    let own: Vec<usize> = (0..KEYS).filter(|key| worker.owns(*key)).collect();
    let Some(&key) = own.get(random.index(own.len().max(1))) else { return Ok(()) };
    let both =
        matches!(change, Change::Delete | Change::Set | Change::Expire) && random.percent(25);
    let keys = if both { own } else { vec![key] };
    let rights: Option<Vec<_>> = keys.iter().map(|key| worker.try_changing(*key)).collect();
    let Some(_rights) = rights else { return Ok(()) };
    match change {
        Change::Delete => worker.delete(&keys).await,
        Change::Set => worker.set(&keys).await,
        Change::Refresh => worker.refresh(key, takes).await,
        Change::Expire => worker.expire(&keys).await,
        Change::InvalidateSoft => worker.invalidate(&keys, Mode::Soft).await,
        _ => worker.invalidate(&keys, Mode::Hard).await,
    }?;
    // Between two changes of a key there is time for creations to begin.
    tokio::time::sleep(random.duration(0, REST)).await;
    Ok(())
}
