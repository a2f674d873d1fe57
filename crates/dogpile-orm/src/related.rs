//! Rows that belong to others: loaded through the cache, per parent, with one query
//! for all that are missing.

use std::collections::HashMap;
use std::fmt;
use std::future::{Future, ready};

use dogpile::error::Counts;
use dogpile::region::{Always, ShouldCache};
use dogpile::{CreateError, Region};

use crate::bridge::blocking;
use crate::error::Error;
use crate::from_cache::FromCache;
use crate::options::{Options, Way, not_cached};
use crate::regions::InRegion;
use crate::row::Row;
use crate::session::{Form, Owned};
use crate::stored_result::{Shaped, lost_field};
use crate::tables::Versions;

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
/// that name, one parent or many at a time. It has the options of a cached query:
/// expiration, `of_table`, `in_session` (what the session has already, runs no query and
/// asks no cache), `in_transaction`, `cache_only`, `refresh` and so on. Rows of another shape, as before a
/// column was added, count as missing.
///
/// Several relationships of the same parents are combined by `try_join!`: each is one
/// query at most, and all of them run at once:
///
/// ```
/// # use dogpile::{Config, Region, backend::Memory};
/// # use dogpile_orm::Related;
/// # static RELATED: Region = Region::new("related");
/// # async fn of(ids: Vec<u32>) -> Result<Vec<Vec<u32>>, std::io::Error> { Ok(ids.into_iter().map(|id| vec![id]).collect()) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # RELATED.configure(Config::new(Memory::new(10_000)))?;
/// # let (addresses, orders) = (of, of);
/// let people = [1, 2, 3];
/// let (addresses, orders) = tokio::try_join!(
///     Related::new(&RELATED, "person.addresses").load(people, addresses),
///     Related::new(&RELATED, "person.orders").load(people, orders),
/// )?;
/// # assert_eq!((addresses.len(), orders.len()), (3, 3));
/// # Ok(())
/// # }
/// ```
pub type Related<'r, C = Always, S = Owned> = FromCache<'r, Relationship<'r>, C, S>;

/// The name of a relationship; see [`Related`].
#[derive(Debug, Clone, Copy)]
pub struct Relationship<'r>(&'r str);

impl<'r> Related<'r> {
    /// The relationship `name` (`person.addresses`), kept in `region`: a reference, or
    /// the name of a [registered](crate::register) one.
    pub fn new(region: impl Into<InRegion<'r>>, name: &'r str) -> Self {
        Self::of(Relationship(name), region.into())
    }
}

impl<C, S: Form> Related<'_, C, S> {
    /// Returns the rows of each of `parents`, in their order. `query` is called with those
    /// that are not cached, if there are any, each once, and returns one value for each,
    /// in their order.
    ///
    /// A parent is named by what `Display` shows of it: its primary key.
    ///
    /// Nobody can see on what `query` runs. If that is or may be a transaction, add
    /// [`in_transaction`](FromCache::in_transaction), or what it reads is stored for everybody.
    /// SeaORM's `load_one` and `load_many`, Diesel's `load_blocking_with` and diesel-async's
    /// `load_with` see it for themselves. Within a transaction `query` is called once, with all
    /// parents.
    ///
    /// # Errors
    ///
    /// Those of `query`, and [`Error::Cache`] if it returns another number of values; a
    /// miss, if only the cache is asked. When the cache is away, it is called with all.
    pub async fn load<P, T, E, F>(
        self,
        parents: impl IntoIterator<Item = P>,
        mut query: impl FnMut(Vec<P>) -> F + Send,
    ) -> Result<Vec<S::Of<T>>, Error<E>>
    where
        P: fmt::Display + Clone + Send + Sync,
        T: Row,
        C: ShouldCache<T>,
        E: Send,
        F: Future<Output = Result<Vec<T>, E>> + Send,
    {
        let Self { query: relationship, options } = self;
        let region = options.find()?;
        let way = options.way(&region)?;
        let mut parents = Parents::new(relationship, &options, &region, way, parents);
        if parents.is_complete() {
            return Ok(parents.found());
        }
        if way == Way::Past {
            let rows = query(parents.open_ones()).await;
            return parents.answered_by(rows, &region, S::of);
        }
        let versions = Versions::of(&region, &options.tables).await;
        let keys = parents.stored_under(&versions);
        let may =
            |kept: &Shaped<T>| versions.are_known() && options.should_cache.should_cache(&kept.0);
        let entries = region.entries(&keys).options(&options.entry);
        let find = |missing: Vec<String>| {
            let (count, found) = (missing.len(), query(parents.at(&keys, &missing)));
            let region = &region;
            async move { shaped(found.await, region, count) }
        };
        let values = match way {
            Way::CacheOnly => {
                let found = entries.ignore_expiration().get().await;
                all_known(found, &region, &parents.open)?
            }
            Way::Refresh => entries.should_cache(may).try_refresh(find).await.map_err(failed)?,
            _ => entries.should_cache(may).try_get_or_create(find).await.map_err(failed)?,
        };
        parents.keep(&options, &region, values);
        Ok(parents.found())
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
    ) -> Result<Vec<S::Of<T>>, Error<E>>
    where
        P: fmt::Display + Clone + Send + Sync,
        T: Row,
        C: ShouldCache<T>,
        E: Send,
    {
        let region = self.options.find()?;
        blocking(&region, self.load(parents, |missing| ready(query(missing))))
    }

    /// Forgets what is cached for these parents.
    ///
    /// # Errors
    ///
    /// If the cache fails.
    pub async fn invalidate<P: fmt::Display>(
        self,
        parents: impl IntoIterator<Item = P>,
    ) -> Result<(), Error<std::convert::Infallible>> {
        let keys = self.keys(parents);
        self.options.forget(&keys).await
    }

    /// The same for code that blocks.
    ///
    /// # Errors
    ///
    /// If the cache fails.
    pub fn invalidate_blocking<P: fmt::Display>(
        self,
        parents: impl IntoIterator<Item = P>,
    ) -> Result<(), Error<std::convert::Infallible>> {
        let region = self.options.find()?;
        blocking(&region, self.invalidate(parents))
    }

    fn keys<P: fmt::Display>(&self, parents: impl IntoIterator<Item = P>) -> Vec<String> {
        let part = self.options.key_part();
        parents.into_iter().map(|parent| self.query.key(part, &parent)).collect()
    }
}

