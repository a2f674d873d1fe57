//! A proxy that lets a backend fail on demand.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::backend::{AnyBackend, BackendError};
use crate::proxy::Proxy;
use crate::value::Entry;
#[cfg(feature = "serialized")]
use crate::value::Payload;

/// The operations that faults can be injected into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `get`, and each key of a claim.
    Get,
    /// `set`, and each entry of a commit.
    Set,
    /// `delete`.
    Delete,
    /// `get_multi`.
    GetMulti,
    /// `set_multi`.
    SetMulti,
    /// `delete_multi`.
    DeleteMulti,
}

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails as if the server were gone; it has no effect.
    Unavailable,
    /// The operation reports success and has no effect; a read finds nothing.
    Lost,
    /// Payloads lose their last half on the way. Of live objects, which have
    /// no bytes, nothing is lost.
    Truncated,
    /// The operation waits until [`Faults::release`] is called.
    Held,
}

/// Injects faults into the operations of the backend inside. Clones share the
/// plan; without one everything passes through.
///
/// ```
/// use dogpile::{Config, Region, backend::Memory};
/// use dogpile::testing::{Fault, Faults, Operation};
///
/// let faults = Faults::new();
/// let region = Region::new("r");
/// region.configure(Config::new(Memory::new(10)).proxy(faults.clone()))?;
///
/// faults.next(Operation::Get, Fault::Unavailable, 1);
/// assert!(region.blocking().get::<u8>("k").is_err());
/// assert!(region.blocking().get::<u8>("k").is_ok());
/// # Ok::<(), dogpile::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Faults(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    plan: Mutex<Plan>,
    gate: Mutex<Gate>,
}

/// The place where operations wait that are held.
#[derive(Debug, Default)]
struct Gate {
    releases: u64,
    held: Vec<Waker>,
}

#[derive(Debug, Default)]
struct Plan {
    next: HashMap<Operation, Vec<Fault>>,
    always: HashMap<Operation, Fault>,
    random: Option<Random>,
    injected: u64,
}

#[derive(Debug)]
struct Random {
    state: u64,
    fault: Fault,
    probability: f64,
}

