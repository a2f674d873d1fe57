//! Rows that belong to others: loaded through the cache, per parent, with one query
//! for all that are missing.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;

use dogpile::{Cacheable, Expiration, Failure, Serde};

use crate::error::Error;
use crate::regions::InRegion;

/// A relationship that is loaded through a region: has-one (rows of the type
/// `Option<T>`), has-many and many-to-many (`Vec<T>`).
///
/// ```
/// use dogpile::{Config, Region, backend::Memory};
/// use dogpile_orm::Related;
///
/// static RELATED: Region = Region::new("related");
///
/// struct Person { id: u32 }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// RELATED.configure(Config::new(Memory::new(10_000)))?;
/// let people = [Person { id: 1 }, Person { id: 2 }];
///
/// let load = async |ids: Vec<u32>| {
///     // SELECT .. WHERE person_id = ANY($1): one query, whatever is missing.
///     Ok::<_, std::io::Error>(ids.iter().map(|id| vec![format!("{id} Main Street")]).collect())
/// };
/// let addresses = Related::new(&RELATED, "person.addresses")
///     .load(people.iter().map(|person| person.id), load)
///     .await?;
/// assert_eq!(addresses, [["1 Main Street"], ["2 Main Street"]]);
/// # Ok(())
/// # }
/// ```
///
/// Each parent has an entry of its own, shared by all who load the relationship of
/// that name, one parent or many at a time. Several relationships of the same parents
/// are several loads, each with one query at most.
#[must_use = "a relationship does nothing until it is loaded"]
pub struct Related<'r> {
    region: InRegion<'r>,
    name: &'r str,
    expiration: Option<Expiration>,
}

impl<'r> Related<'r> {
    /// The relationship `name` (`person.addresses`; without a colon, which ends it in
    /// the keys), kept in `region`: a reference, or
    /// the name of a [registered](crate::register) one.
    pub fn new(region: impl Into<InRegion<'r>>, name: &'r str) -> Self {
        Self { region: region.into(), name, expiration: None }
    }

    /// How long what is loaded now lives, instead of what the region says.
    pub fn expiration(mut self, expiration: impl Into<Expiration>) -> Self {
        self.expiration = Some(expiration.into());
        self
    }

    /// What belongs to each of `parents`, in their order. `query` is called with those
    /// that are not cached, if there are any, and returns one value for each, in
    /// their order.
    ///
    /// A parent is named by what `Display` shows of it: its primary key.
    ///
    /// # Errors
    ///
    /// Those of `query`, and [`Error::Cache`] if it returns another number of values.
    /// When the cache is away, it is called with all.
    pub async fn load<P, T, E, F>(
        self,
        parents: impl IntoIterator<Item = P>,
        mut query: impl FnMut(Vec<P>) -> F + Send,
    ) -> Result<Vec<T>, Error<E>>
    where
        P: fmt::Display + Clone + Send + Sync,
        T: Cacheable<Serde>,
        E: Send,
        F: Future<Output = Result<Vec<T>, E>> + Send,
    {
        let parents = Parents::new(self.name, parents);
        let region = self.region.find()?;
        let mut entries = region.entries(&parents.keys);
        if let Some(expiration) = self.expiration {
            entries = entries.expiration(expiration);
        }
        let find = |missing: Vec<String>| query(parents.of(&missing));
        entries.try_get_or_create(find).await.map_err(failed)
    }

    /// The same for code that blocks.
    ///
    /// # Errors
    ///
    /// As of [`load`](Self::load).
    pub fn load_blocking<P, T, E>(
        self,
        parents: impl IntoIterator<Item = P>,
        mut query: impl FnMut(Vec<P>) -> Result<Vec<T>, E> + Send,
    ) -> Result<Vec<T>, Error<E>>
    where
        P: fmt::Display + Clone + Send + Sync,
        T: Cacheable<Serde>,
        E: Send,
    {
        let parents = Parents::new(self.name, parents);
        let region = self.region.find()?;
        let mut entries = region.blocking().entries(&parents.keys);
        if let Some(expiration) = self.expiration {
            entries = entries.expiration(expiration);
        }
        let find = |missing: Vec<String>| query(parents.of(&missing));
        entries.try_get_or_create(find).map_err(failed)
    }

    /// Forgets what is cached for these parents.
    ///
    /// # Errors
    ///
    /// If the cache fails.
    pub async fn invalidate<P: fmt::Display>(
        self,
        parents: impl IntoIterator<Item = P>,
    ) -> Result<(), Error<Infallible>> {
        let keys = Parents::new(self.name, parents).keys;
        self.region.find()?.delete_multi(&keys).await.map_err(Error::Cache)
    }
}

/// Parents and the keys of what belongs to them.
struct Parents<P> {
    parents: Vec<P>,
    keys: Vec<String>,
}

impl<P: fmt::Display> Parents<P> {
    fn new(name: &str, parents: impl IntoIterator<Item = P>) -> Self {
        let parents: Vec<P> = parents.into_iter().collect();
        let keys = parents.iter().map(|parent| format!("related:{name}:{parent}")).collect();
        Self { parents, keys }
    }

    /// The parents that have these keys.
    fn of(&self, keys: &[String]) -> Vec<P>
    where
        P: Clone,
    {
        let known: HashMap<&String, &P> = self.keys.iter().zip(&self.parents).collect();
        keys.iter().filter_map(|key| known.get(key).map(|&parent| parent.clone())).collect()
    }
}

fn failed<E>(failure: Failure<E>) -> Error<E> {
    match failure {
        Failure::Creator(error) => Error::Database(error),
        Failure::Cache(fault) => Error::Cache(fault),
    }
}

impl fmt::Debug for Related<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Related")
            .field("region", &self.region)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
