//! The near tier: answers for popular keys from this process's memory, in front of a backend that
//! processes share, and never older than a bound that is proved.
//!
//! - `bound`: the proof;
//! - `store`: the copies, decoded once;
//! - `admission`: which keys are worth a copy;
//! - `news`: hearing of changes;
//! - `tier`: these as a layer around the backend.

mod admission;
mod bound;
mod news;
mod store;
#[cfg(all(test, not(shuttle)))]
mod tests;
mod tier;

use std::time::Duration;

pub(crate) use news::Observer;
pub(crate) use tier::{Tier, WeakTier};

/// A near tier: copies of popular values in this process's memory, in front of Redis, memcached, a file
/// or another backend that processes share. For [`Config::near`](crate::Config::near).
///
/// A hit on a copy takes about the time of one in [`Memory`](crate::backend::Memory), and decodes
/// nothing. A copy is made of a key that is missed a second time within a minute.
///
/// **No copy is older than [`max_staleness`](Self::max_staleness)**, a second unless it is set: what another
/// process changed is seen within that time, also when the server is paused or the connection dead.
/// Where the backend tells of changes, which Redis 6 and later and Valkey do, copies mostly end within
/// milliseconds of a change. A file is asked before each hit, which is no older than the call, and takes
/// somewhat longer. This process's own changes are seen at once.
///
/// ```no_run
/// use dogpile::{Config, Near, Region, backend::Redis};
///
/// static USERS: Region = Region::new("users");
///
/// USERS.configure(Config::new(Redis::open("redis://localhost")?).near(Near::entries(10_000)))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a near tier does nothing until it is given to Config::near"]
pub struct Near {
    max_entries: usize,
    max_staleness: Duration,
    serve_when_down: Duration,
    broadcast: bool,
}

impl Near {
    /// The age of a copy at most, unless it is set.
    const USUAL_STALENESS: Duration = Duration::from_secs(1);

    /// A shorter bound could not be kept by asking four times within it.
    const LEAST_STALENESS: Duration = Duration::from_millis(50);

    /// A near tier of at most `max_entries` copies.
    pub const fn entries(max_entries: usize) -> Self {
        let (max_staleness, serve_when_down) = (Self::USUAL_STALENESS, Duration::ZERO);
        Self { max_entries, max_staleness, serve_when_down, broadcast: false }
    }

    /// Sets the age of a copy at most: no answer is older than what the backend had so long ago. 50
    /// milliseconds at least, a second unless it is set.
    pub fn max_staleness(mut self, limit: Duration) -> Self {
        self.max_staleness = limit.max(Self::LEAST_STALENESS);
        self
    }

    /// Sets the time for which a copy that is older than that may stand in while the backend does not
    /// answer, as a stale value. Zero, unless it is set: then what another process changes
    /// meanwhile is not seen for so long.
    pub const fn serve_when_down(mut self, time: Duration) -> Self {
        self.serve_when_down = time;
        self
    }

    /// Asks Redis for the changes of all keys of the region, instead of remembering on the server which
    /// of them this process has read: for many processes with many copies, where little
    /// is changed. Each change of the region is told to each process then. Other backends
    /// go on as without it.
    ///
    /// Without the region's [prefix](crate::Config::shared_keys) it is told of the changes of all keys.
    pub const fn broadcast(mut self) -> Self {
        self.broadcast = true;
        self
    }
}
