//! The dogpile lock on its own: any mutex, any reader, any creator, no cache. It is the engine of a region without the region.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::creating::Creation;
use super::drive::drive;
use super::flight::{
    Claim, Deadline, Fallback, Flight, LockError, OnWaitTimeout, Reading, Stop, WaitTimeout, Waited,
};
use super::mutex::{KeyedLock, Lease};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::freshness::{Freshness, freshness};

/// Elects one caller per key to create a value; see the
/// [module](crate::lock).
///
/// ```
/// # pollster::block_on(async {
/// use std::sync::Mutex;
/// use std::time::Duration;
/// use dogpile::clock::{Clock, SystemClock};
/// use dogpile::lock::{KeyedMutex, Lock};
///
/// let shelf: Mutex<Option<(String, f64)>> = Mutex::new(None);
/// let lock = Lock::new(KeyedMutex::new()).expiration(Duration::from_secs(60));
///
/// let report = lock
///     .get_or_create(
///         "report",
///         async || shelf.lock().unwrap().clone(),
///         async || {
///             let report = "42 orders".to_owned();
///             *shelf.lock().unwrap() = Some((report.clone(), SystemClock.now()));
///             Ok::<_, std::io::Error>(report)
///         },
///     )
///     .await;
/// assert!(matches!(report, Ok(text) if text == "42 orders"));
/// # });
/// ```
pub struct Lock<M> {
    mutex: M,
    clock: Arc<dyn Clock>,
    expiration: Option<Duration>,
    wait_timeout: Option<Duration>,
}

/// Why [`Lock::get_or_create`] has no value.
#[derive(Debug)]
pub enum CreateError<E> {
    /// The creator failed.
    Creator(E),
    /// The lock failed.
    Lock(LockError),
}

impl<E: fmt::Display> fmt::Display for CreateError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Creator(error) => error.fmt(f),
            Self::Lock(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for CreateError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Creator(error) => error.source(),
            Self::Lock(error) => error.source(),
        }
    }
}

impl<M: KeyedLock> Lock<M> {
    /// A lock over `mutex`, whose values never expire.
    pub fn new(mutex: M) -> Self {
        Self { mutex, clock: Arc::new(SystemClock), expiration: None, wait_timeout: None }
    }

    /// Values older than `expiration` are created again.
    #[must_use]
    pub fn expiration(mut self, expiration: Duration) -> Self {
        self.expiration = Some(expiration);
        self
    }

    /// Sets the time to wait for another's creation before giving up with an
    /// error. Without a limit, as long as it takes.
    #[must_use]
    pub fn wait_timeout(mut self, limit: Duration) -> Self {
        self.wait_timeout = Some(limit);
        self
    }

    /// Sets the clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The value under `key`: what `read` finds, if it is fresh; what
    /// `create` returns, if this caller is elected; what another caller created,
    /// otherwise.
    ///
    /// `read` returns the value and its creation time in epoch seconds. It is
    /// called again after the mutex was won or waited for. `create` stores
    /// what it created where `read` finds it. Where `read` finds an expired
    /// value while another caller is creating, the expired value is returned
    /// at once.
    ///
    /// Cancel safe: dropping the future gives the key up, and a waiter takes
    /// over. A panic in `create` does the same.
    pub async fn get_or_create<T, E, R, RF, C, CF>(
        &self,
        key: &str,
        read: R,
        create: C,
    ) -> Result<T, CreateError<E>>
    where
        T: Clone + Send + Sync,
        E: Send,
        R: Fn() -> RF + Send + Sync,
        RF: Future<Output = Option<(T, Timestamp)>> + Send,
        C: FnOnce() -> CF + Send,
        CF: Future<Output = Result<T, E>> + Send,
    {
        let (types, errors) = (PhantomData, PhantomData);
        let flight = LockFlight { lock: self, key, read, types, errors };
        let first = flight.look().await;
        let mut create = Some(create);
        let create = |_| {
            let create = create.take();
            async move {
                match create {
                    Some(create) => create().await.map(|value| vec![value]),
                    // One key is won at most once; an empty answer is refused.
                    None => Ok(Vec::new()),
                }
            }
        };
        match drive(&flight, vec![first], create, None).await {
            Ok(mut values) => match values.pop() {
                Some((value, _)) => Ok(value),
                None => Err(CreateError::Lock(LockError::WrongCount { asked: 1, returned: 0 })),
            },
            Err(Stop::Creator(error)) => Err(CreateError::Creator(error)),
            Err(Stop::TooSlow(error) | Stop::Error(error)) => Err(CreateError::Lock(error)),
        }
    }

    /// Is somebody creating `key` now?
    pub async fn is_locked(&self, key: &str) -> Result<bool, LockError> {
        self.mutex.is_locked(key).await.map_err(LockError::Mutex)
    }
}

