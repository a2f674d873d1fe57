//! Regions by name, as queries name them.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};

use dogpile::Region;
use dogpile::config::{ConfigError, Settings};

use crate::error::Error;

static REGIONS: RwLock<BTreeMap<String, Arc<Region>>> = RwLock::new(BTreeMap::new());

/// The region that a query is to be answered from: a reference to one, or the name of
/// one that was [registered](register).
#[derive(Debug)]
pub struct InRegion<'r>(Named<'r>);

#[derive(Debug)]
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
    Registered(Arc<Region>),
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

/// Lets queries use `region` by its name; what had that name before is replaced.
pub fn register(region: impl Into<Arc<Region>>) {
    let region = region.into();
    let mut regions = REGIONS.write().unwrap_or_else(PoisonError::into_inner);
    regions.insert(region.name().to_owned(), region);
}

/// The region that is registered under `name`.
pub fn region(name: &str) -> Option<Arc<Region>> {
    REGIONS.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
}

fn known() -> Vec<String> {
    REGIONS.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
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
/// # Ok::<(), dogpile::config::ConfigError>(())
/// ```
///
/// # Errors
///
/// If a region's settings are not understood; then none is registered.
pub fn configure(settings: &Settings) -> Result<Vec<String>, ConfigError> {
    let mut made: BTreeMap<String, Region> = BTreeMap::new();
    for (setting, _) in settings.iter() {
        let Some((name, _)) = setting.split_once('.') else { continue };
        if !made.contains_key(name) {
            let region = Region::named(name);
            let config = settings.with_prefix(&format!("{name}.")).config()?;
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
