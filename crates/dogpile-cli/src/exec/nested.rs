//! Keeps a command from waiting for itself: which outputs are being created around this
//! process, and which of them wait for its own.
//!
//! Processes tell this by the names of threads, which the kernel shows to everybody as long
//! as they live: neither the environment nor files are needed, so that a cleared environment
//! hides nothing and a killed process leaves nothing. Where there is no `/proc`, the
//! environment says at least what is around.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use crate::error::CommandError;
use crate::inspect::printable;

/// The environment variable that tells what is being created around, without `/proc`.
const CREATING: &str = "DOGPILE_CREATING";

/// The beginning of a telling thread name. A name has 15 characters: three and an
/// identity.
const CREATES: &str = "dp+";
/// As [`CREATES`], and nobody waits for it: what is around it does not matter.
const RENEWS: &str = "dp*";
/// A process that has such things around it asks for this one.
const ASKS: &str = "dp?";

/// Something said, until it is dropped.
pub(super) struct Sign {
    _end: Sender<()>,
}

impl Sign {
    /// Says that this process creates the output called `identity`; `alone` if nobody waits
    /// for it.
    pub(super) fn creates(identity: &str, alone: bool) -> io::Result<Self> {
        Self::say(if alone { RENEWS } else { CREATES }, identity)
    }

    fn say(what: &str, identity: &str) -> io::Result<Self> {
        let ((end, ended), (begun, begins)) = (channel::<()>(), channel());
        let stay = move || {
            let _ = begun.send(());
            let _ = ended.recv();
        };
        let thread = thread::Builder::new().name(format!("{what}{identity}"));
        thread.stack_size(64 * 1024).spawn(stay)?;
        // It has its name now.
        let _ = begins.recv();
        Ok(Self { _end: end })
    }
}

/// Refuses to ask for the output called `identity`, of `key`, if that would wait for this
/// very process. What is returned is to be kept while it is asked for.
pub(super) fn ask(identity: &str, key: &str) -> Result<Option<Sign>, CommandError> {
    let around = around();
    if around.is_empty() {
        return Ok(None);
    }
    let key = printable(key);
    if around.contains(identity) {
        let message = format!(
            "this command runs within itself (key `{key}`) and would wait for itself: give the inner one another --key"
        );
        return Err(message.into());
    }
    // Said first: of two that come at once, one sees the other.
    let sign = Sign::say(ASKS, identity)?;
    if needs_any_of(identity, &around) {
        let message = format!(
            "the command of key `{key}` asks for the output of a command around this one: each would wait for the other"
        );
        return Err(message.into());
    }
    Ok(Some(sign))
}

/// Returns the variable by which a command knows what is around it, where it cannot be found
/// out otherwise.
pub(super) fn variable(identity: &str) -> Option<(&'static str, String)> {
    if proc::is_there() {
        return None;
    }
    let around: Vec<String> = around().into_iter().chain([identity.to_owned()]).collect();
    Some((CREATING, around.join(",")))
}

/// Returns what is being created by the processes that this one belongs to.
fn around() -> BTreeSet<String> {
    if proc::is_there() {
        return proc::around(std::process::id());
    }
    let around = env::var(CREATING).unwrap_or_default();
    around.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Does the creation of `identity` ask, itself or by others, for one of `wanted`?
fn needs_any_of(identity: &str, wanted: &BTreeSet<String>) -> bool {
    let asking = proc::asking();
    let mut reached = vec![identity.to_owned()];
    let mut next = 0;
    while let Some(creation) = reached.get(next).cloned() {
        next += 1;
        for (_, asked) in asking.iter().filter(|(around, _)| around.contains(&creation)) {
            if wanted.contains(asked) {
                return true;
            }
            if !reached.contains(asked) {
                reached.push(asked.clone());
            }
        }
    }
    false
}

/// The kernel's view of processes.
mod proc {
    use super::{ASKS, BTreeSet, CREATES, RENEWS, fs};

    /// More ancestors than a process has.
    const MOST: usize = 1_000;

    pub(super) fn is_there() -> bool {
        parent(std::process::id()).is_some()
    }

    fn parent(process: u32) -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The program's name, in parentheses, may hold anything.
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_whitespace().nth(1)?.parse().ok()
    }

    /// The names of a process's threads.
    fn threads(process: u32) -> Vec<String> {
        let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
        let name = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("comm")).ok();
        threads.filter_map(name).map(|name| name.trim_end().to_owned()).collect()
    }

    /// Returns what the ancestors of `process` create, up to one that nobody waits for.
    pub(super) fn around(process: u32) -> BTreeSet<String> {
        let mut around = BTreeSet::new();
        let mut process = process;
        for _ in 0..MOST {
            match parent(process) {
                None | Some(0) => break,
                Some(parent) => process = parent,
            }
            let threads = threads(process);
            let said = |what| threads.iter().filter_map(move |name| name.strip_prefix(what));
            around.extend(said(CREATES).chain(said(RENEWS)).map(str::to_owned));
            if said(RENEWS).next().is_some() {
                break;
            }
        }
        around
    }

    /// The requests of processes, and their surroundings.
    pub(super) fn asking() -> Vec<(BTreeSet<String>, String)> {
        let own = threads_name(std::process::id());
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut asking = Vec::new();
        for process in processes.filter(|process| threads_name(*process) == own) {
            let names = threads(process);
            let asked = names.iter().filter_map(|name| name.strip_prefix(ASKS));
            asking.extend(asked.map(|asked| (around(process), asked.to_owned())));
        }
        asking
    }

    /// The name of a process's first thread: that of its program.
    fn threads_name(process: u32) -> Option<String> {
        fs::read_to_string(format!("/proc/{process}/comm")).ok()
    }
}
