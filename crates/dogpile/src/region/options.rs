//! The options of a region, and of one call of it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::early::Early;
use super::kind::Cacheable;
use super::lookup::Takes;
use crate::lock::OnWaitTimeout;

/// The lifetime (TTL) of values. It is judged when a value is read, by its creation time;
/// it is not the [retention](crate::Config::retention).
#[derive(Clone, Default)]
pub enum Expiration {
    /// For ever.
    #[default]
    Never,
    /// For this long after their creation. A zero lets a value live for the
    /// rest of the clock's tick, a few milliseconds at most.
    After(Duration),
    /// For as long as the function says each time a value is judged; `None`
    /// is for ever.
    Computed(Arc<dyn Fn() -> Option<Duration> + Send + Sync>),
}

impl Expiration {
    /// An expiration that is computed each time a value is judged: how old
    /// may a value be at this moment?
    ///
    /// ```
    /// use std::time::{Duration, SystemTime, UNIX_EPOCH};
    /// use dogpile::Expiration;
    ///
    /// // Whatever was created before the last midnight (UTC) is expired.
    /// let daily = Expiration::computed(|| {
    ///     let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    ///     Some(Duration::from_secs(now.as_secs() % 86_400))
    /// });
    /// # let _ = daily;
    /// ```
    pub fn computed(expiration: impl Fn() -> Option<Duration> + Send + Sync + 'static) -> Self {
        Self::Computed(Arc::new(expiration))
    }

    pub(crate) fn after(&self) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::After(duration) => Some(*duration),
            Self::Computed(expiration) => expiration(),
        }
    }
}

/// The time that stores on servers keep a value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Retention {
    /// As the expiration has it.
    #[default]
    Usual,
    After(Duration),
    Forever,
}

impl Retention {
    /// No shorter than this, so that values outlive what a short expiration is good for: a
    /// night in which nobody asks, a caller with another expiration.
    const SHORTEST: Duration = Duration::from_secs(24 * 3_600);
    /// So many times as long as the value may be used by all that is known.
    const FACTOR: u32 = 10;

    /// Returns the time that a value with these options, and maybe a lifetime of its `own`, is kept. One that never expires, or whose
    /// expiration is computed each time, is kept for ever.
    pub(crate) fn of(self, options: &Options, own: Option<Duration>) -> Option<Duration> {
        match self {
            Self::Forever => None,
            Self::After(time) => Some(time),
            Self::Usual => match (own, &options.expiration) {
                (Some(expiration), _) | (None, &Some(Expiration::After(expiration))) => {
                    let stale = options.stale_while_revalidate.max(options.stale_if_error);
                    let used = expiration.saturating_add(stale.unwrap_or_default());
                    Some(used.saturating_mul(Self::FACTOR).max(Self::SHORTEST))
                }
                (None, Some(Expiration::Never | Expiration::Computed(_)) | None) => None,
            },
        }
    }
}

impl From<Duration> for Expiration {
    fn from(duration: Duration) -> Self {
        Self::After(duration)
    }
}

impl From<Option<Duration>> for Expiration {
    fn from(duration: Option<Duration>) -> Self {
        duration.map_or(Self::Never, Self::After)
    }
}

impl fmt::Debug for Expiration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("Never"),
            Self::After(duration) => write!(f, "After({duration:?})"),
            Self::Computed(_) => f.write_str("Computed"),
        }
    }
}

/// The lifetimes of values of one type, by their content.
#[derive(Clone)]
pub(crate) struct Lifetime(Arc<LifetimeOf>);

type LifetimeOf = dyn Fn(&dyn Any) -> Option<Duration> + Send + Sync;

impl Lifetime {
    pub(crate) fn of<T: 'static>(
        lifetime: impl Fn(&T) -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |value| lifetime(value.downcast_ref()?)))
    }
}

impl fmt::Debug for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lifetime")
    }
}

/// The options of a call: a region holds the defaults, a call overrides some.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) expiration: Option<Expiration>,
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
    pub(crate) retry_after: Option<Duration>,
    /// The lifetime of `None`.
    pub(crate) negative: Option<Duration>,
    pub(crate) lifetime: Option<Lifetime>,
    /// The time for which a failure is given to those who share failures, without another attempt.
    pub(crate) remember_failures: Option<Duration>,
    pub(crate) early: Option<Early>,
    pub(crate) jitter: Option<f64>,
    pub(crate) soft_timeout: Option<Duration>,
    pub(crate) creation_timeout: Option<Duration>,
    pub(crate) ignore_expiration: bool,
    pub(crate) wait_timeout: Option<Duration>,
    pub(crate) on_wait_timeout: Option<OnWaitTimeout>,
    /// Tells the errors of other calls' creators that this call takes as its own.
    pub(crate) takes: Option<Takes>,
    /// The call is on a thread on which nothing that it would wait for could go on.
    pub(crate) cannot_wait: bool,
}

