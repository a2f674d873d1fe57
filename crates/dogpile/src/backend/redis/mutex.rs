//! The lock that reaches every process: Python's key and rule of release, a
//! lease that is renewed while its creator runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::{Cmd, Value, cmd};
use tokio::task::AbortHandle;

use super::scripts::{Call, EXTEND, RELEASE};
use super::wire::Batch;
use super::{Shared, random_share};
use crate::backend::BackendError;
use crate::io;
use crate::lock::{Lease, Mutex};

/// The locks of a server.
pub(super) struct Locks(pub(super) Arc<Shared>);

/// Holding a lock.
pub(super) struct Held {
    shared: Arc<Shared>,
    pub(super) lock: String,
    pub(super) token: String,
    renewal: Option<AbortHandle>,
    released: AtomicBool,
}

impl Held {
    /// The lock `lock` was taken with `token`: renews its lease from now on.
    pub(super) fn new(shared: &Arc<Shared>, lock: String, token: String) -> Self {
        let renewal = renew(shared.clone(), lock.clone(), token.clone());
        let renewal = io::spawn(renewal).ok().map(|task| task.abort_handle());
        Self { shared: shared.clone(), lock, token, renewal, released: AtomicBool::new(false) }
    }

    /// It is given up, or known to be lost.
    pub(super) fn is_over(&self) {
        self.released.store(true, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(renewal) = &self.renewal {
            renewal.abort();
        }
        if !self.released.load(Ordering::Relaxed) {
            release_behind(&self.shared, &self.lock, &self.token);
        }
    }
}

/// Releases a lock that nobody waits to see released.
pub(super) fn release_behind(shared: &Arc<Shared>, lock: &str, token: &str) {
    shared.releases.fetch_add(1, Ordering::Relaxed);
    let counted = shared.clone();
    let (shared, lock, token) = (shared.clone(), lock.to_owned(), token.to_owned());
    let released = io::spawn(async move {
        // Where this fails, the lease ends by itself.
        shared.release_persistently(&lock, &token).await;
        shared.releases.fetch_sub(1, Ordering::Relaxed);
    });
    if released.is_err() {
        counted.releases.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Extends the lease each third of it, as long as it is ours and not for
/// longer than a creation may take.
async fn renew(shared: Arc<Shared>, lock: String, token: String) {
    let lease = shared.options.lease;
    let turns = shared.options.longest_creation.as_secs_f64() / (lease.as_secs_f64() / 3.0);
    let mut turn = 1.0;
    while turn < turns {
        tokio::time::sleep(lease / 3).await;
        if matches!(shared.extend(&lock, &token).await, Ok(false)) {
            return;
        }
        turn += 1.0;
    }
}

impl Shared {
    pub(super) fn lock_key(&self, key: &str) -> String {
        [&self.options.lock_prefix, key].concat()
    }

    async fn try_take(&self, lock: &str, token: &str) -> Result<bool, BackendError> {
        let mut take = Batch::new();
        self.add_taking(&mut take, lock, token);
        let answers = self.link.send_all_or_fail(&take).await?;
        // The second one says it, also if the first was sent twice.
        Ok(matches!(answers.get(1), Some(Value::BulkString(held)) if held == token.as_bytes()))
    }

    /// Takes the lock if it is free, and then asks whose it is.
    pub(super) fn add_taking(&self, batch: &mut Batch, lock: &str, token: &str) {
        let mut take = cmd("SET");
        take.arg(lock).arg(token).arg("NX").arg("PX").arg(self.lease_milliseconds());
        batch.add(lock, take).add(lock, get(lock));
    }

    pub(super) async fn release(&self, lock: &str, token: &str) -> Result<(), BackendError> {
        let call = Call::new(&RELEASE, &[lock], &[token.as_bytes()]);
        if self.run(vec![call]).await?.is_none() && self.is_held_by(lock, token).await? {
            self.link.send(cmd("DEL").arg(lock)).await?;
        }
        Ok(())
    }

    /// Again and again where the server is away, as long as the lease may last.
    async fn release_persistently(&self, lock: &str, token: &str) {
        const PAUSE: Duration = Duration::from_millis(200);
        let until = Instant::now() + self.options.lease;
        while self.release(lock, token).await.is_err() && Instant::now() < until {
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn extend(&self, lock: &str, token: &str) -> Result<bool, BackendError> {
        let lease = self.lease_milliseconds();
        let arguments = [token.as_bytes(), lease.to_string().as_bytes()].map(<[u8]>::to_vec);
        let call = Call::new(&EXTEND, &[lock], &[&arguments[0], &arguments[1]]);
        if let Some(answers) = self.run(vec![call]).await? {
            return Ok(matches!(answers[..], [Value::Int(1)]));
        }
        let held = self.is_held_by(lock, token).await?;
        if held {
            self.link.send(cmd("PEXPIRE").arg(lock).arg(lease)).await?;
        }
        Ok(held)
    }

    pub(super) async fn is_held_by(&self, lock: &str, token: &str) -> Result<bool, BackendError> {
        let held = self.link.send(&get(lock)).await?;
        Ok(matches!(held, Value::BulkString(held) if held == token.as_bytes()))
    }

    /// Asks again and again, after longer and longer pauses.
    async fn poll(&self, lock: &str) -> Result<(), BackendError> {
        const FIRST: Duration = Duration::from_millis(5);
        const TIMES: u32 = 12;
        for time in 0..TIMES {
            let pause = FIRST.saturating_mul(1 << time.min(8)).min(self.options.longest_poll);
            io::sleep(pause.mul_f64(0.75 + 0.5 * random_share()))?.await;
            let left = self.link.send(cmd("EXISTS").arg(lock)).await?;
            if left == Value::Int(0) {
                break;
            }
        }
        Ok(())
    }
}

pub(super) fn get(key: &str) -> Cmd {
    cmd("GET").arg(key).take()
}

impl Mutex for Locks {
    async fn try_lock(&self, key: &str) -> Result<Option<Lease>, BackendError> {
        let (lock, token) = (self.0.lock_key(key), super::new_token());
        let taken = self.0.try_take(&lock, &token).await?;
        Ok(taken.then(|| Lease::new(Held::new(&self.0, lock, token))))
    }

    async fn wait(&self, key: &str) -> Result<Option<Lease>, BackendError> {
        let lock = self.0.lock_key(key);
        let told = match &self.0.tracker {
            Some(tracker) => tracker.wait(&lock, key).await.is_ok(),
            None => false,
        };
        if !told {
            self.0.poll(&lock).await?;
        }
        Ok(None)
    }

    async fn unlock(&self, lease: Lease) -> Result<(), BackendError> {
        let Some(held) = lease.get::<Held>() else {
            return Err(BackendError::other("this is no lease of a Redis lock"));
        };
        self.0.release(&held.lock, &held.token).await?;
        held.is_over();
        Ok(())
    }

    async fn is_locked(&self, key: &str) -> Result<bool, BackendError> {
        let lock = self.0.lock_key(key);
        Ok(self.0.link.send(cmd("EXISTS").arg(lock)).await? == Value::Int(1))
    }

    fn patience(&self) -> Option<Duration> {
        self.0.options.patience
    }
}