impl<M> fmt::Debug for Lock<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock")
            .field("expiration", &self.expiration)
            .field("wait_timeout", &self.wait_timeout)
            .finish_non_exhaustive()
    }
}

struct LockFlight<'l, M, R, RF, T, E> {
    lock: &'l Lock<M>,
    key: &'l str,
    read: R,
    types: PhantomData<fn() -> (RF, T)>,
    errors: PhantomData<fn() -> E>,
}

impl<M, R, RF, T, E> LockFlight<'_, M, R, RF, T, E>
where
    M: KeyedLock,
    E: Send,
    T: Clone + Send + Sync,
    R: Fn() -> RF + Send + Sync,
    RF: Future<Output = Option<(T, Timestamp)>> + Send,
{
    async fn look(&self) -> Reading<Self> {
        match (self.read)().await {
            None => Reading {
                found: Freshness::Missing,
                value: None,
                is_kept: false,
                fallback: Fallback::None,
                seen: (),
            },
            Some((value, ct)) => {
                let now = self.lock.clock.now();
                let found = freshness(ct, now, self.lock.expiration.into(), None);
                Reading {
                    found,
                    value: Some(value),
                    is_kept: false,
                    fallback: Fallback::None,
                    seen: (),
                }
            }
        }
    }

    /// The mutex is won: look again before it is taken as a licence to
    /// create.
    async fn look_again(&self, lease: Lease) -> Result<Result<Lease, Reading<Self>>, LockError> {
        let reading = self.look().await;
        if reading.found != Freshness::Fresh {
            return Ok(Ok(lease));
        }
        self.lock.mutex.unlock(lease).await.map_err(LockError::Mutex)?;
        Ok(Err(reading))
    }

    async fn wait(&self) -> Result<Waited<Self>, LockError> {
        let waited = self.lock.mutex.wait(self.key).await.map_err(LockError::Mutex)?;
        let Some(lease) = waited else {
            return Ok(Waited::Changed(self.look().await));
        };
        Ok(match self.look_again(lease).await? {
            Ok(lease) => Waited::Won(lease),
            Err(reading) => Waited::Changed(reading),
        })
    }
}

impl<M, R, RF, T, E> Flight for LockFlight<'_, M, R, RF, T, E>
where
    M: KeyedLock,
    E: Send,
    T: Clone + Send + Sync,
    R: Fn() -> RF + Send + Sync,
    RF: Future<Output = Option<(T, Timestamp)>> + Send,
{
    type Value = T;
    type Made = T;
    type Guard = Lease;
    type Seen = ();
    type Error = LockError;
    type Failure = E;

    fn error(&self, _index: usize, error: LockError) -> LockError {
        error
    }

    fn creation(&self, indexes: &[usize]) -> Creation {
        let owner = std::ptr::from_ref(self.lock).addr();
        Creation { owner, keys: indexes.iter().map(|_| self.key.to_owned()).collect() }
    }

    async fn claim<'s>(&'s self, keys: &[(usize, &())]) -> Result<Vec<Claim<'s, Self>>, LockError> {
        let mut claims = Vec::with_capacity(keys.len());
        for _ in keys {
            let lease = self.lock.mutex.try_lock(self.key).await.map_err(LockError::Mutex)?;
            claims.push(match lease {
                None => Claim::Held(Box::pin(self.wait())),
                Some(lease) => match self.look_again(lease).await? {
                    Ok(lease) => Claim::Won(lease),
                    Err(reading) => Claim::Changed(reading),
                },
            });
        }
        Ok(claims)
    }

    fn begin(&self, _guard: &mut Lease) {}

    async fn seize(&self, _indexes: &[usize]) -> Result<Vec<Lease>, LockError> {
        // Never asked for: its callers give up with an error.
        Err(LockError::WaitTimeout { limit: self.lock.wait_timeout.unwrap_or_default() })
    }

    async fn finish(&self, made: Vec<(usize, Lease, T)>) -> Result<Vec<T>, LockError> {
        let (leases, values) = made.into_iter().map(|(_, lease, value)| (lease, value)).unzip();
        self.abandon(leases).await;
        Ok(values)
    }

    async fn abandon(&self, leases: Vec<Lease>) {
        for lease in leases {
            // A mutex that cannot be released now ends by itself.
            let _ = self.lock.mutex.unlock(lease).await;
        }
    }

    fn deadline(&self) -> Option<Deadline> {
        let limit = self.lock.wait_timeout.or_else(|| self.lock.mutex.wait_timeout())?;
        let timer = self.lock.clock.sleep(limit);
        Some(Deadline { timeout: WaitTimeout { limit, then: OnWaitTimeout::Error }, timer })
    }
}
