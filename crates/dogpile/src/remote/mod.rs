//! Parts that the backends on servers share; collections use the thread.
//!
//! - `io`: the thread that looks after connections; `timer`: its timers;
//! - `pipelined`: a connection with many requests under way, which are in its `queue`; `driver`: the task that
//!   drives it;
//! - `lone`: a second connection, for a blocking caller that is alone;
//! - `link`: a connection that is kept alive, and known to be down while it is; `given_up`: requests
//!   that nobody waits for any more;
//! - `finish`: work that goes on when its caller leaves;
//! - `lease`: holding a lock of a server's while its creator runs; `renewal` extends it;
//! - `terms`: how long locks live, and what a server must offer for them;
//! - `life`: how long a value has to live;
//! - `ledger`: all locks that are held, and those that are being released; `release` does that;
//! - `builder`: the options that they have alike;
//! - `prefix`: what stands before all keys;
//! - `tls`: certificates, and TLS for connections that are made here.

#[cfg(any(feature = "redis", feature = "memcached"))]
mod builder;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod driver;
#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) mod finish;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod given_up;
pub(crate) mod io;
#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) mod lease;
#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) mod ledger;
#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) mod life;
#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) mod link;
#[cfg(feature = "redis")]
pub(crate) mod lone;
#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) mod pipelined;
#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) mod prefix;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod queue;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod release;
#[cfg(any(feature = "redis", feature = "memcached"))]
mod renewal;
#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) mod terms;
#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) mod timer;
#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) mod tls;

use std::hash::{BuildHasher, RandomState};

#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) use builder::server_options;

#[cfg(any(feature = "redis", feature = "memcached"))]
use crate::backend::BackendError;
#[cfg(any(feature = "redis", feature = "memcached"))]
use crate::clock::{Clock, SystemClock};
pub(crate) use crate::token::new_token;

/// A number from 0 to 1 that nobody can guess.
#[expect(clippy::cast_precision_loss, reason = "53 bits are enough")]
pub(crate) fn random_share() -> f64 {
    (RandomState::new().hash_one(0_u8) >> 11) as f64 / (1_u64 << 53) as f64
}

/// No lock is taken any more: [`shutdown`](crate::shutdown()) was called.
#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) fn ends() -> BackendError {
    BackendError::unavailable("locks are not taken any more: `dogpile::shutdown` was called")
}

#[cfg(any(feature = "redis", feature = "memcached"))]
/// Returns who took a lock and how long ago, as far as its token says.
pub(crate) fn holder(token: &[u8]) -> (String, Option<std::time::Duration>) {
    let token = String::from_utf8_lossy(token);
    let ours = token.strip_prefix("dogpile-").and_then(|rest| {
        let (since, rest) = rest.split_once('-')?;
        let (process, _) = rest.split_once('-')?;
        Some((since.parse::<f64>().ok()?, process.parse::<u32>().ok()?))
    });
    let Some((since, process)) = ours else {
        return (format!("token {}", token.chars().take(8).collect::<String>()), None);
    };
    let seconds = (SystemClock.now() - since / 1e3).max(0.0);
    (format!("process {process}"), std::time::Duration::try_from_secs_f64(seconds).ok())
}

#[cfg(all(test, any(feature = "redis", feature = "memcached")))]
mod tests {
    use super::*;

    #[test]
    fn tokens_say_who_and_since_when() {
        let (who, age) = holder(new_token().as_bytes());
        assert_eq!(who, format!("process {}", std::process::id()));
        assert!(age.unwrap() < std::time::Duration::from_secs(60));
        assert_eq!(holder(b"3f2a77d0aa11").0, "token 3f2a77d0");
    }
}