impl Relationship<'_> {
    /// Whatever name, part and parent hold, no two of them meet.
    fn key(&self, part: Option<&str>, parent: &impl fmt::Display) -> String {
        let escaped = |text: &str| text.replace('%', "%25").replace(':', "%3A").replace('@', "%40");
        let name = escaped(self.0);
        match part {
            Some(part) => format!("related:{name}@{}:{parent}", escaped(part)),
            None => format!("related:{name}:{parent}"),
        }
    }
}

/// Parents on their way to what belongs to them.
struct Parents<P, V> {
    /// The key of each that was asked for.
    asked: Vec<String>,
    found: HashMap<String, V>,
    /// Those that are to be found yet, each once.
    open: Vec<(String, P)>,
}

impl<P: fmt::Display + Clone, V: Clone + Send + Sync + 'static> Parents<P, V> {
    fn new<C, S: Form>(
        relationship: Relationship<'_>,
        options: &Options<'_, C, S>,
        region: &Region,
        way: Way,
        parents: impl IntoIterator<Item = P>,
    ) -> Self {
        let mut all = Self { asked: Vec::new(), found: HashMap::new(), open: Vec::new() };
        let mut known = std::collections::HashSet::new();
        for parent in parents {
            let key = relationship.key(options.key_part(), &parent);
            if known.insert(key.clone()) {
                match options.in_session(region, way, &key) {
                    Some(found) => drop(all.found.insert(key.clone(), found)),
                    None => all.open.push((key.clone(), parent)),
                }
            }
            all.asked.push(key);
        }
        all
    }

    fn is_complete(&self) -> bool {
        self.open.is_empty()
    }

    fn stored_under(&self, versions: &Versions) -> Vec<String> {
        self.open.iter().map(|(key, _)| versions.behind(key)).collect()
    }

    fn open_ones(&self) -> Vec<P> {
        self.open.iter().map(|(_, parent)| parent.clone()).collect()
    }

    /// The values of a query that went past region and session.
    fn answered_by<T, E>(
        mut self,
        rows: Result<Vec<T>, E>,
        region: &Region,
        form: impl Fn(T) -> V,
    ) -> Result<Vec<V>, Error<E>> {
        let rows = counted(rows, region, self.open.len())?;
        let keys = std::mem::take(&mut self.open).into_iter().map(|(key, _)| key);
        self.found.extend(keys.zip(rows.into_iter().map(form)));
        Ok(self.found())
    }

    /// Those that are `missing` among the `keys` under which they are stored.
    fn at(&self, keys: &[String], missing: &[String]) -> Vec<P> {
        let places: HashMap<&String, &P> =
            keys.iter().zip(self.open.iter().map(|(_, parent)| parent)).collect();
        missing.iter().filter_map(|key| places.get(key).map(|&parent| parent.clone())).collect()
    }

    /// Each of those that were open has a value now.
    fn keep<T, C, S>(
        &mut self,
        options: &Options<'_, C, S>,
        region: &Region,
        values: Vec<Shaped<T>>,
    ) where
        T: Row,
        S: Form<Of<T> = V>,
    {
        for ((key, _), Shaped(value)) in std::mem::take(&mut self.open).into_iter().zip(values) {
            let value = options.keep(region, &key, S::of(value));
            self.found.insert(key, value);
        }
    }

    fn found(self) -> Vec<V> {
        self.asked.iter().filter_map(|key| self.found.get(key).cloned()).collect()
    }
}

/// The values of a query for `asked` parents.
fn counted<T, E>(
    found: Result<Vec<T>, E>,
    region: &Region,
    asked: usize,
) -> Result<Vec<T>, Error<E>> {
    let found = found.map_err(Error::Database)?;
    if found.len() != asked {
        let (region, returned) = (region.name().to_owned(), found.len());
        let counts = Counts { region, asked, returned };
        return Err(Error::Cache(dogpile::Error::WrongCount(counts.into())));
    }
    Ok(found)
}

/// The same in the form in which they are stored.
fn shaped<T: Row, E>(
    found: Result<Vec<T>, E>,
    region: &Region,
    asked: usize,
) -> Result<Vec<Shaped<T>>, Error<E>> {
    let made = counted(found, region, asked)?;
    match made.iter().find_map(lost_field) {
        None => Ok(made.into_iter().map(Shaped).collect()),
        Some(field) => Err(Error::LostField { row: std::any::type_name::<T>(), field }),
    }
}

fn all_known<P, T, E>(
    found: dogpile::Result<Vec<Option<Shaped<T>>>>,
    region: &Region,
    open: &[(String, P)],
) -> Result<Vec<Shaped<T>>, Error<E>> {
    let found = found.map_err(Error::Cache)?;
    let known = found.into_iter().zip(open);
    known.map(|(value, (key, _))| value.ok_or_else(|| not_cached(region, key))).collect()
}

fn failed<E>(failure: CreateError<Error<E>>) -> Error<E> {
    match failure {
        CreateError::Creator(error) => error,
        CreateError::Cache(fault) => Error::Cache(fault),
    }
}