impl Options {
    /// Nothing but the region's defaults.
    pub(crate) const NONE: &Self = &Self {
        expiration: None,
        stale_while_revalidate: None,
        stale_if_error: None,
        retry_after: None,
        negative: None,
        lifetime: None,
        remember_failures: None,
        early: None,
        jitter: None,
        soft_timeout: None,
        creation_timeout: None,
        ignore_expiration: false,
        wait_timeout: None,
        on_wait_timeout: None,
        takes: None,
        cannot_wait: false,
    };

    /// Sets what keeps callers from feeling that a source fails or is slow.
    pub(crate) fn make_resilient(&mut self) {
        self.stale_while_revalidate = Some(Duration::from_secs(60));
        self.stale_if_error = Some(Duration::from_secs(3_600));
        self.retry_after = Some(Duration::from_secs(10));
        self.soft_timeout = Some(Duration::from_millis(100));
        self.creation_timeout = Some(Duration::from_secs(30));
        self.early = Some(Early::adaptive());
        self.jitter = Some(0.1);
    }

    /// Returns the lifetime of a value's own.
    pub(crate) fn lifetime_of<K, T: Cacheable<K>>(&self, value: &T) -> Option<Duration> {
        let negative = self.negative.filter(|_| value.is_none());
        negative.or_else(|| self.lifetime.as_ref()?.0(value))
    }

    /// `self` where it says something, `defaults` elsewhere.
    pub(crate) fn or(mut self, defaults: &Self) -> Self {
        self.expiration = self.expiration.or_else(|| defaults.expiration.clone());
        self.stale_while_revalidate =
            self.stale_while_revalidate.or(defaults.stale_while_revalidate);
        self.stale_if_error = self.stale_if_error.or(defaults.stale_if_error);
        self.retry_after = self.retry_after.or(defaults.retry_after);
        self.negative = self.negative.or(defaults.negative);
        self.lifetime = self.lifetime.or_else(|| defaults.lifetime.clone());
        self.remember_failures = self.remember_failures.or(defaults.remember_failures);
        self.early = self.early.or(defaults.early);
        self.jitter = self.jitter.or(defaults.jitter);
        self.soft_timeout = self.soft_timeout.or(defaults.soft_timeout);
        self.creation_timeout = self.creation_timeout.or(defaults.creation_timeout);
        self.wait_timeout = self.wait_timeout.or(defaults.wait_timeout);
        self.on_wait_timeout = self.on_wait_timeout.or(defaults.on_wait_timeout);
        self.ignore_expiration |= defaults.ignore_expiration;
        self
    }
}

/// Returns a part of an expiration, as it was given.
///
/// # Panics
///
/// If it is not between 0 and 1.
pub(crate) fn share_of_expiration(share: f64) -> f64 {
    assert!((0.0..=1.0).contains(&share), "jitter is between 0 and 1, not {share}");
    share
}

/// Decides whether a created value is stored. Any `Fn(&T) -> bool` does.
pub trait ShouldCache<T>: Send + Sync {
    /// May `value` be stored?
    fn should_cache(&self, value: &T) -> bool;
}

/// Stores every value: the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Always;

impl<T> ShouldCache<T> for Always {
    fn should_cache(&self, _value: &T) -> bool {
        true
    }
}

impl<T, F: Fn(&T) -> bool + Send + Sync> ShouldCache<T> for F {
    fn should_cache(&self, value: &T) -> bool {
        self(value)
    }
}

