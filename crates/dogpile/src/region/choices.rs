//! Choices of a configuration that depend on the backend in the end: the mangler of keys, and the place
//! of the moments of invalidations.

use std::sync::Arc;
#[cfg(feature = "serialized")]
use std::time::Duration;

use crate::backend::AnyBackend;
#[cfg(feature = "serialized")]
use crate::invalidation::SharedInvalidation;
use crate::invalidation::{InProcess, Invalidation};
use crate::key::Mangler;

/// Which mangler a region uses.
pub(crate) enum ManglerChoice {
    /// The backend's, if it recommends one.
    Recommended,
    Own(Mangler),
    None,
}

/// The store of the moments of a region's invalidations.
pub(crate) enum InvalidationChoice {
    /// The place of the backend's values.
    Usual,
    Local,
    #[cfg(feature = "serialized")]
    Shared(Duration),
    Own(Arc<dyn Invalidation>),
}

impl ManglerChoice {
    /// The mangler of a region over `backend`. What it stores begins with `prefix`, if
    /// there is one, as far as the backend takes such keys.
    pub(crate) fn of(self, backend: &AnyBackend, prefix: Option<Mangler>) -> Option<Mangler> {
        let chain = |first: Option<Mangler>, next| match first {
            Some(first) => first.then(next),
            None => next,
        };
        let recommended = backend.recommended_mangler();
        let (own, last) = match self {
            Self::Recommended => (recommended.clone(), recommended),
            Self::Own(mangler) => (Some(mangler), recommended),
            Self::None => (None, None),
        };
        let Some(prefix) = prefix else { return own };
        let prefixed = chain(own, prefix);
        // The prefix can make a key too long.
        Some(match last {
            Some(last) => prefixed.then(last),
            None => prefixed,
        })
    }
}

impl InvalidationChoice {
    #[cfg(feature = "serialized")]
    pub(crate) const USUAL_DELAY: Duration = Duration::from_secs(1);

    /// The strategy of the region `name`. The moments that are known to this process alone
    /// are `local` ones.
    #[cfg_attr(
        not(feature = "serialized"),
        expect(unused_variables, reason = "objects are one process's own")
    )]
    pub(crate) fn of(
        self,
        backend: &AnyBackend,
        name: &str,
        local: &Arc<InProcess>,
    ) -> Arc<dyn Invalidation> {
        #[cfg(feature = "serialized")]
        let shared = |delay| Arc::new(SharedInvalidation::new(backend.clone(), name, delay));
        match self {
            Self::Own(strategy) => strategy,
            #[cfg(feature = "serialized")]
            Self::Shared(delay) => shared(delay),
            #[cfg(feature = "serialized")]
            Self::Usual if backend.is_shared() => shared(Self::USUAL_DELAY),
            Self::Usual | Self::Local => local.clone(),
        }
    }
}
