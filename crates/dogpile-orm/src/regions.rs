//! Regions by name, as queries name them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};

use dogpile::Region;
use dogpile::config::Settings;

use crate::error::Error;

static REGIONS: Names = Names(RwLock::new(BTreeMap::new()));

/// Regions under the names that they were registered with.
#[derive(Default)]
struct Names(RwLock<BTreeMap<String, AnyRegion>>);

impl Names {
    fn add(&self, region: AnyRegion) {
        let mut regions = self.0.write().unwrap_or_else(PoisonError::into_inner);
        regions.insert(region.name().to_owned(), region);
    }

    fn find(&self, name: &str) -> Option<AnyRegion> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn all(&self) -> Vec<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

/// The names that a test has given in its scope.
fn in_scope() -> Option<Arc<Names>> {
    dogpile::__scope::local()
}

/// A region, whoever owns it: a static, or those who share it. It dereferences to the
/// region.
#[derive(Debug, Clone)]
pub struct AnyRegion(Owner);

#[derive(Debug, Clone)]
enum Owner {
    Static(&'static Region),
    Shared(Arc<Region>),
}

impl Deref for AnyRegion {
    type Target = Region;

    fn deref(&self) -> &Region {
        match &self.0 {
            Owner::Static(region) => region,
            Owner::Shared(region) => region,
        }
    }
}

impl From<&'static Region> for AnyRegion {
    fn from(region: &'static Region) -> Self {
        Self(Owner::Static(region))
    }
}

impl From<Arc<Region>> for AnyRegion {
    fn from(region: Arc<Region>) -> Self {
        Self(Owner::Shared(region))
    }
}

impl From<Region> for AnyRegion {
    fn from(region: Region) -> Self {
        Arc::new(region).into()
    }
}

/// The region that a query is to be answered from: a reference to one, or the name of
/// one that was [registered](register).
#[derive(Debug, Clone, Copy)]
pub struct InRegion<'r>(Named<'r>);

#[derive(Debug, Clone, Copy)]
enum Named<'r> {
    Directly(&'r Region),
    ByName(&'r str),
}

impl<'r> From<&'r Region> for InRegion<'r> {
    fn from(region: &'r Region) -> Self {
        Self(Named::Directly(region))
    }
}

impl<'r> From<&'r Arc<Region>> for InRegion<'r> {
    fn from(region: &'r Arc<Region>) -> Self {
        Self(Named::Directly(region))
    }
}

impl<'r> From<&'r str> for InRegion<'r> {
    fn from(name: &'r str) -> Self {
        Self(Named::ByName(name))
    }
}

/// A region that was found.
pub(crate) enum Found<'r> {
    Borrowed(&'r Region),
    Registered(AnyRegion),
}

impl Deref for Found<'_> {
    type Target = Region;

    fn deref(&self) -> &Region {
        match self {
            Self::Borrowed(region) => region,
            Self::Registered(region) => region,
        }
    }
}

impl<'r> InRegion<'r> {
    pub(crate) fn find<E>(&self) -> Result<Found<'r>, Error<E>> {
        match self.0 {
            Named::Directly(region) => Ok(Found::Borrowed(region)),
            Named::ByName(name) => match region(name) {
                Some(region) => Ok(Found::Registered(region)),
                None => Err(Error::UnknownRegion { name: name.to_owned(), known: known() }),
            },
        }
    }
}

/// Lets queries use `region` by its name; what had that name before is replaced. In a test's
/// scope (`dogpile::testing::Scope`) the name is the scope's alone. It takes a region, an `Arc` of one, or a reference to a static one:
///
/// ```
/// use dogpile::Region;
///
/// static USERS: Region = Region::new("users");
///
/// dogpile_orm::register(&USERS);
/// assert_eq!(dogpile_orm::region("users").map(|users| users.name().to_owned()), Some("users".into()));
/// ```
pub fn register(region: impl Into<AnyRegion>) {
    match in_scope() {
        Some(names) => names.add(region.into()),
        None => REGIONS.add(region.into()),
    }
}

/// The region that is registered under `name`.
pub fn region(name: &str) -> Option<AnyRegion> {
    in_scope().and_then(|names| names.find(name)).or_else(|| REGIONS.find(name))
}

fn known() -> Vec<String> {
    let mut known = REGIONS.all();
    known.extend(in_scope().map(|names| names.all()).unwrap_or_default());
    known.sort();
    known.dedup();
    known
}

/// Makes and registers a region for each first part of the settings' names, and
/// says which: `default.backend`, `default.expiration_time` and so on make the
/// region `default`.
///
/// ```
/// use dogpile::config::Settings;
///
/// let settings = Settings::from_iter([
///     ("default.backend", "memory"),
///     ("default.expiration_time", "5m"),
///     ("long_lived.backend", "memory"),
/// ]);
/// assert_eq!(dogpile_orm::configure(&settings)?, ["default", "long_lived"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// If a region's settings are not understood; then none is registered. Give it the part of
/// the settings that is about regions ([`Settings::with_prefix`]).
pub fn configure(settings: &Settings) -> Result<Vec<String>, Error<Infallible>> {
    let mut made: BTreeMap<String, Region> = BTreeMap::new();
    for (setting, _) in settings.iter() {
        let Some((name, _)) = setting.split_once('.') else { continue };
        if !made.contains_key(name) {
            let region = Region::named(name);
            let config = settings.with_prefix(&format!("{name}.")).config();
            let config =
                config.map_err(|source| Error::Settings { region: name.to_owned(), source })?;
            // A new region takes any configuration for its kind.
            if region.configure(config).is_ok() {
                made.insert(name.to_owned(), region);
            }
        }
    }
    let names = made.keys().cloned().collect();
    made.into_values().for_each(register);
    Ok(names)
}
