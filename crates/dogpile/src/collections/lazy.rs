//! A collection that is opened by its first user.

use std::fmt;
use std::sync::OnceLock;

use super::builder::CollectionBuilder;
use super::table::Table;
use super::{Cached, refuse_blocking};
use crate::backend::BackendError;
use crate::bridge::block_on;
use crate::error::{CollectionOperation, Error};
use crate::remote::io;

/// Why there is no builder: any error.
type Reason = Box<dyn std::error::Error + Send + Sync>;

/// A collection for a `static`: the first who asks for it opens it and waits for
/// that, those who ask meanwhile wait as well, later ones find it.
///
/// ```no_run
/// use std::collections::HashMap;
/// use dogpile::backend::File;
/// use dogpile::collections::{CachedMapping, LazyCached};
///
/// static COUNTRIES: LazyCached<HashMap<String, u32>> = LazyCached::new(|| {
///     let backend = File::open("collections.db")?;
///     Ok(CachedMapping::builder_blocking("countries", backend, load))
/// });
///
/// fn load() -> Result<HashMap<String, u32>, std::io::Error> {
///     Ok(HashMap::from([("Iceland".to_owned(), 354)]))
/// }
///
/// # async fn example() -> Result<(), dogpile::Error> {
/// let code = COUNTRIES.get().await?.get("Iceland");
/// # Ok(())
/// # }
/// ```
pub struct LazyCached<D> {
    builder: fn() -> Result<CollectionBuilder<D>, Reason>,
    opened: OnceLock<Cached<D>>,
    opening: tokio::sync::Mutex<()>,
}

impl<D: Table> LazyCached<D> {
    /// A collection that `builder` is asked for when it is first used.
    pub const fn new(builder: fn() -> Result<CollectionBuilder<D>, Reason>) -> Self {
        Self { builder, opened: OnceLock::new(), opening: tokio::sync::Mutex::const_new(()) }
    }

    /// The collection, opened if need be.
    ///
    /// # Errors
    ///
    /// If it cannot be opened; see [`CollectionBuilder::open`]. The next call
    /// tries again.
    pub async fn get(&self) -> Result<&Cached<D>, Error> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let _turn = self.opening.lock().await;
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let opened = self.builder()?.open().await?;
        Ok(self.opened.get_or_init(|| opened))
    }

    /// The same for code that is not async.
    ///
    /// # Errors
    ///
    /// Also inside a current-thread runtime, which could not go on meanwhile.
    pub fn get_blocking(&self) -> Result<&Cached<D>, Error> {
        block_on(io::inside(self.get())).unwrap_or_else(|_| Err(refuse_blocking("lazy")))
    }

    fn builder(&self) -> Result<CollectionBuilder<D>, Error> {
        (self.builder)().map_err(|source| {
            let collection = std::any::type_name::<D>().to_owned();
            let source = BackendError::other(source);
            Error::Collection(CollectionOperation { collection, operation: "open", source }.into())
        })
    }
}

impl<D: Table> fmt::Debug for LazyCached<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyCached").field("opened", &self.opened.get()).finish_non_exhaustive()
    }
}
