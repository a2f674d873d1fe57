//! Invalidation that all processes obey: the moments lie in the backend.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{InProcess, Invalidating, Invalidation, Mode};
use crate::backend::{AnyBackend, BackendError, ClaimMode, Claimed, Commit, Seen, Wanted, Watch};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::key;
use crate::lock::{CLOCK_SKEW, KeyedLock, KeyedMutex, Lease};
use crate::log;
use crate::value::{Entry, Payload};

/// The shared strategy: the moments are an entry of the backend, under a key
/// of their own, and every process looks at it again after a delay.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use dogpile::backend::{AnyBackend, SerializedMemory};
/// use dogpile::invalidation::SharedInvalidation;
/// use dogpile::{Config, Region};
/// use dogpile::invalidation::Mode;
///
/// # pollster::block_on(async {
/// let backend = AnyBackend::new(SerializedMemory::new(100));
/// let strategy = SharedInvalidation::new(backend.clone(), "users", Duration::from_secs(1));
/// let region = Region::new("users");
/// region.configure(Config::over(backend).invalidation(Arc::new(strategy)))?;
///
/// region.set("ada", &1).await?;
/// region.invalidate_all().await?;
/// assert_eq!(region.get::<i32>("ada").await?, None);
/// # Ok::<(), dogpile::Error>(())
/// # }).unwrap();
/// ```
///
/// The process that invalidates obeys at once, the others within the delay; or
/// in a moment, where the backend tells of changes, as Redis and files do. What was
/// read before is known to be older wherever it is created, since a value bears the
/// moment at which its creation began. While the backend is away processes go by
/// what they knew last. Where only the look failed, it is taken once more before what was
/// read is used; of several memcached servers the one with the moments may be dead.
///
/// The moments are [kept](crate::value::Metadata::kept): they outlive any creation, whatever the
/// time to live of values. A server that evicts entries for want of memory may still lose them,
/// and a memcached server that is started again has lost them; then the processes go by what
/// they know.
///
/// Machines' clocks are compared: what one with a clock ahead began to create
/// shortly before counts as begun after. A moment that lies further ahead than
/// [`CLOCK_SKEW`] is ignored, with a warning. The backend must keep bytes.
pub struct SharedInvalidation {
    backend: AnyBackend,
    key: String,
    delay: Duration,
    /// The seconds after a look from which on every reader looks again.
    must_look_after: f64,
    /// Those from which on one of them does.
    may_look_after: f64,
    known: InProcess,
    /// When the last look that succeeded began, as bits of epoch seconds.
    looked: AtomicU64,
    /// Somebody looks ahead of time.
    is_looking: AtomicBool,
    /// The backend says that the moments have changed.
    told: Arc<AtomicBool>,
    /// Begun with the first look, if the backend can.
    watch: OnceLock<Option<Watch>>,
    /// One writer of this process at a time.
    writing: KeyedMutex,
}

/// The stored form of moments; other fields may come.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    hard: Option<Timestamp>,
    soft: Option<Timestamp>,
}

/// Reads judge time by a clock that may be as far behind.
const COARSE: Duration = Duration::from_millis(8);

/// A writer in another process that takes longer is not waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// The number of tries to change the moments where others come before.
const TRIES: usize = 100;

impl SharedInvalidation {
    /// A strategy whose moments lie in `backend`, under the name of the region
    /// or regions that share them. Processes look at them at most every
    /// `delay`; zero is before every read.
    pub fn new(backend: AnyBackend, name: &str, delay: Duration) -> Self {
        let key = format!("{}:{name}", key::MOMENTS);
        let key = match backend.recommended_mangler() {
            Some(mangler) => mangler.mangle(&key).into_owned(),
            None => key,
        };
        Self {
            backend,
            key,
            delay,
            must_look_after: delay.saturating_sub(COARSE).as_secs_f64(),
            may_look_after: (delay / 2).as_secs_f64(),
            known: InProcess::new(),
            looked: AtomicU64::new(f64::NEG_INFINITY.to_bits()),
            is_looking: AtomicBool::new(false),
            told: Arc::default(),
            watch: OnceLock::new(),
            writing: KeyedMutex::new(),
        }
    }

