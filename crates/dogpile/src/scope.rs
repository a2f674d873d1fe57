//! Keeps the crates beside this one in the scope of a test; without the feature `testing`
//! there is none.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes `work` along into the scope that it comes from, which waits for it to be settled.
pub fn carried(work: Work) -> Work {
    #[cfg(feature = "testing")]
    if let Some(scope) = crate::testing::Scope::current() {
        return Box::pin(scope.carry(work));
    }
    work
}

/// The same for work that blocks.
pub fn carried_blocking(work: Box<dyn FnOnce() + Send>) -> Box<dyn FnOnce() + Send> {
    #[cfg(feature = "testing")]
    if let Some(scope) = crate::testing::Scope::current() {
        let ongoing = scope.begin();
        return Box::new(move || {
            let _entered = scope.enter();
            work();
            drop(ongoing);
        });
    }
    work
}

/// Returns what `T` is in the caller's scope.
pub fn local<T: Default + Send + Sync + 'static>() -> Option<Arc<T>> {
    #[cfg(feature = "testing")]
    return crate::testing::Scope::current().map(|scope| scope.other());
    #[cfg(not(feature = "testing"))]
    None
}
