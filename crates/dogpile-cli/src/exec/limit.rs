//! The time limit of a command: it is asked to end, and killed if it does not.
//!
//! A command with a limit leads a process group of its own, so that what it has started ends with
//! it, and nothing else does.

use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// The time between SIGTERM and SIGKILL.
const KILL_AFTER: Duration = Duration::from_secs(5);

/// Between two looks whether anything of the group is left.
const PAUSE: Duration = Duration::from_millis(10);

/// The moment until which the leader of a process group may run.
pub(super) struct Deadline {
    group: Pid,
    until: Instant,
}

impl Deadline {
    /// Returns that of a `command` that leads a group; none if it may run for ever.
    pub(super) fn of(command: &Child, until: Option<Instant>) -> Option<Self> {
        let group = Pid::from_raw(i32::try_from(command.id()).ok()?);
        Some(Self { group, until: until? })
    }

    /// Ends the command if it has not ended until then: that closes `end`. Returns true if it was
    /// ended here; then nothing of its group is left.
    pub(super) fn watch(&self, end: &Receiver<()>) -> bool {
        let left = self.until.saturating_duration_since(Instant::now());
        let is_over = end.recv_timeout(left) == Err(RecvTimeoutError::Timeout);
        if is_over {
            end_in_order(self.group, end);
        }
        is_over
    }
}

fn end_in_order(group: Pid, end: &Receiver<()>) {
    let until = Instant::now() + KILL_AFTER;
    orphans::adopt();
    send(group, Signal::SIGTERM);
    // A stopped process hears of nothing else.
    send(group, Signal::SIGCONT);
    if end.recv_timeout(KILL_AFTER) == Err(RecvTimeoutError::Timeout) {
        return send(group, Signal::SIGKILL);
    }
    // The number stays that of this group as long as it has a process.
    while is_there(group) && Instant::now() < until {
        orphans::reap(group);
        thread::sleep(PAUSE);
    }
    let _ = killpg(group, Signal::SIGKILL);
}

/// Sends `signal` to the group, or to its leader alone if that has left it.
fn send(group: Pid, signal: Signal) {
    if killpg(group, signal) == Err(Errno::ESRCH) {
        // It may just have ended.
        let _ = kill(group, signal);
    }
}

fn is_there(group: Pid) -> bool {
    killpg(group, None) != Err(Errno::ESRCH)
}

/// Processes of the group whose parents have ended. What should reap them may be slow or not there,
/// as in a container, and they count as processes until then.
#[cfg(target_os = "linux")]
mod orphans {
    use nix::sys::prctl::set_child_subreaper;
    use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
    use nix::unistd::Pid;

    /// Makes this process the parent of those to come.
    pub(super) fn adopt() {
        let _ = set_child_subreaper(true);
    }

    /// Reaps those that have ended, but not the leader: that one is waited for.
    pub(super) fn reap(group: Pid) {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while let Ok(status) = waitid(Id::PGid(group), look)
            && let Some(process) = status.pid().filter(|process| *process != group)
        {
            let _ = waitpid(process, Some(WaitPidFlag::WNOHANG));
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod orphans {
    use nix::unistd::Pid;

    pub(super) fn adopt() {}

    pub(super) fn reap(_group: Pid) {}
}
