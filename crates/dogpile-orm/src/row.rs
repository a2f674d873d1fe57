//! The rows that can be kept.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A row that can be kept in a region: clonable, owning its data, with serde's traits.
/// Implemented for all that are.
///
/// It has to come out of serde as it went in. A field that is written and not read
/// (`#[serde(skip_deserializing)]`, as generators of models put it on primary keys), or read and
/// not written (`#[serde(skip_serializing)]`, as models have it that are shown to users), is found
/// out when the first row is stored, and is an [error](crate::Error::LostField). A field that is
/// skipped both ways (`#[serde(skip)]`) cannot be seen from outside, and has its default in what
/// comes from the cache: cache a type of your own instead. In JSON, the usual codec, numbers that
/// are not finite become `null`.
#[diagnostic::on_unimplemented(
    message = "rows of the type `{Self}` can't be cached",
    note = "derive `Clone`, serde's `Serialize` and `Deserialize` for it; it has to be `Send + Sync + 'static` too"
)]
pub trait Row: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: Clone + Serialize + DeserializeOwned + Send + Sync + 'static> Row for T {}
