//! The process that renews an old output after the one that served it has
//! ended, and what keeps a command from waiting for itself.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::process::{Command, Stdio};

use dogpile::backend::AnyBackend;
use dogpile::lock::Mutex;

use crate::failure::Failure;

/// Where commands find the keys that are being created around them.
const CREATING: &str = "DOGPILE_CREATING";

/// Starts a process behind, unless somebody renews this key already.
///
/// This process is elected by the key's lock, so that a crowd starts one. It
/// gives the lock up before the other begins, which waits for the end of its
/// input for that.
pub(super) fn start(backend: &AnyBackend, key: &str) -> Result<(), Failure> {
    let mut lease = None;
    if let Some(mutex) = backend.mutex() {
        match pollster::block_on(mutex.try_lock(key))? {
            Some(won) => lease = Some((mutex, won)),
            None => return Ok(()),
        }
    }
    let mut arguments: Vec<OsString> = env::args_os().skip(1).collect();
    // After `exec`, whatever stood before it.
    let place = arguments.iter().position(|argument| argument == "exec").map_or(0, |at| at + 1);
    arguments.insert(place, "--behind".into());
    let behind = Command::new(env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some((mutex, lease)) = lease {
        pollster::block_on(mutex.unlock(lease))?;
    }
    // Closes its input. Nobody waits for it: it is not ours any more once this
    // process has ended.
    drop(behind);
    Ok(())
}

/// The process behind belongs to no terminal and no group, so that nothing
/// that ends its parent ends it.
pub(super) fn leave_the_session() {
    #[cfg(unix)]
    let _ = nix::unistd::setsid();
    let _ = io::stdin().read_to_end(&mut Vec::new());
}

/// A command that asks for the output that it is making would wait for ever.
pub(super) fn refuse_recursion(key: &str) -> Result<(), Failure> {
    let around = env::var_os(CREATING).unwrap_or_default();
    let within_itself = around.to_string_lossy().split('\n').any(|creating| creating == key);
    if within_itself {
        let message = format!(
            "this command runs within itself (key `{key}`) and would wait for itself: give the inner one another --key"
        );
        return Err(message.into());
    }
    Ok(())
}

/// The variable by which a command knows that `key` is being created.
pub(super) fn creating_with(key: &str) -> (&'static OsStr, OsString) {
    let mut around = env::var_os(CREATING).unwrap_or_default();
    if !around.is_empty() {
        around.push("\n");
    }
    around.push(key);
    (OsStr::new(CREATING), around)
}
