//! Being told of changed keys: a second connection on which the server tracks
//! what was read and says when that changes, whoever changes it. A waiter is so
//! woken at once, by Python's release as well as by ours.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::{PushInfo, PushKind, Value, cmd};
use tokio::sync::Notify;

use super::endpoint::{OnPush, Target};
use super::link::{Limits, Link};
use super::wire::Batch;
use crate::backend::BackendError;
use crate::io;
use crate::sync::Mutex;

/// The tracking connection.
pub(super) struct Tracker {
    link: Link,
    watched: Arc<Watched>,
}

/// Who waits for which keys.
#[derive(Default)]
struct Watched(Mutex<HashMap<Vec<u8>, Vec<Arc<Notify>>>>);

impl Watched {
    fn heard(&self, push: &PushInfo) {
        match push.kind {
            PushKind::Disconnection => self.wake_all(),
            PushKind::Invalidate => match push.data.first() {
                Some(Value::Array(keys)) => keys.iter().for_each(|key| self.changed(key)),
                // Everything was flushed.
                _ => self.wake_all(),
            },
            _ => {}
        }
    }

    fn changed(&self, key: &Value) {
        if let Value::BulkString(key) = key {
            for waiter in self.0.lock().get(key).into_iter().flatten() {
                waiter.notify_one();
            }
        }
    }

    fn wake_all(&self) {
        for waiter in self.0.lock().values().flatten() {
            waiter.notify_one();
        }
    }
}

/// A place among those who wait for some keys.
struct Waiter<'a> {
    watched: &'a Watched,
    keys: [&'a str; 2],
    notify: Arc<Notify>,
}

impl<'a> Waiter<'a> {
    fn new(watched: &'a Watched, keys: [&'a str; 2]) -> Self {
        let notify = Arc::new(Notify::new());
        let mut all = watched.0.lock();
        for key in keys {
            all.entry(key.as_bytes().to_vec()).or_default().push(notify.clone());
        }
        drop(all);
        Self { watched, keys, notify }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut all = self.watched.0.lock();
        for key in self.keys {
            if let Some(waiters) = all.get_mut(key.as_bytes()) {
                waiters.retain(|waiter| !Arc::ptr_eq(waiter, &self.notify));
                if waiters.is_empty() {
                    all.remove(key.as_bytes());
                }
            }
        }
    }
}

/// The server is asked again after this long, should a word of it get lost.
const SAFETY_NET: Duration = Duration::from_secs(1);

impl Tracker {
    pub(super) fn new(target: &Target, limits: Limits) -> Self {
        let watched = Arc::new(Watched::default());
        let (target, heard) = (target.clone(), watched.clone());
        let name = format!("{} (tracking)", target.describe());
        let connect = move || {
            let (target, heard) = (target.clone(), heard.clone());
            let on_push: OnPush = Arc::new(move |push| heard.heard(&push));
            let connecting = async move { target.connect_tracking(on_push).await };
            Box::pin(connecting) as std::pin::Pin<Box<_>>
        };
        Self { link: Link::new(name, limits, Box::new(connect)), watched }
    }

    /// Waits until the lock is free or either key has changed.
    ///
    /// An error if this connection cannot tell: then there is polling.
    pub(super) async fn wait(&self, lock: &str, value: &str) -> Result<(), BackendError> {
        let waiter = Waiter::new(&self.watched, [lock, value]);
        let mut look = Batch::new();
        look.add(lock, cmd("PTTL").arg(lock).take()).add(value, cmd("EXISTS").arg(value).take());
        let seen = self.link.send_all_or_fail(&look).await?;
        let left = match seen.first() {
            Some(Value::Int(-2)) => return Ok(()),
            Some(Value::Int(milliseconds)) => u64::try_from(*milliseconds).ok(),
            _ => return Err(BackendError::other("the server tells nothing of the lock")),
        };
        // A lease that ends is told of when the server comes upon it.
        let limit = left.map_or(SAFETY_NET, |left| Duration::from_millis(left + 1));
        let limit = limit.min(SAFETY_NET.mul_f64(0.75 + 0.5 * super::random_share()));
        io::within(limit, waiter.notify.notified()).await.map(drop)
    }
}