    /// The key that the moments lie under, in the backend as it was handed in.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Began the last look less than `ago` seconds before `now`? Not by a clock that was
    /// set back since.
    fn has_looked(&self, now: Timestamp, ago: f64) -> bool {
        let looked = f64::from_bits(self.looked.load(Ordering::Relaxed));
        (looked..looked + ago).contains(&now)
    }

    /// Is what is known too old to go by?
    fn must_look(&self, now: Timestamp) -> bool {
        self.delay.is_zero() || !self.has_looked(now, self.must_look_after)
    }

    /// Is it time to look, for one reader, so that nobody must?
    fn may_look(&self, now: Timestamp) -> bool {
        self.told.load(Ordering::Relaxed) || !self.has_looked(now, self.may_look_after)
    }

    /// Looks at the moments.
    async fn look(&self, now: Timestamp) -> Result<(), BackendError> {
        self.watch();
        self.told.store(false, Ordering::Release);
        let entry = self.backend.get(&self.key).await?;
        self.obey(Moments::of(entry.as_ref()), now);
        self.looked.store(now.to_bits(), Ordering::Relaxed);
        Ok(())
    }

    /// Has the backend tell of changes, if it can. A reader that looks before every
    /// read need not be told.
    fn watch(&self) {
        self.watch.get_or_init(|| {
            let told = self.told.clone();
            let tell = Arc::new(move || told.store(true, Ordering::Release));
            (!self.delay.is_zero()).then(|| self.backend.watch(&self.key, tell)).flatten()
        });
    }

    fn obey(&self, moments: Moments, now: Timestamp) {
        for (mode, at) in [(Mode::Hard, moments.hard), (Mode::Soft, moments.soft)] {
            match at {
                Some(at) if is_believable(at, now) => self.known.advance(mode, at),
                Some(at) => log::invalidation_ignored(&self.key, at - now),
                None => {}
            }
        }
    }

    /// Raises a moment to `at`, whoever else raises one.
    async fn write(&self, mode: Mode, at: Timestamp) -> Result<(), BackendError> {
        let _alone = self.writing.hold("").await;
        let began = Instant::now();
        let mut entry = self.backend.get(&self.key).await?;
        for _ in 0..TRIES {
            let moments = Moments::of(entry.as_ref()).raised(mode, at);
            let claim = match Seen::of(entry.as_ref()) {
                _ if began.elapsed() > PATIENCE => ClaimMode::TakeOver,
                seen => ClaimMode::Create(seen),
            };
            let claimed = self.backend.claim(vec![Wanted::new(&self.key, claim)]).await?;
            match claimed.into_iter().next() {
                Some(Claimed::Won(lease)) => {
                    let moments = if claim.takes_over() {
                        let entry = self.backend.get(&self.key).await?;
                        Moments::of(entry.as_ref()).raised(mode, at)
                    } else {
                        moments
                    };
                    if self.commit(moments, lease).await? {
                        self.obey(moments, at);
                        return Ok(());
                    }
                }
                Some(Claimed::Changed(changed)) => {
                    entry = Some(changed);
                    continue;
                }
                Some(Claimed::Failed(error)) => return Err(error),
                Some(Claimed::Held) | None => self.wait().await?,
            }
            entry = self.backend.get(&self.key).await?;
        }
        Err(BackendError::unavailable("too many others invalidate at the same time"))
    }

    async fn commit(&self, moments: Moments, lease: Lease) -> Result<bool, BackendError> {
        let mut entry = Entry::bytes(moments.to_json(), SystemClock.now());
        entry.metadata = entry.metadata.with_keeping();
        let change = Commit { key: &self.key, entry: Some(entry), lease };
        let made = self.backend.commit(vec![change]).await?;
        Ok(made == [true])
    }

