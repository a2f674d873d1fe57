//! Stands for bytes where all backends keep objects.

/// Bytes that nobody has: without the feature `serialized` there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bytes {}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match *self {}
    }
}
