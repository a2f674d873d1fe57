//! Notifications of changed keys: a second connection to each server, on which it
//! tracks what was read and says when that changes, whoever changed it. A
//! waiter is so woken at once, by Python's release as well as by ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all, try_join};
use redis::{Cmd, Value, cmd};
use tokio::task::AbortHandle;

use super::broadcasts::Broadcasts;
use super::connect::{OnPush, Target};
use super::connection::Answer;
use super::link::{self, Link};
use super::lock;
use super::nodes::Nodes;
use super::watched::{Following, Waiter, Watched};
use crate::backend::{BackendError, Changed, Follower, Watch};
use crate::remote::io;
use crate::remote::link::{Driver, Limits, pause_after};
use crate::remote::prefix::KeyPrefix;
use crate::remote::random_share;
use crate::remote::timer::Timers;

/// The tracking connections. Clones share them.
#[derive(Clone)]
pub(super) struct Tracker {
    nodes: Arc<Nodes>,
    broadcasts: Arc<Broadcasts>,
    watched: Arc<Watched>,
    /// After as long without a word, a server is asked whether it is there.
    silence: Duration,
}

/// A machine that dies says nothing: a silence of so many time-outs is looked into.
const LONGEST_SILENCE: u32 = 10;

/// The server is asked again after this long, should a word of it get lost.
const SAFETY_NET: Duration = Duration::from_secs(1);

impl Tracker {
    /// `cluster` is a link to any of the servers.
    pub(super) fn new(target: &Target, cluster: Link, limits: Limits) -> Self {
        let watched = Arc::new(Watched::default());
        let open = {
            let (target, watched) = (target.clone(), watched.clone());
            move |prefix: Option<String>| {
                let heard = watched.clone();
                let link = move |target: &Target| {
                    tracking_link(target, limits, prefix.clone(), heard.clone())
                };
                let moved = watched.clone();
                let nodes = Nodes::new(&target, cluster.clone(), link);
                Arc::new(nodes.telling(move || moved.all_changed()))
            }
        };
        let nodes = open(None);
        let broadcasts = Arc::new(Broadcasts::new(move |prefix| open(Some(prefix))));
        let silence = limits.response.saturating_mul(LONGEST_SILENCE);
        Self { nodes, broadcasts, watched, silence }
    }

    /// Waits until the lock is free or either key has changed.
    ///
    /// An error if this connection cannot tell: then there is polling.
    pub(super) async fn wait(&self, lock: &str, value: &str) -> Result<(), BackendError> {
        let keys = [lock, value];
        let waiter = Waiter::new(&self.watched, &keys);
        let look = try_join(
            self.ask(lock, cmd("PTTL").arg(lock)),
            self.ask(value, cmd("EXISTS").arg(value)),
        )
        .await;
        let left = match look {
            Ok((Value::Int(-2), _)) => return Ok(()),
            Ok((Value::Int(milliseconds), _)) => u64::try_from(milliseconds).ok(),
            Ok(_) => return Err(BackendError::other("the server tells nothing of the lock")),
            Err(error) => return Err(error),
        };
        // A lease that ends is told of when the server comes upon it.
        let limit = left.map_or(SAFETY_NET, |left| Duration::from_millis(left + 1));
        let limit = limit.min(SAFETY_NET.mul_f64(0.75 + 0.5 * random_share()));
        Timers::of_this_process()?.within(limit, waiter.notify.notified()).await;
        Ok(())
    }

    /// Reads something of `key` where it lies, so that its server tells of its
    /// changes from now on.
    async fn ask(&self, key: &str, command: &Cmd) -> Result<Value, BackendError> {
        let asked = async { self.nodes.having(key).await?.send(command).await };
        // The key may have moved to another server.
        asked.await.inspect_err(|_| self.nodes.forget())
    }

