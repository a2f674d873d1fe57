//! A server's process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// A running server and its directory. Dropping it kills it; so does the end
/// of this program.
#[derive(Debug)]
pub struct Server {
    process: Option<Child>,
    command: Vec<String>,
    directory: PathBuf,
}

impl Server {
    /// Starts `command` in a new directory. It is ready when `is_ready` says so.
    pub fn start(command: Vec<String>, is_ready: impl Fn() -> bool) -> Self {
        let name = Path::new(&command[0]).file_name().unwrap_or_default().to_string_lossy();
        let directory =
            scratch().join(format!("{name}-{}", DIRECTORIES.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&directory).expect("there is a temporary directory");
        let mut server = Self { process: None, command, directory };
        server.launch(is_ready);
        server
    }

    /// Returns the folder of its files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Starts it again after [`kill`](Self::kill).
    pub fn launch(&mut self, is_ready: impl Fn() -> bool) {
        let process = self.process.insert(spawn_bound(&self.command, &self.directory));
        let command = &self.command;
        wait_until(&command[0], || {
            let is_ready = is_ready();
            let ended = process.try_wait().ok().flatten();
            assert!(is_ready || ended.is_none(), "{command:?} ended");
            is_ready
        });
    }

    /// Ends it as a power failure does.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Stops it in the middle of whatever it does: it is there, and does not
    /// answer.
    pub fn pause(&self) {
        self.signal("-STOP");
        wait_until_stopped(self.process.as_ref().expect("it runs").id());
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let process = self.process.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args([signal, &process]).status();
        assert!(sent.is_ok_and(|status| status.success()));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Waits until each thread of a process that is to stop has been stopped: the signal arrives at them
/// one by one.
pub(crate) fn wait_until_stopped(process: u32) {
    wait_until("the stop of a process", || {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { return true };
        threads.flatten().all(|thread| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('T'))
        })
    });
}

pub(super) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} does not get ready");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The servers that this program has started.
static DIRECTORIES: AtomicU64 = AtomicU64::new(0);

const PREFIX: &str = "dogpile-servers-";

/// A directory for the servers of this program. Statics are never dropped, so
/// those of programs that have ended are removed here.
pub(super) fn scratch() -> PathBuf {
    let temporary = std::env::temp_dir();
    for found in std::fs::read_dir(&temporary).into_iter().flatten().flatten() {
        let name = found.file_name().to_string_lossy().into_owned();
        let ended = name
            .strip_prefix(PREFIX)
            .is_some_and(|process| !Path::new("/proc").join(process).exists());
        if ended {
            let _ = std::fs::remove_dir_all(found.path());
        }
    }
    let own = temporary.join(format!("{PREFIX}{}", std::process::id()));
    std::fs::create_dir_all(&own).expect("there is a temporary directory");
    own
}

/// Starts a process that the kernel kills with this one. What it is bound to
/// is the thread that starts it, so that one sleeps until the end.
fn spawn_bound(command: &[String], directory: &Path) -> Child {
    let (started, child) = mpsc::channel();
    let (command, directory) = (command.to_vec(), directory.to_owned());
    thread::spawn(move || {
        let spawned = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .args(&command)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let _ = started.send(spawned);
        loop {
            thread::park();
        }
    });
    child.recv().expect("the thread answers").unwrap_or_else(|error| {
        panic!("the server cannot be started ({error}): run `cargo xtask servers`")
    })
}
