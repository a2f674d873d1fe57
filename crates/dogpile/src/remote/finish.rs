//! Work that the I/O thread brings to its end when its caller leaves.

use std::future::Future;

use super::io;
use crate::finish::{self, ToTheEnd};

/// `work`, which the I/O thread brings to its end if this is dropped before.
pub(crate) fn to_the_end<F>(work: F) -> ToTheEnd<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    // Without the thread nothing can be sent anyway.
    finish::to_the_end(work, |work| drop(io::spawn(work)))
}
