//! The process that renews a stale output in the background, after the one that served it
//! has ended.

use std::env;
use std::ffi::OsString;
use std::io;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use dogpile::backend::{AnyBackend, BackendError, ClaimMode, Claimed, Commit, Seen, Wanted};
use dogpile::clock::{Clock, SystemClock};
use dogpile::lock::Lease;
use dogpile::value::Entry;
use serde_json::Value;

use crate::error::CommandError;

/// Variables that speak of what the process in the background does not have: descriptors of
/// its parent's, a service manager that waits for it.
const NOT_ITS: [&str; 9] = [
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "CARGO_MAKEFLAGS",
    "MAKEFLAGS",
    "MFLAGS",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// The name in an output's header for the time (epoch seconds) at which its renewal was handed
/// to a process in the background. One that ends in order leaves null there.
const HANDED_OVER: &str = "renewal";

/// A process in the background holds the key within this time.
const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// One that has ended in order has said so within this time.
const ENDS_WITHIN: Duration = Duration::from_millis(500);

/// Between two attempts to say so.
const PAUSE: Duration = Duration::from_millis(10);

/// Starts a process in the background, unless somebody renews the output under `stored`
/// already.
///
/// This process is elected by a claim to the key, so that a crowd starts one. It notes in the
/// output's header that it does: where that cannot be written, the renewal would be in vain, and
/// this is an error. It is one too where the process of an earlier renewal was killed: then the
/// next one would be, and the output be served for ever.
pub(super) fn start(backend: &AnyBackend, stored: &str) -> Result<(), CommandError> {
    // Whoever is about to begin finds the key free.
    if look(backend, stored)?.is_some_and(|begun| age(begun) < STARTS_WITHIN) {
        return Ok(());
    }
    let Some((entry, lease)) = pollster::block_on(claim(backend, stored))? else { return Ok(()) };
    let Some(begun) = handed_over(&entry) else {
        pollster::block_on(note(backend, stored, entry, SystemClock.now().into(), lease))?;
        // Nobody waits for it: it is not ours any more once this process has ended.
        return Ok(spawn().map(drop)?);
    };
    pollster::block_on(backend.release(vec![lease]));
    thread::sleep(ENDS_WITHIN);
    match look(backend, stored)? {
        Some(still) if still.to_bits() == begun.to_bits() => {
            Err("the process that was to renew it was killed".into())
        }
        _ => Ok(()),
    }
}

/// Notes that the renewal of the output under `stored` has ended in order, if that output is
/// still there.
pub(super) fn end(backend: &AnyBackend, stored: &str) -> Result<(), CommandError> {
    let began = Instant::now();
    while look(backend, stored)?.is_some() && began.elapsed() < ENDS_WITHIN {
        match pollster::block_on(claim(backend, stored))? {
            Some((entry, lease)) => {
                pollster::block_on(note(backend, stored, entry, Value::Null, lease))?;
            }
            // Somebody looks whether this process was killed.
            None => thread::sleep(PAUSE),
        }
    }
    Ok(())
}

/// Returns when the renewal of the output under `stored` was handed over, if it was.
fn look(backend: &AnyBackend, stored: &str) -> Result<Option<f64>, CommandError> {
    let entry = pollster::block_on(backend.get(stored))?;
    Ok(entry.as_ref().and_then(handed_over))
}

/// Returns the time since the moment `begun`. One that is ahead of this clock is long ago: it
/// says nothing.
fn age(begun: f64) -> Duration {
    Duration::try_from_secs_f64(SystemClock.now() - begun).unwrap_or(Duration::MAX)
}

/// Returns the output under `stored` and a claim to its key, unless it is not there or somebody
/// else has the key.
async fn claim(backend: &AnyBackend, stored: &str) -> Result<Option<(Entry, Lease)>, BackendError> {
    let Some(entry) = backend.get(stored).await? else { return Ok(None) };
    let wanted = Wanted::new(stored, ClaimMode::Create(Seen::of(Some(&entry))));
    let claimed = backend.claim(vec![wanted]).await?;
    match claimed.into_iter().next() {
        Some(Claimed::Won(lease)) => Ok(Some((entry, lease))),
        Some(Claimed::Failed(error)) => Err(error),
        _ => Ok(None),
    }
}

fn handed_over(entry: &Entry) -> Option<f64> {
    entry.metadata.extra(HANDED_OVER)?.as_f64()
}

/// Writes the output again, with `renewal` in its header.
async fn note(
    backend: &AnyBackend,
    stored: &str,
    mut entry: Entry,
    renewal: Value,
    lease: Lease,
) -> Result<(), CommandError> {
    entry.metadata = entry.metadata.with_extra(HANDED_OVER, renewal);
    backend.commit(vec![Commit { key: stored, entry: Some(entry), lease }]).await?;
    Ok(())
}

fn spawn() -> io::Result<std::process::Child> {
    let mut arguments: Vec<OsString> = env::args_os().skip(1).collect();
    // After `exec`, whatever stood before it.
    let place = arguments.iter().position(|argument| argument == "exec").map_or(0, |at| at + 1);
    arguments.insert(place, "--background".into());
    let mut command = Command::new(env::current_exe()?);
    for name in NOT_ITS {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// Leaves everything of the process that started this one, but its directory: its terminal
/// and group, so that nothing that ends it ends this, and the descriptors that it inherited.
pub(super) fn detach() {
    #[cfg(unix)]
    {
        let _ = nix::unistd::setsid();
        close_inherited();
    }
}

/// Closes every descriptor but the standard ones. Nothing else of this process is open yet.
#[cfg(unix)]
fn close_inherited() {
    let listed = std::fs::read_dir("/dev/fd").map(|entries| {
        let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
        entries.flatten().filter_map(number).collect::<Vec<i32>>()
    });
    let inherited = listed.unwrap_or_else(|_| (3..1_024).collect());
    for descriptor in inherited.into_iter().filter(|descriptor| *descriptor > 2) {
        // That of the listing is closed already.
        let _ = nix::unistd::close(descriptor);
    }
}
