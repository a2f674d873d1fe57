//! Tokens: what tells one claim to a key from any other.

use std::hash::{BuildHasher, RandomState};

use crate::clock::{Clock, SystemClock};

/// A lock's token: when it was taken and by whom, for people who look, and
/// randomness enough to be the only one.
pub(crate) fn new_token() -> String {
    let random = [1_u8, 2].map(|salt| RandomState::new().hash_one(salt));
    let milliseconds = SystemClock.now() * 1e3;
    let process = std::process::id();
    format!("dogpile-{milliseconds:.0}-{process}-{:016x}{:016x}", random[0], random[1])
}
