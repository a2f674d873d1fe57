//! The shapes of data that a collection can have, and how they are taken apart
//! for storing.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};

use serde_core::Serialize;
use serde_core::de::DeserializeOwned;

use crate::codec::{CodecError, RegionCodec, check};

/// The data of a collection: a `HashMap` with any hasher, a `BTreeMap`, or a
/// `Vec`, of types that have serde's traits.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the data of a collection",
    note = "a collection is a `HashMap`, `BTreeMap` or `Vec` of types that implement serde's `Serialize` and `Deserialize`, own their data and are `Send + Sync`"
)]
pub trait Table:
    Serialize + DeserializeOwned + Default + Send + Sync + sealed::Sealed + 'static
{
    /// The kind of table, as the header of stored data has it.
    #[doc(hidden)]
    const KIND: &'static str;

    #[doc(hidden)]
    fn count(&self) -> usize;

    /// Encodes all entries, a batch at a time.
    #[doc(hidden)]
    fn take_apart(&self, parting: &mut Parting<'_>) -> Result<(), CodecError>;

    /// Decodes a batch of entries and adds them.
    #[doc(hidden)]
    fn add(&mut self, codec: &Joining<'_>, batch: &[u8]) -> Result<(), CodecError>;
}

/// Takes a table apart.
#[doc(hidden)]
#[expect(missing_debug_implementations, reason = "nobody outside can name it")]
pub struct Parting<'a> {
    pub(super) codec: &'a RegionCodec,
    pub(super) emit: &'a mut dyn FnMut(&[u8]) -> Result<(), CodecError>,
}

/// Puts a table together.
#[doc(hidden)]
#[derive(Debug)]
pub struct Joining<'a>(pub(super) &'a RegionCodec);

/// A batch is about this large, in bytes, if entries are alike: what is decoded
/// at a time beside the table itself.
const BATCH: usize = 64 << 10;

/// Entries of the first batch, as their size is not known yet.
const FIRST: usize = 64;

impl Parting<'_> {
    /// Emits items in batches; `O` is what they are read as.
    fn each<I: Serialize, O: Serialize + DeserializeOwned>(
        &mut self,
        items: impl Iterator<Item = I>,
    ) -> Result<(), CodecError> {
        let mut items = items.peekable();
        let mut count = FIRST;
        let mut batch = Vec::new();
        while items.peek().is_some() {
            batch.extend(items.by_ref().take(count));
            let encoded = check::encode::<Vec<I>, Vec<O>>(self.codec, &batch)?;
            let each = (encoded.len() / batch.len()).max(1);
            count = (BATCH / each).clamp(1, 64 * count);
            batch.clear();
            (self.emit)(&encoded)?;
        }
        Ok(())
    }
}

macro_rules! mapping {
    ([$($generics:tt)*] $map:ty, $key:ident, $value:ident) => {
        impl<$($generics)*> sealed::Sealed for $map {}

        impl<$($generics)*> Table for $map {
            const KIND: &'static str = "mapping";

            fn count(&self) -> usize {
                self.len()
            }

            fn take_apart(&self, parting: &mut Parting<'_>) -> Result<(), CodecError> {
                parting.each::<_, ($key, $value)>(self.iter())
            }

            fn add(&mut self, codec: &Joining<'_>, batch: &[u8]) -> Result<(), CodecError> {
                let entries: Vec<($key, $value)> = codec.0.decode(batch)?;
                self.extend(entries);
                Ok(())
            }
        }
    };
}

mapping!(
    [
        K: Serialize + DeserializeOwned + Eq + Hash + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        S: BuildHasher + Default + Send + Sync + 'static
    ]
    HashMap<K, V, S>, K, V
);

mapping!(
    [
        K: Serialize + DeserializeOwned + Ord + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static
    ]
    BTreeMap<K, V>, K, V
);

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> sealed::Sealed for Vec<T> {}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Table for Vec<T> {
    const KIND: &'static str = "sequence";

    fn count(&self) -> usize {
        self.len()
    }

    fn take_apart(&self, parting: &mut Parting<'_>) -> Result<(), CodecError> {
        parting.each::<_, T>(self.iter())
    }

    fn add(&mut self, codec: &Joining<'_>, batch: &[u8]) -> Result<(), CodecError> {
        let mut items: Self = codec.0.decode(batch)?;
        self.append(&mut items);
        Ok(())
    }
}

mod sealed {
    pub trait Sealed {}
}