    /// Calls `changed` when it hears that `key` has changed, or cannot know
    /// whether it has.
    pub(super) fn watch(&self, key: &str, changed: Changed) -> Result<Watch, BackendError> {
        let (tracker, key) = (self.clone(), key.to_owned());
        let task = io::spawn(async move {
            let keys = [&*key];
            let waiter = Waiter::new(&tracker.watched, &keys);
            let (mut failures, mut is_told) = (0, true);
            loop {
                if tracker.ask(&key, cmd("EXISTS").arg(&key)).await.is_err() {
                    tokio::time::sleep(pause_after(failures, SAFETY_NET)).await;
                    (failures, is_told) = (failures + 1, true);
                    continue;
                }
                failures = 0;
                if is_told {
                    changed();
                }
                let told = waiter.notify.notified();
                is_told = tokio::time::timeout(tracker.silence, told).await.is_ok();
            }
        })?;
        Ok(Watch::new(Ends(task.abort_handle())))
    }
}

impl Tracker {
    /// Reads the value of `key`, so that its server tells of its changes from now on.
    pub(super) async fn read(&self, key: &str) -> Result<(Link, Answer), BackendError> {
        let link = self.nodes.having(key).await;
        let read = async {
            let link = link?;
            let answer = link.ask(&lock::get(key)).await?;
            Ok((link, answer))
        };
        let read = read.await;
        // The key may have moved to another server.
        if !matches!(read, Ok((_, Ok(_)))) {
            self.nodes.forget();
        }
        read
    }

    /// Are all changes to `key` told, whoever has read it?
    pub(super) fn tells_all_of(&self, key: &str) -> bool {
        self.broadcasts.include(key)
    }

    /// Has everything been told that was to be told until now?
    ///
    /// A server sends what it tells by prefix at the end of a turn of its loop, after the answers of
    /// that turn. The answer to what was sent after those comes later than that.
    async fn answers(&self) -> bool {
        let broadcasts = self.broadcasts.nodes();
        let twice = broadcasts.iter().map(async |all| all.answer().await && all.answer().await);
        let (own, others) = join(self.nodes.answer(), join_all(twice)).await;
        own && others.into_iter().all(|answers| answers)
    }

    /// Tells `follower` of changes, and when it is in step with them.
    pub(super) fn follow(
        &self,
        follower: Arc<dyn Follower>,
        key_prefix: KeyPrefix,
    ) -> Result<Watch, BackendError> {
        if let Some(prefix) = follower.prefix() {
            self.broadcasts.open(&key_prefix.stored(prefix));
        }
        let following = Arc::new(Following { follower, key_prefix });
        self.watched.add(&following);
        let (tracker, told) = (self.clone(), following.clone());
        let task = io::spawn(async move {
            loop {
                let asked = Instant::now();
                if tracker.answers().await {
                    told.follower.in_step(asked);
                }
                tokio::time::sleep(told.follower.interval()).await;
            }
        });
        let ends = Follows { watched: self.watched.clone(), following };
        Ok(Watch::new((Ends(task?.abort_handle()), ends)))
    }
}

/// Takes a follower off the list when it is dropped.
struct Follows {
    watched: Arc<Watched>,
    following: Arc<Following>,
}

impl Drop for Follows {
    fn drop(&mut self) {
        self.watched.remove(&self.following);
    }
}

/// Ends a task when it is dropped.
struct Ends(AbortHandle);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A link to one server, or to the master of a service, that hears of changed
/// keys: of those that were read over it, or of all with this prefix.
fn tracking_link(
    target: &Target,
    limits: Limits,
    prefix: Option<String>,
    heard: Arc<Watched>,
) -> Link {
    let target = target.clone();
    let name = format!("{} (tracking)", target.describe());
    let is_first = Arc::new(AtomicBool::new(true));
    link::open(name, limits, Driver::Caller, move || {
        let (target, heard, is_first) = (target.clone(), heard.clone(), is_first.clone());
        let watched = heard.clone();
        let on_push: OnPush = Arc::new(move |push| heard.heard(&push));
        let prefix = prefix.clone();
        async move {
            let connection = target.connect_tracking(on_push, prefix.as_deref()).await?;
            watched.begins(is_first.swap(false, Ordering::Relaxed));
            Ok(connection)
        }
    })
}
