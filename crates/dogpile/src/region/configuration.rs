//! The configuration that a region has now.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use super::core::Core;

/// None, the first one, or one that has replaced it.
///
/// Nearly every region is configured once, and a hit reaches that configuration by a plain load.
/// The price: it stays in memory as long as the region does, with its backend, also when
/// it is replaced, since a call may be reading it. Those that come after it do not.
pub(super) struct Configuration {
    first: OnceLock<Arc<Core>>,
    is_replaced: AtomicBool,
    latest: RwLock<Option<Arc<Core>>>,
}

/// A configuration that is being read.
pub(super) enum InForce<'c> {
    First(&'c Arc<Core>),
    Later(Arc<Core>),
}

impl Configuration {
    pub(super) const fn none() -> Self {
        Self {
            first: OnceLock::new(),
            is_replaced: AtomicBool::new(false),
            latest: RwLock::new(None),
        }
    }

    /// Returns the first one, as long as it is in force.
    #[inline]
    pub(super) fn first(&self) -> Option<&Arc<Core>> {
        if self.is_replaced.load(Ordering::Acquire) { None } else { self.first.get() }
    }

    #[inline]
    pub(super) fn load(&self) -> Option<InForce<'_>> {
        if self.is_replaced.load(Ordering::Acquire) {
            return self.load_latest();
        }
        self.first.get().map(InForce::First)
    }

    #[cold]
    fn load_latest(&self) -> Option<InForce<'_>> {
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        latest.clone().map(InForce::Later)
    }

    /// Puts `core` in force. Of two that are stored at the same time, either may stay.
    pub(super) fn store(&self, core: Arc<Core>) {
        let Err(core) = self.first.set(core) else { return };
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        let replaced = latest.replace(core);
        drop(latest);
        self.is_replaced.store(true, Ordering::Release);
        drop(replaced);
    }
}

impl InForce<'_> {
    pub(super) fn into_owned(self) -> Arc<Core> {
        match self {
            Self::First(core) => core.clone(),
            Self::Later(core) => core,
        }
    }
}

impl Deref for InForce<'_> {
    type Target = Core;

    #[inline]
    fn deref(&self) -> &Core {
        match self {
            Self::First(core) => core,
            Self::Later(core) => core,
        }
    }
}
