//! The types that a region can hold, and those that a call is about, checked by the compiler.

use std::marker::PhantomData;

use serde_core::Serialize;
use serde_core::de::DeserializeOwned;

#[cfg(feature = "serialized")]
use crate::backend::KeepsBytes;
use crate::backend::KeepsObjects;
use crate::codec::{CodecError, RegionCodec, is_none};
use crate::value::Bytes;

/// The kind of region whose values can be serialized: it works over every
/// backend. This is the default.
#[derive(Debug, Clone, Copy)]
pub struct Serialized;

/// The kind of region whose values need no serde: it works over backends that
/// keep objects.
#[derive(Debug, Clone, Copy)]
pub struct InMemory;

/// The kind of region whose values are bytes already, or become bytes by conversions of their own: it
/// works over every backend, and has no codec. See [`Region::encoded`](crate::Region::encoded).
#[cfg(feature = "serialized")]
#[derive(Debug, Clone, Copy)]
pub struct Encoded;

/// [`Serialized`], [`InMemory`] or [`Encoded`].
pub trait Kind: sealed::Sealed + Send + Sync + 'static {
    /// Does it need a backend that keeps objects?
    const NEEDS_OBJECTS: bool;
}

impl Kind for Serialized {
    const NEEDS_OBJECTS: bool = false;
}

impl Kind for InMemory {
    const NEEDS_OBJECTS: bool = true;
}

#[cfg(feature = "serialized")]
impl Kind for Encoded {
    const NEEDS_OBJECTS: bool = false;
}

/// Whether a backend that keeps values in this form fits a region of kind
/// `K`.
#[diagnostic::on_unimplemented(
    message = "this backend keeps bytes, and a region of kind `{K}` holds types without serde",
    note = "use a backend that keeps objects, such as `Memory`, or make the region a plain `Region` (kind `Serialized`) and derive `Serialize` and `Deserialize` for its types"
)]
pub trait Holds<K> {}

impl Holds<Serialized> for KeepsObjects {}
#[cfg(feature = "serialized")]
impl Holds<Serialized> for KeepsBytes {}
impl Holds<InMemory> for KeepsObjects {}
#[cfg(feature = "serialized")]
impl Holds<Encoded> for KeepsObjects {}
#[cfg(feature = "serialized")]
impl Holds<Encoded> for KeepsBytes {}

/// A type that a region of kind `K` can hold: clonable, shareable and, by the kind, serializable
/// ([`Serialized`]) or convertible from and to bytes ([`Encoded`]). Implemented for all that are.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept in a region of kind `{K}`",
    label = "not cacheable here",
    note = "derive `Clone`, `Serialize` and `Deserialize` for it, or use a `Region<InMemory>`, which needs no serde; both need `Send + Sync + 'static`",
    note = "a `Region<Encoded>` takes types that convert from and into `Bytes`"
)]
pub trait Cacheable<K>: Clone + Send + Sync + Sized + 'static {
    #[doc(hidden)]
    fn encode(&self, codec: &Codec) -> Result<EncodedValue, CodecError>;
    #[doc(hidden)]
    fn decode(codec: &Codec, encoded: Encoding<'_>) -> Result<Self, CodecError>;
    /// Is it `None`, as far as that can be told?
    #[doc(hidden)]
    fn is_none(&self) -> bool;
}

/// A value as bytes, and a number for the names of its fields, if it has some and this
/// crate has written it.
#[doc(hidden)]
#[derive(Debug)]
pub struct EncodedValue {
    pub(crate) bytes: Bytes,
    pub(crate) shape: Option<u32>,
}

/// The bytes of a value and that number, where they lie.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Encoding<'b> {
    pub(crate) bytes: &'b [u8],
    /// The same, where they can be shared.
    #[cfg_attr(not(feature = "serialized"), expect(dead_code, reason = "there are no bytes"))]
    pub(crate) whole: Option<&'b Bytes>,
    pub(crate) shape: Option<u32>,
}

/// The codec of a region, as [`Cacheable`] gets it.
#[doc(hidden)]
#[derive(Debug)]
pub struct Codec(pub(crate) RegionCodec);

// The advice is that of the trait, and is given once.
#[diagnostic::do_not_recommend]
impl<T: Clone + Send + Sync + Serialize + DeserializeOwned + 'static> Cacheable<Serialized> for T {
    fn encode(&self, codec: &Codec) -> Result<EncodedValue, CodecError> {
        let (bytes, shape) = codec.0.checked(self)?;
        Ok(EncodedValue { bytes, shape })
    }

    #[expect(clippy::inline_always, reason = "measured: each move of a value is a tenth of a hit")]
    #[inline(always)]
    fn decode(codec: &Codec, encoded: Encoding<'_>) -> Result<Self, CodecError> {
        codec.0.decode_shaped(encoded.bytes, encoded.shape)
    }

    fn is_none(&self) -> bool {
        is_none(self)
    }
}

/// An in-memory region's backend keeps objects, so these two are never reached.
#[diagnostic::do_not_recommend]
impl<T: Clone + Send + Sync + 'static> Cacheable<InMemory> for T {
    fn encode(&self, _codec: &Codec) -> Result<EncodedValue, CodecError> {
        Err(CodecError::new("an in-memory region has no codec"))
    }

    fn decode(_codec: &Codec, _encoded: Encoding<'_>) -> Result<Self, CodecError> {
        Err(CodecError::new("an in-memory region has no codec"))
    }

    fn is_none(&self) -> bool {
        false
    }
}

#[cfg(feature = "serialized")]
#[diagnostic::do_not_recommend]
impl<T> Cacheable<Encoded> for T
where
    T: Clone + Send + Sync + From<Bytes> + Into<Bytes> + 'static,
{
    fn encode(&self, _codec: &Codec) -> Result<EncodedValue, CodecError> {
        Ok(EncodedValue { bytes: self.clone().into(), shape: None })
    }

    fn decode(_codec: &Codec, encoded: Encoding<'_>) -> Result<Self, CodecError> {
        let copied = || Bytes::copy_from_slice(encoded.bytes);
        Ok(encoded.whole.cloned().unwrap_or_else(copied).into())
    }

    fn is_none(&self) -> bool {
        false
    }
}

/// Calls that are about values of type `T`: those of [`AnyValue`], or of [`Only<T>`](Only).
pub trait Takes<T>: sealed::Sealed {}

/// Values of any type, chosen by the call.
#[derive(Debug, Clone, Copy)]
pub struct AnyValue;

/// Values of the type `T`.
#[derive(Debug, Clone, Copy)]
pub struct Only<T>(PhantomData<fn() -> T>);

impl<T> Takes<T> for AnyValue {}
impl<T> Takes<T> for Only<T> {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Serialized {}
    impl Sealed for super::InMemory {}
    #[cfg(feature = "serialized")]
    impl Sealed for super::Encoded {}
    impl Sealed for super::AnyValue {}
    impl<T> Sealed for super::Only<T> {}
}
