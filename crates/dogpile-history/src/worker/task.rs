//! A worker's task or thread: one call after the other, drawn at random.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use dogpile::invalidation::Mode;

use super::calls::{Wants, Worker};
use super::way::Way;
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

/// A thread reads so often in a row, now and then: more often than it takes to be alone.
const READS: usize = 40;

/// Calls the cache until it is to stop.
pub(super) async fn run(
    worker: Arc<Worker>,
    way: Way,
    mut random: Random,
    stopping: Arc<AtomicBool>,
) {
    while !stopping.load(Ordering::Relaxed) {
        if random.percent(75) {
            way.sleep(random.duration(0, PAUSE)).await;
        } else {
            way.give_way().await;
        }
        let drops = worker.job.cancels && way == Way::Task && random.percent(DROPPED);
        let limit = random.duration(0, LATEST);
        let called = call(&worker, way, &mut random);
        if drops {
            if let Ok(called) = tokio::time::timeout(limit, called).await {
                called.expect("the database can be written");
            }
        } else {
            called.await.expect("the database can be written");
        }
    }
}

/// Calls the cache from this thread, of no runtime, until it is to stop.
pub(super) fn block(worker: Arc<Worker>, random: Random, stopping: Arc<AtomicBool>) {
    let calling = pin!(run(worker, Way::Thread, random, stopping));
    let polled = calling.poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_ready(), "a thread waits in its calls");
}

/// Reads `key`, and does nothing else, until it is to stop.
pub(super) async fn read(worker: Arc<Worker>, key: usize, stopping: Arc<AtomicBool>) {
    while !stopping.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(PAUSE)).await;
        worker.get(Way::Task, key).await;
    }
}

async fn call(worker: &Worker, way: Way, random: &mut Random) -> io::Result<()> {
    let key = random.index(KEYS);
    let takes = random.duration(0, CREATION.as_millis().try_into().unwrap_or(u64::MAX));
    let (is_quiet, drawn) = (is_quiet(worker), random.below(100));
    if drawn < CHANGES {
        return if is_quiet { Ok(()) } else { change(worker, way, random, key, takes).await };
    }
    if way == Way::Thread && random.percent(2) {
        for _ in 0..READS {
            worker.get(way, random.index(KEYS)).await;
        }
    }
    match drawn {
        0..25 => worker.get(way, key).await,
        25..35 => worker.get_multi(way, &several(random, key)).await,
        35..65 => worker.create(way, key, Wants::Any, takes).await,
        65..85 if is_quiet => worker.get(way, key).await,
        65..72 => worker.create(way, key, Wants::Young(young(takes)), takes).await,
        72..85 => worker.create(way, key, Wants::OnlyYoung(young(takes)), takes).await,
        _ => worker.create_multi(way, &several(random, key), takes).await,
    }
    Ok(())
}

/// Do all callers leave the keys as they are now? What is missing they create.
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
    way: Way,
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
        return worker.refresh(way, key, takes).await;
    }
    let own: Vec<usize> = (0..KEYS).filter(|key| worker.owns(*key)).collect();
    let Some(&key) = own.get(random.index(own.len().max(1))) else { return Ok(()) };
    let both =
        matches!(change, Change::Delete | Change::Set | Change::Expire) && random.percent(25);
    let keys = if both { own } else { vec![key] };
    let rights: Option<Vec<_>> = keys.iter().map(|key| worker.try_changing(*key)).collect();
    let Some(_rights) = rights else { return Ok(()) };
    match change {
        Change::Delete => worker.delete(way, &keys).await,
        Change::Set => {
            if way == Way::Thread && worker.job.cancels && random.percent(DROPPED) {
                worker.hand_over(&keys)?;
            }
            worker.set(way, &keys).await
        }
        Change::Refresh => worker.refresh(way, key, takes).await,
        Change::Expire => worker.expire(way, &keys).await,
        Change::InvalidateSoft => worker.invalidate(way, &keys, Mode::Soft).await,
        _ => worker.invalidate(way, &keys, Mode::Hard).await,
    }?;
    // Between two changes of a key there is time for creations to begin.
    way.sleep(random.duration(0, REST)).await;
    Ok(())
}
