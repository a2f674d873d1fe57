//! The part of a configuration that the short way to a hit needs.

use std::sync::Arc;

use super::options::{Expiration, Options};
use crate::backend::AnyBackend;
#[cfg(feature = "memory")]
use crate::backend::Memory;
use crate::invalidation::{InProcess, Invalidation};

/// The part of a configuration that a look at an object needs, found out once.
#[derive(Clone)]
pub(super) struct ShortWay {
    /// The map that the keys lie in as they are, with nothing around it.
    #[cfg(feature = "memory")]
    pub(super) memory: Option<Arc<Memory>>,
    /// The greatest age of a fresh value. Not a number where more than that counts.
    greatest_age: f64,
    /// The clock is the system's: it is asked without a detour.
    pub(super) is_system_time: bool,
    /// The region's own moments of invalidations, if they count, and values are this process's own.
    pub(super) moments: Option<Arc<InProcess>>,
}

impl ShortWay {
    pub(super) fn new(defaults: &Options) -> Self {
        let has_more = defaults.early.is_some() || defaults.jitter.is_some();
        Self {
            #[cfg(feature = "memory")]
            memory: None,
            greatest_age: if has_more {
                f64::NAN
            } else {
                greatest_age(defaults.expiration.as_ref())
            },
            is_system_time: false,
            moments: None,
        }
    }

    pub(super) fn by_system_time(self, is_system_time: bool) -> Self {
        Self { is_system_time, ..self }
    }

    pub(super) fn by_moments(self, used: &Arc<dyn Invalidation>, own: &Arc<InProcess>) -> Self {
        let is_own = std::ptr::addr_eq(Arc::as_ptr(used), Arc::as_ptr(own));
        Self { moments: is_own.then(|| own.clone()), ..self }
    }

    /// The same over a backend whose keys may be others than the callers'.
    #[cfg_attr(not(feature = "memory"), expect(unused_variables, reason = "there is no map"))]
    pub(super) fn over(self, backend: &AnyBackend, are_keys_mangled: bool) -> Self {
        Self {
            #[cfg(feature = "memory")]
            memory: backend.bare().filter(|_| !are_keys_mangled),
            ..self
        }
    }

    /// Returns the greatest age of a fresh value in a call with these options.
    #[inline]
    pub(super) fn greatest_age(&self, options: &Options) -> f64 {
        if options.early.is_some() || options.jitter.is_some() {
            return f64::NAN;
        }
        if options.expiration.is_none() || self.greatest_age.is_nan() {
            return self.greatest_age;
        }
        greatest_age(options.expiration.as_ref())
    }
}

fn greatest_age(expiration: Option<&Expiration>) -> f64 {
    match expiration {
        None | Some(Expiration::Never) => f64::INFINITY,
        Some(Expiration::After(time)) => time.as_secs_f64(),
        Some(Expiration::Computed(_)) => f64::NAN,
    }
}