/// The setters that calls on one key and on several have in common, async and blocking; the
/// argument is the way to their options.
macro_rules! call_options {
    ($($options:ident).+) => {
        /// Sets the greatest age of a value for this call. [`Expiration::Never`] takes a
        /// value of any age. One that has a [lifetime](crate::Config::lifetime) of its own has that.
        #[doc(alias("expiration_time", "time_to_live", "ttl"))]
        pub fn expiration(mut self, expiration: impl Into<Expiration>) -> Self {
            self.$($options).+.expiration = Some(expiration.into());
            self
        }

        /// Sets the time for which an expired value may still be served while it is created
        /// again. One that is older counts as missing, and callers wait.
        pub fn stale_while_revalidate(mut self, limit: Duration) -> Self {
            self.$($options).+.stale_while_revalidate = Some(limit);
            self
        }

        /// Sets what keeps callers from feeling that a source fails or is slow. See
        /// [`Config::resilient`](crate::Config::resilient).
        pub fn resilient(mut self) -> Self {
            self.$($options).+.make_resilient();
            self
        }

        /// Sets the time for which an expired value stands in for a creation that fails: its
        /// caller gets that value ([`Status::StaleOnError`](crate::Status::StaleOnError)) in place
        /// of the error, and so do all callers for a while, without another attempt. See
        /// [`Config::stale_if_error`](crate::Config::stale_if_error).
        pub fn stale_if_error(mut self, limit: Duration) -> Self {
            self.$($options).+.stale_if_error = Some(limit);
            self
        }

        /// Sets the time without another attempt after a creation has failed and a stale value
        /// stands in for it. 10 seconds by default.
        pub fn retry_after(mut self, time: Duration) -> Self {
            self.$($options).+.retry_after = Some(time);
            self
        }

        /// Sets the moment from which a value is created again before it expires. See
        /// [`Config::early`](crate::Config::early).
        #[doc(alias("refresh_after_write", "beta"))]
        pub fn early(mut self, early: Early) -> Self {
            self.$($options).+.early = Some(early);
            self
        }

        /// Shortens the expiration of each value by a part of its own, up to `share` (0.1 is a
        /// tenth). See [`Config::jitter`](crate::Config::jitter).
        ///
        /// # Panics
        ///
        /// If `share` is not between 0 and 1.
        pub fn jitter(mut self, share: f64) -> Self {
            self.$($options).+.jitter = Some($crate::region::options::share_of_expiration(share));
            self
        }

        /// Sets the time after which callers get a stale value in place of one whose creation
        /// takes longer. See [`Config::soft_timeout`](crate::Config::soft_timeout).
        pub fn soft_timeout(mut self, limit: Duration) -> Self {
            self.$($options).+.soft_timeout = Some(limit);
            self
        }

        /// Sets the time after which a creation is dropped, and counts as failed. See
        /// [`Config::creation_timeout`](crate::Config::creation_timeout).
        pub fn creation_timeout(mut self, limit: Duration) -> Self {
            self.$($options).+.creation_timeout = Some(limit);
            self
        }

        /// Takes whatever is stored, expired or invalidated as it may be.
        #[doc(alias = "cache_only")]
        pub fn ignore_expiration(mut self) -> Self {
            self.$($options).+.ignore_expiration = true;
            self
        }

        /// Sets the time to wait for another caller's creation.
        pub fn wait_timeout(mut self, limit: Duration) -> Self {
            self.$($options).+.wait_timeout = Some(limit);
            self
        }

        /// Sets the action when the wait timeout ends.
        pub fn on_wait_timeout(mut self, then: OnWaitTimeout) -> Self {
            self.$($options).+.on_wait_timeout = Some(then);
            self
        }
    };
}

/// That of calls on values of some type.
macro_rules! lifetime_option {
    ($($options:ident).+) => {
        /// Sets the lifetime of each value by its content: the time after its creation for which it
        /// is fresh, in place of the expiration. `None` leaves it to that. See
        /// [`Config::lifetime`](crate::Config::lifetime).
        #[doc(alias("expire_after", "Expiry"))]
        pub fn lifetime<T: 'static>(
            mut self,
            lifetime: impl Fn(&T) -> Option<Duration> + Send + Sync + 'static,
        ) -> Self
        where
            V: $crate::region::kind::Takes<T>,
        {
            self.$($options).+.lifetime = Some($crate::region::options::Lifetime::of(lifetime));
            self
        }
    };
}

/// Those of calls on values that are serialized.
macro_rules! serialized_options {
    ($($options:ident).+) => {
        /// Sets the lifetime of `None`, as creators of an `Option` return it. See
        /// [`Config::negative`](crate::Config::negative).
        #[doc(alias("negative_ttl", "cache_null"))]
        pub fn negative(mut self, lifetime: Duration) -> Self {
            self.$($options).+.negative = Some(lifetime);
            self
        }
    };
}

pub(super) use {call_options, lifetime_option, serialized_options};
