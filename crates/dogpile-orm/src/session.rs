//! A cache that lives and dies with a session: a request, a job.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The results of one session: the second load of a query within it is the same
/// object, whatever happened to the cache and the database meanwhile.
///
/// A query joins it by [`in_session`](crate::FromCache::in_session), and then comes as
/// an `Arc`. Clones share the session; it ends with the last of them, or is emptied
/// by [`clear`](Self::clear).
///
/// ```
/// # use dogpile::{Config, Region, backend::Memory};
/// use std::sync::Arc;
/// use dogpile_orm::Session;
/// # #[cfg(feature = "sqlx")]
/// use dogpile_orm::sqlx::FromCacheExt;
///
/// # static USERS: Region = Region::new("users");
/// # #[cfg(feature = "sqlx")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # USERS.configure(Config::new(Memory::new(1_000)))?;
/// # let pool = sqlx::SqlitePool::connect("sqlite::memory:").await?;
/// let session = Session::new();
/// let names = || sqlx::query_scalar::<_, String>("SELECT 'Ada'").from_cache(&USERS);
/// let one = names().in_session(&session).fetch_all(&pool).await?;
/// let other = names().in_session(&session).fetch_all(&pool).await?;
/// assert!(Arc::ptr_eq(&one, &other));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "sqlx"))] fn main() {}
/// ```
///
/// A session may outlive a transaction, and a rollback. So what is read within one is neither
/// taken from a session nor kept in it.
///
/// With the feature `axum` it is an extractor: each request has one.
#[derive(Clone, Default)]
pub struct Session(Arc<Mutex<Loaded>>);

/// By region and key.
type Loaded = HashMap<(String, String), Box<dyn Any + Send + Sync>>;

impl Session {
    /// A session that has loaded nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets what was loaded. Who has some of it keeps it.
    pub fn clear(&self) {
        self.loaded().clear();
    }

    /// Returns the number of results.
    pub fn len(&self) -> usize {
        self.loaded().len()
    }

    /// Has it none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// In which form a query's result comes: as a value of the caller's own, or as an
/// `Arc` that is shared within a session.
pub trait Form: Send + Sync {
    /// The form of a value.
    type Of<T: Clone + Send + Sync + 'static>: Clone + Send + Sync + 'static;

    #[doc(hidden)]
    fn of<T: Clone + Send + Sync + 'static>(value: T) -> Self::Of<T>;

    #[doc(hidden)]
    fn find<V: Clone + 'static>(&self, region: &str, key: &str) -> Option<V>;

    /// Keeps `value`, or finds that another was faster.
    #[doc(hidden)]
    fn keep<V: Clone + Send + Sync + 'static>(
        &self,
        region: &str,
        key: &str,
        value: V,
        replaces: bool,
    ) -> V;

    #[doc(hidden)]
    fn forget(&self, region: &str, keys: &[String]);
}

/// A value of the caller's own.
#[derive(Debug, Clone, Copy)]
pub struct Owned;

/// An `Arc`, shared within a session.
#[derive(Debug, Clone, Copy)]
pub struct InSession<'s>(pub(crate) &'s Session);

impl Form for Owned {
    type Of<T: Clone + Send + Sync + 'static> = T;

    fn of<T: Clone + Send + Sync + 'static>(value: T) -> T {
        value
    }

    fn find<V: Clone + 'static>(&self, _region: &str, _key: &str) -> Option<V> {
        None
    }

    fn keep<V: Clone + Send + Sync + 'static>(
        &self,
        _region: &str,
        _key: &str,
        value: V,
        _replaces: bool,
    ) -> V {
        value
    }

    fn forget(&self, _region: &str, _keys: &[String]) {}
}

impl Form for InSession<'_> {
    type Of<T: Clone + Send + Sync + 'static> = Arc<T>;

    fn of<T: Clone + Send + Sync + 'static>(value: T) -> Arc<T> {
        Arc::new(value)
    }

    fn find<V: Clone + 'static>(&self, region: &str, key: &str) -> Option<V> {
        let loaded = self.0.loaded();
        loaded.get(&(region.to_owned(), key.to_owned()))?.downcast_ref::<V>().cloned()
    }

    fn keep<V: Clone + Send + Sync + 'static>(
        &self,
        region: &str,
        key: &str,
        value: V,
        replaces: bool,
    ) -> V {
        let mut loaded = self.0.loaded();
        let place = (region.to_owned(), key.to_owned());
        match loaded.get(&place).and_then(|kept| kept.downcast_ref::<V>()) {
            Some(kept) if !replaces => kept.clone(),
            _ => {
                loaded.insert(place, Box::new(value.clone()));
                value
            }
        }
    }

    fn forget(&self, region: &str, keys: &[String]) {
        let mut loaded = self.0.loaded();
        for key in keys {
            loaded.remove(&(region.to_owned(), key.clone()));
        }
    }
}

/// Each request has a session of its own, which ends with it.
#[cfg(feature = "axum")]
impl<S: Send + Sync> axum_core::extract::FromRequestParts<S> for Session {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        _state: &S,
    ) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get_or_insert_default::<Self>().clone())
    }
}
