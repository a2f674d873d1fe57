//! New regions of each kind of values.

use std::borrow::Cow;
use std::marker::PhantomData;

#[cfg(feature = "serialized")]
use super::Encoded;
use super::state::State;
use super::{InMemory, Region, Serialized};

impl Region<Serialized> {
    /// A region called `name`, not configured yet.
    #[doc(alias = "make_region")]
    pub const fn new(name: &'static str) -> Self {
        Self::unconfigured(Cow::Borrowed(name))
    }

    /// Returns a region whose name is not known at compile time.
    pub fn named(name: impl Into<String>) -> Self {
        Self::unconfigured(Cow::Owned(name.into()))
    }
}

impl Region<InMemory> {
    /// A region of types that need no serde, not configured yet.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use dogpile::{Config, InMemory, Region, backend::Memory};
    ///
    /// struct Connection; // neither Clone nor Serialize
    ///
    /// static CONNECTIONS: Region<InMemory> = Region::in_memory("connections");
    ///
    /// # pollster::block_on(async {
    /// CONNECTIONS.configure(Config::new(Memory::new(10)))?;
    /// let one = CONNECTIONS.get_or_create("db", async || Arc::new(Connection)).await;
    /// let two = CONNECTIONS.get_or_create("db", async || Arc::new(Connection)).await;
    /// assert!(Arc::ptr_eq(&one, &two));
    /// # Ok::<(), dogpile::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// The compiler keeps it from backends that keep bytes:
    ///
    /// ```compile_fail
    /// use dogpile::{Config, InMemory, Region, backend::SerializedMemory};
    /// let region: Region<InMemory> = Region::in_memory("connections");
    /// region.configure(Config::new(SerializedMemory::new(10))).unwrap();
    /// ```
    pub const fn in_memory(name: &'static str) -> Self {
        Self::unconfigured(Cow::Borrowed(name))
    }

    /// Returns a region as [`in_memory`](Self::in_memory) does, whose name is not known at compile time.
    pub fn in_memory_named(name: impl Into<String>) -> Self {
        Self::unconfigured(Cow::Owned(name.into()))
    }
}

#[cfg(feature = "serialized")]
impl Region<Encoded> {
    /// A region of values that are bytes already, not configured yet. No codec touches them: what
    /// is stored is what their conversion into [`Bytes`](bytes::Bytes) returns.
    ///
    /// Rendered pages are such values, and those of callers with a serialization of their own.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use dogpile::{Config, Encoded, Region, backend::SerializedMemory};
    ///
    /// static PAGES: Region<Encoded> = Region::encoded("pages");
    ///
    /// # pollster::block_on(async {
    /// PAGES.configure(Config::new(SerializedMemory::new(10)))?;
    /// let page = PAGES.get_or_create("/", async || Bytes::from("<h1>Welcome</h1>")).await;
    /// assert_eq!(page, "<h1>Welcome</h1>");
    /// # Ok::<(), dogpile::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// Whoever reads a value must know what its bytes are: they tell no type.
    pub const fn encoded(name: &'static str) -> Self {
        Self::unconfigured(Cow::Borrowed(name))
    }

    /// Returns a region as [`encoded`](Self::encoded) does, whose name is not known at compile time.
    pub fn encoded_named(name: impl Into<String>) -> Self {
        Self::unconfigured(Cow::Owned(name.into()))
    }
}

impl<K> Region<K> {
    const fn unconfigured(name: Cow<'static, str>) -> Self {
        Self { own: State::unconfigured(name), kind: PhantomData }
    }
}
