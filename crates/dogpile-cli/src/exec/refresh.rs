//! The process that renews a stale output in the background, after the one that served it
//! has ended.

use std::env;
use std::ffi::OsString;
use std::io::{self, Read};
use std::process::{Command, Stdio};

use dogpile::backend::{AnyBackend, ClaimMode, Claimed, Seen, Wanted};

use crate::failure::Failure;

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

/// Starts a process in the background, unless somebody renews the output under `stored`
/// already.
///
/// This process is elected by a claim to the key, so that a crowd starts one. The claim is
/// written as a value is: where it cannot be, the renewal would be in vain, and this is an
/// error. It is given up before the other process begins, which waits for the end of its
/// input for that.
pub(super) fn start(backend: &AnyBackend, stored: &str) -> Result<(), Failure> {
    let claimed = pollster::block_on(async {
        let seen = Seen::of(backend.get(stored).await?.as_ref());
        backend.claim(vec![Wanted::new(stored, ClaimMode::Create(seen))]).await
    })?;
    let Some(Claimed::Won(lease)) = claimed.into_iter().next() else { return Ok(()) };
    let spawned = spawn();
    pollster::block_on(backend.release(vec![lease]));
    // Dropping it closes its input. Nobody waits for it: it is not ours any more once this
    // process has ended.
    Ok(spawned.map(drop)?)
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
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// Leaves everything of the process that started this one, but its directory: its terminal
/// and group, so that nothing that ends it ends this, and the descriptors that it inherited.
/// Returns once the key is free.
pub(super) fn detach() {
    #[cfg(unix)]
    {
        let _ = nix::unistd::setsid();
        close_inherited();
    }
    let _ = io::stdin().read_to_end(&mut Vec::new());
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
