//! Signals that reach this process and are meant for the command.
//!
//! What was ignored stays ignored, for both. What a terminal sends, it sends to the whole
//! group: the command has it, unless it has a group of its own. What somebody sends to this process
//! by `kill` is passed on.

use std::fs;
use std::io;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::exfiltrator::origin::Origin;
use signal_hook::low_level::emulate_default_handler;
use signal_hook::low_level::siginfo::Cause;

const FOR_THE_COMMAND: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

/// They ask for an end.
const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// Passes signals on as long as the command runs.
pub(super) struct Signals {
    receiver: Arc<Mutex<Receiver>>,
    is_interrupted: Arc<AtomicBool>,
}

/// To whom signals go.
enum Receiver {
    /// The command has not begun: it gets them when it does.
    Waiting(Vec<i32>),
    Command(Pid),
    /// The command, with a process group of its own.
    Group(Pid),
    /// The command has ended: this process does with them what others do.
    Nobody,
}

impl Receiver {
    fn take(&mut self, origin: &Origin) {
        match self {
            Self::Waiting(signals) => signals.push(origin.signal),
            // The group has it, and the command is in the group.
            Self::Command(_) if origin.cause == Cause::Kernel => {}
            Self::Command(command) => send(*command, origin.signal),
            Self::Group(leader) => send_to_group(*leader, origin.signal),
            Self::Nobody => _ = emulate_default_handler(origin.signal),
        }
    }
}

fn send(command: Pid, signal: i32) {
    if let Ok(signal) = Signal::try_from(signal) {
        // It may just have ended.
        let _ = kill(command, signal);
    }
}

/// What asks for an end is for all that the command has started: nobody else would tell it.
fn send_to_group(leader: Pid, signal: i32) {
    let is_there = ENDING.contains(&signal)
        && Signal::try_from(signal).is_ok_and(|signal| killpg(leader, signal).is_ok());
    if !is_there {
        send(leader, signal);
    }
}

fn lock(receiver: &Mutex<Receiver>) -> MutexGuard<'_, Receiver> {
    receiver.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Signals {
    /// Begins to catch them, before there is a command.
    pub(super) fn catch() -> io::Result<Self> {
        let ignored = ignored();
        let wanted = FOR_THE_COMMAND.into_iter().filter(|signal| !is_in(ignored, *signal));
        let mut caught = SignalsInfo::<WithOrigin>::new(wanted)?;
        let receiver = Arc::new(Mutex::new(Receiver::Waiting(Vec::new())));
        let is_interrupted = Arc::new(AtomicBool::new(false));
        let (listener, interrupted) = (receiver.clone(), is_interrupted.clone());
        let listen = move || {
            for origin in caught.forever() {
                interrupted.fetch_or(ENDING.contains(&origin.signal), Ordering::Relaxed);
                lock(&listener).take(&origin);
            }
        };
        // It ends with the process.
        thread::Builder::new().name("dogpile-signals".into()).spawn(listen)?;
        Ok(Self { receiver, is_interrupted })
    }

    /// The command has begun: passes on what came before, and what comes. With `leads` it has a
    /// process group of its own.
    pub(super) fn pass_to(&self, child: &Child, leads: bool) {
        let Ok(command) = i32::try_from(child.id()).map(Pid::from_raw) else { return };
        let receiver = if leads { Receiver::Group(command) } else { Receiver::Command(command) };
        let before = std::mem::replace(&mut *lock(&self.receiver), receiver);
        if let Receiver::Waiting(signals) = before {
            let send = if leads { send_to_group } else { send };
            signals.into_iter().for_each(|signal| send(command, signal));
        }
    }

    /// Has somebody asked for an end?
    pub(super) fn is_interrupted(&self) -> bool {
        self.is_interrupted.load(Ordering::Relaxed)
    }

    /// The command has ended, or was not begun: from now on signals end this process, as
    /// they do by default.
    pub(super) fn stop_passing(&self) {
        let before = std::mem::replace(&mut *lock(&self.receiver), Receiver::Nobody);
        if let Receiver::Waiting(signals) = before {
            signals.into_iter().for_each(|signal| _ = emulate_default_handler(signal));
        }
    }
}

/// Can a write to a file come to the limit of its size?
pub(super) fn may_end_a_write() -> bool {
    getrlimit(Resource::RLIMIT_FSIZE).map_or(true, |(limit, _)| limit != RLIM_INFINITY)
}

/// Keeps this process from what the system does by signals that are not meant for it, and
/// would change what becomes of the command.
///
/// A write to the cache beyond the limit of file sizes is an error, not the end.
/// A caller that ignores the end of children would lose the command's exit code: the command
/// does not inherit that.
pub(super) fn withstand() -> io::Result<()> {
    let ignored = ignored();
    let is_ignored = |signal: Signal| is_in(ignored, signal as i32);
    let unwelcome = [
        (Signal::SIGXFSZ, !is_ignored(Signal::SIGXFSZ)),
        (Signal::SIGCHLD, is_ignored(Signal::SIGCHLD)),
    ];
    for (signal, _) in unwelcome.into_iter().filter(|(_, is_unwelcome)| *is_unwelcome) {
        // A handler that does nothing: the command gets the default.
        signal_hook::flag::register(signal as i32, Arc::default())?;
    }
    Ok(())
}

fn is_in(mask: u64, signal: i32) -> bool {
    mask >> (signal - 1) & 1 == 1
}

/// Which signals this process ignores, by the kernel's word, a bit each.
///
/// There is no other way to ask without changing them; where there is no such file, none
/// count as ignored.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
