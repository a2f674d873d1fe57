//! Blocking forms of what is async at the crate root, for code that is not.
//!
//! [`Region::blocking`](crate::Region::blocking) returns a [`Region`] of this module, whose calls
//! have the same names.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::bridge::{park_until_done, poll_waiting};

pub use crate::region::blocking::{Creation, Entries, Entry, Region};

/// The blocking form of [`shutdown`](crate::shutdown()), which has the documentation.
///
/// May be called anywhere, inside of runtimes too: it blocks its thread for `limit` at most.
///
/// ```
/// use std::time::Duration;
///
/// let everything = dogpile::blocking::shutdown(Duration::from_secs(5));
/// assert!(everything, "locks of this process may outlive it");
/// ```
pub fn shutdown(limit: Duration) -> bool {
    let mut is_done = false;
    park_until_done(pin!(async { is_done = crate::shutdown(limit).await }));
    is_done
}

/// Polls `future` for a caller that blocks its thread until the future is done.
///
/// For bridges to other languages that wait in a way of their own. All calls of this module poll so:
/// outside of a runtime, the thread may then wait a few milliseconds for a server's answer by itself, which is
/// quicker than to be woken by another thread. A future that awaits several calls at a time would
/// have them one after the other: it is better polled as any other future is.
pub fn poll<F: Future + ?Sized>(future: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
    poll_waiting(future, context)
}
