//! Extending the leases of the locks that are held.
//!
//! One task does it for all locks of a backend: most creations end long before their lease is to be
//! extended, and a task for each would wake the I/O thread twice for nothing.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::io::{self, AbortOnDrop};
use super::terms::Leases;
use crate::backend::BackendError;

/// A lease is extended each third of it.
pub(super) fn period<L: Leases>(leases: &L) -> Duration {
    leases.terms().lease / 3
}

/// Begins to extend the leases of `leases`.
pub(super) fn begin<L: Leases>(leases: &Arc<L>) {
    if spawn(Box::pin(renew(Arc::downgrade(leases), period(&**leases)))).is_err() {
        leases.ledger().end_renewals();
    }
}

/// For all kinds of locks: a task of each type of future is some kilobytes of code.
fn spawn(work: Pin<Box<dyn Future<Output = ()> + Send>>) -> Result<JoinHandle<()>, BackendError> {
    io::spawn(work)
}

/// Extends leases until none is held. It looks twice in a period: what would be due before the next look
/// is extended at once.
async fn renew<L: Leases>(leases: Weak<L>, period: Duration) {
    let pause = period / 2;
    loop {
        tokio::time::sleep(pause).await;
        let Some(leases) = leases.upgrade() else { return };
        let Some(due) = leases.ledger().due(Instant::now() + pause) else { return };
        for (number, token) in due {
            // A lock whose server does not answer delays no other. One that is given up is extended no more.
            if let Ok(work) = spawn(Box::pin(extend(leases.clone(), number, token))) {
                leases.ledger().extending(number, AbortOnDrop(work));
            }
        }
    }
}

async fn extend<L: Leases>(leases: Arc<L>, number: u64, token: Arc<L::LockToken>) {
    let next = Instant::now().checked_add(period(&*leases));
    let is_lost = matches!(leases.extend(&token).await, Ok(false));
    leases.ledger().extended(number, next.filter(|_| !is_lost));
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::remote::lease::Held;
    use crate::remote::ledger::Ledger;
    use crate::remote::terms::Terms;
    use crate::sync::Mutex;

    /// Its lock 1 is lost, at lock 2 it fails, and for lock 3 it does not answer.
    struct Server {
        ledger: Ledger<u32>,
        extended: Mutex<HashMap<u32, usize>>,
        /// Each extension that goes on has it.
        going_on: Arc<()>,
    }

    impl Server {
        fn extended(&self, token: u32) -> usize {
            self.extended.lock().get(&token).copied().unwrap_or(0)
        }
    }

    impl Leases for Server {
        type LockToken = u32;

        fn terms(&self) -> Terms {
            Terms { lease: Duration::from_millis(12), ..Terms::default() }
        }

        fn ledger(&self) -> &Ledger<u32> {
            &self.ledger
        }

        async fn extend(&self, token: &u32) -> Result<bool, BackendError> {
            let _going_on = self.going_on.clone();
            *self.extended.lock().entry(*token).or_default() += 1;
            match token {
                1 => Ok(false),
                2 => Err(BackendError::unavailable("it is away")),
                3 => std::future::pending().await,
                _ => Ok(true),
            }
        }

        async fn release(&self, _token: &u32) -> Result<(), BackendError> {
            Ok(())
        }
    }

    async fn until(condition: impl Fn() -> bool) {
        let waiting = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it never happens");
    }

    #[tokio::test]
    async fn leases_are_extended_while_they_are_held_and_not_lost() {
        let server = Arc::new(Server {
            ledger: Ledger::new(),
            extended: Mutex::default(),
            going_on: Arc::default(),
        });
        let held: Vec<_> = (1..5).map(|token| Held::new(&server, token)).collect();
        let brief = Held::renewed_for(Duration::ZERO, &server, 5);
        until(|| server.extended(2) > 3 && server.extended(4) > 3).await;
        assert_eq!([1, 3, 5].map(|token| server.extended(token)), [1, 1, 0]);
        assert!(Arc::strong_count(&server.going_on) > 1);
        drop((held, brief));
        until(|| Arc::strong_count(&server.going_on) == 1).await;
        until(|| !server.ledger.is_renewed()).await;
        let _again = Held::new(&server, 6);
        until(|| server.extended(6) > 1).await;
    }
}
