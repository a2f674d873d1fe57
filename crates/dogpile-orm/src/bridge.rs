//! Blocking forms of what is async: the same calls, run on the caller's thread.

use std::future::Future;

use dogpile::Region;

use crate::error::Error;

/// Runs `call`, which uses `region`, on this thread.
pub(crate) fn blocking<T, E>(
    region: &Region,
    call: impl Future<Output = Result<T, Error<E>>>,
) -> Result<T, Error<E>> {
    region.blocking().block_on(call).unwrap_or_else(|error| Err(Error::Cache(error)))
}