    /// Waits for a writer in another process, a moment at a time.
    async fn wait(&self) -> Result<(), BackendError> {
        const MOMENT: Duration = Duration::from_millis(20);
        let Some(mutex) = self.backend.mutex() else { return Ok(()) };
        let mut limit = SystemClock.sleep(MOMENT);
        let mut waited = pin!(mutex.wait(&self.key));
        let waited = poll_fn(|cx| match waited.as_mut().poll(cx) {
            Poll::Ready(waited) => Poll::Ready(waited.map(drop)),
            Poll::Pending => limit.as_mut().poll(cx).map(Ok),
        });
        waited.await
    }
}

/// Can a moment be one of a clock that is right, or nearly?
fn is_believable(at: Timestamp, now: Timestamp) -> bool {
    at.is_finite() && at <= now + CLOCK_SKEW.as_secs_f64()
}

impl Moments {
    fn to_json(self) -> String {
        serde_json::json!({ "hard": self.hard, "soft": self.soft }).to_string()
    }

    fn from_json(json: &[u8]) -> Self {
        let read = str::from_utf8(json).ok().and_then(|json| json.parse::<Value>().ok());
        let read = read.unwrap_or_default();
        let moment = |name| read.get(name).and_then(Value::as_f64);
        Self { hard: moment("hard"), soft: moment("soft") }
    }

    /// Moments that cannot be read invalidate nothing.
    fn of(entry: Option<&Entry>) -> Self {
        match entry.map(|entry| &entry.payload) {
            Some(Payload::Bytes(bytes)) => Self::from_json(bytes),
            _ => Self::default(),
        }
    }

    /// The later ones of both.
    fn and(self, other: Self) -> Self {
        let later = |one: Option<f64>, other: Option<f64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.max(other)),
            (one, other) => one.or(other),
        };
        Self { hard: later(self.hard, other.hard), soft: later(self.soft, other.soft) }
    }

    /// These, with one at `at` or later. A moment that nobody believes gives way.
    fn raised(self, mode: Mode, at: Timestamp) -> Self {
        let believed = |moment: Option<f64>| moment.filter(|moment| is_believable(*moment, at));
        let Self { hard, soft } = self;
        let (hard, soft) = (believed(hard), believed(soft));
        let raised = match mode {
            Mode::Hard => Self { hard: Some(at), soft: None },
            Mode::Soft => Self { hard: None, soft: Some(at) },
        };
        raised.and(Self { hard, soft })
    }
}

impl std::fmt::Debug for SharedInvalidation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedInvalidation")
            .field("key", &self.key)
            .field("delay", &self.delay)
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}

impl Invalidation for SharedInvalidation {
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

    fn latest(&self) -> Option<Timestamp> {
        self.known.latest()
    }

    fn retract(&self, now: Timestamp) {
        self.known.retract(now);
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.must_look(now) || (self.may_look(now) && !self.is_looking.load(Ordering::Relaxed))
    }

    fn refresh(&self, now: Timestamp) -> Invalidating<'_> {
        Box::pin(async move {
            if self.must_look(now) {
                return self.look(now).await;
            }
            if !self.may_look(now) || self.is_looking.swap(true, Ordering::AcqRel) {
                return Ok(());
            }
            let _looking = Looking(&self.is_looking);
            // Should it fail, what is known may still be gone by.
            let _ = self.look(now).await;
            Ok(())
        })
    }
}

/// Somebody looks, until this is dropped.
struct Looking<'a>(&'a AtomicBool);

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_judged_one_by_one() {
        for (json, hard, soft) in [
            (r#"{"hard": 5, "soft": 7.5}"#, Some(5.0), Some(7.5)),
            (r#"{"hard": "soon", "soft": 7.5}"#, None, Some(7.5)),
            (r#"{"hard": 5, "soft": []}"#, Some(5.0), None),
            (r#"{"hard": 5}"#, Some(5.0), None),
            ("[5]", None, None),
            ("{", None, None),
            ("", None, None),
        ] {
            let Moments { hard: one, soft: other } = Moments::from_json(json.as_bytes());
            assert_eq!((one, other), (hard, soft), "{json}");
        }
    }
}