impl Random {
    /// A number from 0 to 1 (xorshift: the same sequence for the same seed).
    fn draw(&mut self) -> f64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Faults {
    /// Returns a proxy that injects nothing yet.
    pub fn new() -> Self {
        Self(Arc::new(Inner { plan: Mutex::default(), gate: Mutex::default() }))
    }

    /// Injects `fault` into the next `times` calls of `operation`.
    pub fn next(&self, operation: Operation, fault: Fault, times: usize) {
        let mut plan = self.plan();
        plan.next.entry(operation).or_default().extend(std::iter::repeat_n(fault, times));
    }

    /// Injects `fault` into every call of `operation` until [`clear`](Self::clear).
    pub fn always(&self, operation: Operation, fault: Fault) {
        self.plan().always.insert(operation, fault);
    }

    /// Lets every operation fail, as if the server were gone.
    pub fn down(&self) {
        use Operation::{Delete, DeleteMulti, Get, GetMulti, Set, SetMulti};
        for operation in [Get, Set, Delete, GetMulti, SetMulti, DeleteMulti] {
            self.always(operation, Fault::Unavailable);
        }
    }

    /// Injects `fault` into each call of any operation with this probability
    /// (0 to 1), in a sequence that depends on nothing but `seed`.
    pub fn random(&self, seed: u64, fault: Fault, probability: f64) {
        self.plan().random = Some(Random { state: seed | 1, fault, probability });
    }

    /// Injects no more faults. What is held stays held until [`release`](Self::release).
    pub fn clear(&self) {
        let mut plan = self.plan();
        let injected = plan.injected;
        *plan = Plan { injected, ..Plan::default() };
    }

    /// Lets the operations go on that are held now.
    pub fn release(&self) {
        let held = {
            let mut gate = self.gate();
            gate.releases += 1;
            std::mem::take(&mut gate.held)
        };
        held.into_iter().for_each(Waker::wake);
    }

    /// Returns how many faults were injected so far.
    pub fn injected(&self) -> u64 {
        self.plan().injected
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.0.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next release.
    async fn released(&self) {
        let before = self.gate().releases;
        poll_fn(|cx| {
            let mut gate = self.gate();
            if gate.releases > before {
                return Poll::Ready(());
            }
            gate.held.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn draw(&self, operation: Operation) -> Option<Fault> {
        let mut plan = self.plan();
        let next = plan.next.get_mut(&operation);
        let fault = match next.filter(|queue| !queue.is_empty()) {
            Some(queue) => Some(queue.remove(0)),
            None => plan.always.get(&operation).copied().or_else(|| {
                let random = plan.random.as_mut()?;
                (random.draw() < random.probability).then_some(random.fault)
            }),
        };
        plan.injected += u64::from(fault.is_some());
        fault
    }

    /// Draws this call's fault; waits if it is held, fails if it is down.
    async fn meet(&self, operation: Operation) -> Result<Option<Fault>, BackendError> {
        match self.draw(operation) {
            Some(Fault::Unavailable) => Err(BackendError::unavailable("injected fault")),
            Some(Fault::Held) => {
                self.released().await;
                Ok(None)
            }
            other => Ok(other),
        }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}

/// Objects stay whole.
fn truncated(entry: Entry) -> Entry {
    #[cfg(feature = "serialized")]
    if let Payload::Bytes(bytes) = &entry.payload {
        let half = bytes.slice(..bytes.len() / 2);
        return Entry { payload: Payload::Bytes(half), metadata: entry.metadata };
    }
    entry
}

impl Proxy for Faults {
    async fn get(&self, next: &AnyBackend, key: &str) -> Result<Option<Entry>, BackendError> {
        match self.meet(Operation::Get).await? {
            Some(Fault::Lost) => Ok(None),
            Some(Fault::Truncated) => Ok(next.get(key).await?.map(truncated)),
            _ => next.get(key).await,
        }
    }

    async fn set(&self, next: &AnyBackend, key: &str, entry: Entry) -> Result<(), BackendError> {
        match self.meet(Operation::Set).await? {
            Some(Fault::Lost) => Ok(()),
            Some(Fault::Truncated) => next.set(key, truncated(entry)).await,
            _ => next.set(key, entry).await,
        }
    }

    async fn delete(&self, next: &AnyBackend, key: &str) -> Result<(), BackendError> {
        match self.meet(Operation::Delete).await? {
            Some(Fault::Lost) => Ok(()),
            _ => next.delete(key).await,
        }
    }

    async fn get_multi(
        &self,
        next: &AnyBackend,
        keys: &[&str],
    ) -> Result<Vec<Option<Entry>>, BackendError> {
        let fault = self.meet(Operation::GetMulti).await?;
        let entries = next.get_multi(keys).await?.into_iter();
        Ok(match fault {
            Some(Fault::Lost) => keys.iter().map(|_| None).collect(),
            Some(Fault::Truncated) => entries.map(|entry| entry.map(truncated)).collect(),
            _ => entries.collect(),
        })
    }

    async fn set_multi(
        &self,
        next: &AnyBackend,
        entries: &[(&str, Entry)],
    ) -> Result<(), BackendError> {
        match self.meet(Operation::SetMulti).await? {
            Some(Fault::Lost) => Ok(()),
            Some(Fault::Truncated) => {
                let entries = entries.iter().map(|(key, entry)| (*key, truncated(entry.clone())));
                next.set_multi(&entries.collect::<Vec<_>>()).await
            }
            _ => next.set_multi(entries).await,
        }
    }

    async fn delete_multi(&self, next: &AnyBackend, keys: &[&str]) -> Result<(), BackendError> {
        match self.meet(Operation::DeleteMulti).await? {
            Some(Fault::Lost) => Ok(()),
            _ => next.delete_multi(keys).await,
        }
    }
}
