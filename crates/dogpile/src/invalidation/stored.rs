//! Invalidation that all processes obey: the moments lie in the backend.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{InProcess, Invalidating, Invalidation, Mode};
use crate::backend::{AnyBackend, BackendError, Watch};
use crate::clock::Timestamp;
use crate::value::{Entry, Payload};

/// The shared strategy: the moments are an entry of the backend, under a key
/// of their own, and every process looks at it again after a delay (contract
/// 4, beyond).
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use dogpile::backend::{AnyBackend, SerializedMemory};
/// use dogpile::invalidation::Stored;
/// use dogpile::{Config, Mode, Region};
///
/// # pollster::block_on(async {
/// let backend = AnyBackend::new(SerializedMemory::new(100));
/// let strategy = Stored::new(backend.clone(), "users", Duration::from_secs(1));
/// let region = Region::new("users");
/// region.configure(Config::over(backend).invalidation(Arc::new(strategy)))?;
///
/// region.set("ada", &1).await?;
/// region.invalidate(Mode::Hard).await?;
/// assert_eq!(region.get::<i32>("ada").await?, None);
/// # Ok::<(), dogpile::Error>(())
/// # }).unwrap();
/// ```
///
/// The process that invalidates obeys at once, the others within the delay; or
/// in a moment, where the backend tells of changes, as Redis and files do.
/// While the backend is away they go by what they knew last. Machines' clocks
/// are compared: what one with a clock ahead created shortly before counts as
/// created after. The backend must keep bytes.
pub struct Stored {
    backend: AnyBackend,
    key: String,
    delay: Duration,
    known: InProcess,
    /// When the next look is due, as bits of epoch seconds.
    due: AtomicU64,
    /// The backend says that the moments have changed.
    told: Arc<AtomicBool>,
    /// Begun with the first look, if the backend can.
    watch: OnceLock<Option<Watch>>,
}

/// What lies in the backend; other fields may come.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Moments {
    hard: Option<Timestamp>,
    soft: Option<Timestamp>,
}

impl Stored {
    /// A strategy whose moments lie in `backend`, under the name of the region
    /// or regions that share them. Processes look at them at most every
    /// `delay`; zero is before every read.
    pub fn new(backend: AnyBackend, name: &str, delay: Duration) -> Self {
        Self {
            backend,
            key: format!("_invalidation:{name}"),
            delay,
            known: InProcess::new(),
            due: AtomicU64::new(f64::NEG_INFINITY.to_bits()),
            told: Arc::default(),
            watch: OnceLock::new(),
        }
    }

    /// The key that the moments lie under, in the backend as it was handed in.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Is what is known still good, where the next look is `due` then? A clock
    /// that was set back must not put it off for longer than the delay.
    fn is_known_at(&self, now: Timestamp, due: Timestamp) -> bool {
        (due - self.delay.as_secs_f64()..due).contains(&now)
    }

    async fn look(&self) -> Result<Moments, BackendError> {
        self.watch.get_or_init(|| {
            let told = self.told.clone();
            let tell = Arc::new(move || told.store(true, Ordering::Release));
            // Who looks before every read need not be told.
            (!self.delay.is_zero()).then(|| self.backend.watch(&self.key, tell)).flatten()
        });
        let entry = self.backend.get(&self.key).await?;
        let moments = match entry.map(|entry| entry.payload) {
            Some(Payload::Bytes(bytes)) => serde_json::from_slice(&bytes).ok(),
            _ => None,
        };
        // What cannot be read invalidates nothing, and is written anew by the
        // next invalidation.
        let moments: Moments = moments.unwrap_or_default();
        self.obey(&moments);
        Ok(moments)
    }

    fn obey(&self, moments: &Moments) {
        for (mode, at) in [(Mode::Hard, moments.hard), (Mode::Soft, moments.soft)] {
            if let Some(at) = at.filter(|at| at.is_finite()) {
                self.known.advance(mode, at);
            }
        }
    }

    async fn write(&self, mode: Mode, at: Timestamp) -> Result<(), BackendError> {
        // Two at the same moment may overwrite each other: they say the same,
        // or one is a little later.
        let mut moments = self.look().await?;
        let moment = match mode {
            Mode::Hard => &mut moments.hard,
            Mode::Soft => &mut moments.soft,
        };
        *moment = Some(moment.map_or(at, |before| before.max(at)));
        let payload = serde_json::to_vec(&moments).map_err(BackendError::other)?;
        self.backend.set(&self.key, Entry::bytes(payload, at)).await?;
        self.obey(&moments);
        Ok(())
    }
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored")
            .field("key", &self.key)
            .field("delay", &self.delay)
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}

impl Invalidation for Stored {
    fn invalidate(&self, mode: Mode, at: Timestamp) -> Invalidating<'_> {
        Box::pin(self.write(mode, at))
    }

    fn is_hard_invalidated(&self, ct: Timestamp) -> bool {
        self.known.is_hard_invalidated(ct)
    }

    fn is_soft_invalidated(&self, ct: Timestamp) -> bool {
        self.known.is_soft_invalidated(ct)
    }

    fn was_hard_invalidated(&self) -> bool {
        self.known.was_hard_invalidated()
    }

    fn was_soft_invalidated(&self) -> bool {
        self.known.was_soft_invalidated()
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.told.load(Ordering::Relaxed)
            || !self.is_known_at(now, f64::from_bits(self.due.load(Ordering::Relaxed)))
    }

    fn refresh(&self, now: Timestamp) -> Invalidating<'_> {
        let due = self.due.load(Ordering::Relaxed);
        let next = (now + self.delay.as_secs_f64()).to_bits();
        let late = || {
            !self.is_known_at(now, f64::from_bits(due))
                && self
                    .due
                    .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
        };
        let mine = self.told.swap(false, Ordering::Acquire) || late();
        Box::pin(async move { if mine { self.look().await.map(drop) } else { Ok(()) } })
    }
}
