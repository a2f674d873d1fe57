//! Releases locks in the background, and at the end of the process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::io;
use super::ledger::{Next, Release};
use super::terms::Leases;
use crate::backend::BackendError;
use crate::shutdown::{Ending, Part};

/// Between attempts to release what could not be released.
const PAUSE: Duration = Duration::from_millis(200);

/// A claim that is under way.
pub(super) struct UnderWay<L: Leases>(Arc<L>);

impl<L: Leases> UnderWay<L> {
    pub(super) fn new(leases: &Arc<L>) -> Self {
        leases.ledger().begin(1);
        Self(leases.clone())
    }
}

impl<L: Leases> Drop for UnderWay<L> {
    fn drop(&mut self) {
        self.0.ledger().end(1);
    }
}

/// Releases a lock in the background.
pub(super) fn release<L: Leases>(leases: &Arc<L>, token: Arc<L::LockToken>) {
    let until = Instant::now().checked_add(leases.terms().lease);
    let until = until.unwrap_or_else(|| Instant::now() + Duration::from_secs(24 * 3_600));
    let nobody_works = leases.ledger().queue(Release { token, until });
    if nobody_works && io::spawn(work_off(leases.clone())).is_err() {
        leases.ledger().clear();
    }
}

/// Releases what is in the queue, until it is empty.
async fn work_off<L: Leases>(leases: Arc<L>) {
    let ledger = leases.ledger();
    let mut retry_at = None;
    loop {
        if retry_at.is_some_and(|at| at <= Instant::now()) {
            ledger.retry_failed();
            retry_at = None;
        }
        match ledger.next() {
            Next::Nothing => return,
            Next::Later => {
                let at = *retry_at.get_or_insert_with(|| Instant::now() + PAUSE);
                // What comes meanwhile may be another server's.
                let _ = tokio::time::timeout_at(at.into(), ledger.news.notified()).await;
            }
            Next::Batch(batch) => {
                let count = batch.len();
                let released = join_all(batch.iter().map(|one| leases.release(&one.token))).await;
                let failed = still_held(batch, released);
                let done = count - failed.len();
                ledger.note_failed(failed);
                ledger.end(done);
            }
        }
    }
}

/// Returns what could not be released, and has not ended by itself.
fn still_held<G>(
    batch: Vec<Release<G>>,
    released: Vec<Result<(), BackendError>>,
) -> Vec<Release<G>> {
    let now = Instant::now();
    let outcomes = batch.into_iter().zip(released);
    let failed = outcomes.filter(|(one, released)| released.is_err() && now < one.until);
    failed.map(|(one, _)| one).collect()
}

/// A backend's part in the end of the process: it gives up the locks that it holds.
impl<L: Leases> Part for L {
    fn close(self: Arc<Self>) {
        for token in self.ledger().close() {
            release(&self, token);
        }
    }

    fn closed(self: Arc<Self>) -> Ending {
        Box::pin(async move {
            let mut under_way = self.ledger().under_way.subscribe();
            // The sender is in the ledger.
            let _ = under_way.wait_for(|count| *count == 0).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::remote::lease::{Held, claiming};
    use crate::remote::ledger::{BATCH, LONGEST_QUEUE, Ledger};
    use crate::remote::terms::Terms;
    use crate::sync::Mutex;

    /// Two servers: odd locks are on the one that may be away.
    struct Servers {
        ledger: Ledger<u32>,
        lease: Duration,
        is_away: AtomicBool,
        released: Mutex<Vec<u32>>,
    }

    impl Leases for Servers {
        type LockToken = u32;

        fn terms(&self) -> Terms {
            Terms { lease: self.lease, ..Terms::default() }
        }

        fn ledger(&self) -> &Ledger<u32> {
            &self.ledger
        }

        async fn extend(&self, _grip: &u32) -> Result<bool, BackendError> {
            Ok(true)
        }

        async fn release(&self, token: &u32) -> Result<(), BackendError> {
            if token % 2 == 1 && self.is_away.load(Ordering::SeqCst) {
                return Err(BackendError::unavailable("it is away"));
            }
            self.released.lock().push(*token);
            Ok(())
        }
    }

    fn servers(lease: Duration) -> Arc<Servers> {
        let (ledger, is_away) = (Ledger::new(), AtomicBool::new(true));
        Arc::new(Servers { ledger, lease, is_away, released: Mutex::default() })
    }

    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn a_release_is_retried_and_delays_no_other() {
        let servers = servers(Duration::from_secs(3_600));
        release(&servers, Arc::new(1));
        let mut next = 2;
        // Others come more often than it is retried.
        while next < 600 {
            release(&servers, Arc::new(next));
            until(|| servers.released.lock().contains(&next)).await;
            if next == 300 {
                servers.is_away.store(false, Ordering::SeqCst);
            }
            next += 2;
        }
        servers.clone().closed().await;
        assert!(servers.released.lock().contains(&1));
    }

    #[tokio::test]
    async fn what_has_ended_by_itself_is_not_released() {
        let servers = servers(Duration::from_millis(10));
        release(&servers, Arc::new(1));
        servers.clone().closed().await;
        assert!(servers.released.lock().is_empty());
    }

    #[tokio::test]
    async fn releases_do_not_pile_up_without_end() {
        let servers = servers(Duration::from_secs(3_600));
        for _ in 0..2 * LONGEST_QUEUE {
            release(&servers, Arc::new(1));
        }
        let queued = *servers.ledger.under_way.borrow();
        // One batch may have been under way.
        assert!((LONGEST_QUEUE..=LONGEST_QUEUE + BATCH).contains(&queued), "{queued}");
        servers.is_away.store(false, Ordering::SeqCst);
        servers.clone().closed().await;
        assert_eq!(servers.released.lock().len(), queued);
    }

    #[tokio::test]
    async fn closed_books_give_up_what_was_held_and_take_nothing() {
        let servers = servers(Duration::from_secs(3_600));
        let (held, over) = (Held::new(&servers, 2), Held::new(&servers, 4));
        over.mark_released();
        servers.clone().close();
        servers.clone().closed().await;
        assert_eq!(*servers.released.lock(), [2]);
        drop((held, over));
        drop(Held::new(&servers, 6));
        servers.clone().closed().await;
        assert_eq!(*servers.released.lock(), [2, 6]);
        assert!(claiming(&servers, async { 7 }).await.is_none());
    }
}
