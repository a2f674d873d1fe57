//! Options of calls, apart from any call.

use std::time::Duration;

use super::early::Early;
use super::options::{Expiration, Lifetime, Options, call_options};
use crate::lock::OnWaitTimeout;

/// Options for calls, to be chosen once and used by many: with
/// [`Entry::options`](crate::Entry::options), [`Entries::options`](crate::Entries::options) and their
/// blocking forms.
///
/// ```
/// use std::time::Duration;
/// use dogpile::{Config, EntryOptions, Region, backend::Memory};
///
/// # pollster::block_on(async {
/// let region = Region::new("prices");
/// region.configure(Config::new(Memory::new(100)))?;
///
/// let short = EntryOptions::new().expiration(Duration::from_secs(5)).resilient();
/// let price = region.entry("gold").options(&short).get_or_create(async || 4_062).await;
/// assert_eq!(price, 4_062);
/// # Ok::<(), dogpile::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "options do nothing until a call is given them"]
pub struct EntryOptions {
    options: Options,
}

impl EntryOptions {
    /// Returns options of which none is set.
    pub fn new() -> Self {
        Self::default()
    }

    call_options!(options);

    /// Sets the lifetime of each value of the type `T` by its content. See
    /// [`Config::lifetime`](crate::Config::lifetime).
    #[doc(alias("expire_after", "Expiry"))]
    pub fn lifetime<T: 'static>(
        mut self,
        lifetime: impl Fn(&T) -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        self.options.lifetime = Some(Lifetime::of(lifetime));
        self
    }

    pub(super) fn of_call(&self) -> Options {
        self.options.clone()
    }
}
