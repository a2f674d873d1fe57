//! Those who want to know when something changes: waiters for single keys, and followers of all. What
//! a server tells goes to them.

use std::collections::HashMap;
use std::sync::Arc;

use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

use crate::backend::Follower;
use crate::remote::prefix::KeyPrefix;
use crate::sync::Mutex;

/// The waiters and followers of one backend.
#[derive(Default)]
pub(super) struct Watched {
    waiters: Mutex<HashMap<Vec<u8>, Vec<Arc<Notify>>>>,
    followers: Mutex<Vec<Arc<Following>>>,
}

/// A follower, and what stands before its keys on the server.
pub(super) struct Following {
    pub(super) follower: Arc<dyn Follower>,
    pub(super) key_prefix: KeyPrefix,
}

impl Watched {
    /// Hands on what a server tells. What is not known may be about any key.
    pub(super) fn heard(&self, push: &PushInfo) {
        match push.kind {
            PushKind::Disconnection => {
                self.wake_all();
                self.tell(Follower::lost);
            }
            PushKind::Invalidate => match push.data.first() {
                Some(Value::Array(keys)) => keys.iter().for_each(|key| self.changed(key)),
                // Everything was flushed.
                _ => self.all_changed(),
            },
            PushKind::Other(_) => self.all_changed(),
            _ => {}
        }
    }

    fn changed(&self, key: &Value) {
        let Value::BulkString(key) = key else { return self.all_changed() };
        for waiter in self.waiters.lock().get(key).into_iter().flatten() {
            waiter.notify_one();
        }
        for Following { follower, key_prefix } in self.followers().iter().map(Arc::as_ref) {
            let Some(given) = key_prefix.given(key) else { continue };
            // Other bytes are no key of ours.
            if let Ok(key) = std::str::from_utf8(given) {
                follower.changed(key);
            }
        }
    }

    /// Any value may have changed.
    pub(super) fn all_changed(&self) {
        self.wake_all();
        self.tell(Follower::all_changed);
    }

    /// A connection begins: of what was read before it tells nothing.
    pub(super) fn begins(&self, is_first: bool) {
        self.tell(Follower::lost);
        if !is_first {
            self.wake_all();
        }
    }

    fn wake_all(&self) {
        for waiter in self.waiters.lock().values().flatten() {
            waiter.notify_one();
        }
    }

    fn tell(&self, tell: fn(&(dyn Follower + 'static))) {
        self.followers().iter().for_each(|following| tell(&*following.follower));
    }

    fn followers(&self) -> Vec<Arc<Following>> {
        self.followers.lock().clone()
    }

    pub(super) fn add(&self, following: &Arc<Following>) {
        self.followers.lock().push(following.clone());
    }

    pub(super) fn remove(&self, following: &Arc<Following>) {
        self.followers.lock().retain(|other| !Arc::ptr_eq(other, following));
    }
}

/// A place among waiters for some keys.
pub(super) struct Waiter<'a> {
    watched: &'a Watched,
    keys: &'a [&'a str],
    pub(super) notify: Arc<Notify>,
}

impl<'a> Waiter<'a> {
    pub(super) fn new(watched: &'a Watched, keys: &'a [&'a str]) -> Self {
        let notify = Arc::new(Notify::new());
        let mut all = watched.waiters.lock();
        for key in keys {
            all.entry(key.as_bytes().to_vec()).or_default().push(notify.clone());
        }
        drop(all);
        Self { watched, keys, notify }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut all = self.watched.waiters.lock();
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
