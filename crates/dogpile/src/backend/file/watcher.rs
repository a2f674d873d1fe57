//! Notifications of changes by other processes: the kernel says that the file or its
//! log was written to, and a thread looks which of the watched keys that was about.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use super::Shared;
use super::database;
use super::place::with_suffix;
use super::readers::Readers;
use crate::backend::{BackendError, Changed, Watch};
use crate::sync::Mutex;

/// After one look, for how long changes that follow are left to the next.
const TOGETHER: Duration = Duration::from_millis(2);

/// After the last word of the kernel's it is looked again, since a transaction can be
/// read only some time after it was written to the log: then its index is changed, of
/// which nothing tells.
const AFTERWARDS: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(200)];

/// The reason that ended a wait.
enum Heard {
    Something,
    /// Nothing within the limit.
    Nothing,
    /// Nobody is told any more.
    End,
}

/// The watched keys of a file, and the way to its thread, which runs as long as
/// there are any.
pub(super) struct Watcher {
    /// It has a connection to itself: one that another caller has to open instead would begin a new
    /// state of the file, which ends all copies.
    readers: Readers,
    watched: Mutex<Vec<Watched>>,
    next: AtomicU64,
    bell: Mutex<Option<ear::Bell>>,
}

struct Watched {
    id: u64,
    key: Arc<str>,
    /// Was it looked at? Then this is what its row was.
    is_known: bool,
    seen: Option<database::Mark>,
    changed: Changed,
}

impl Watcher {
    pub(super) fn new(readers: Readers) -> Self {
        Self { readers, watched: Mutex::default(), next: AtomicU64::new(0), bell: Mutex::default() }
    }
}

/// Calls `changed` when what is stored under `key` changes.
pub(super) fn watch(
    file: &Arc<Shared>,
    key: &str,
    changed: Changed,
) -> Result<Watch, BackendError> {
    let watcher = &file.watcher;
    let id = watcher.next.fetch_add(1, Ordering::Relaxed);
    watcher.watched.lock().push(Watched {
        id,
        key: key.into(),
        is_known: false,
        seen: None,
        changed,
    });
    let ends = Ends { file: Arc::downgrade(file), id };
    let mut bell = watcher.bell.lock();
    if let Some(bell) = &*bell {
        bell.ring();
    } else {
        *bell = Some(start(file)?);
    }
    Ok(Watch::new(ends))
}

/// Ends the watching of one key.
struct Ends {
    file: Weak<Shared>,
    id: u64,
}

impl Drop for Ends {
    fn drop(&mut self) {
        let Some(file) = self.file.upgrade() else { return };
        let mut bell = file.watcher.bell.lock();
        let mut watched = file.watcher.watched.lock();
        watched.retain(|watched| watched.id != self.id);
        if watched.is_empty() {
            // The thread ends when it finds that out.
            *bell = None;
        }
    }
}

fn start(file: &Arc<Shared>) -> Result<ear::Bell, BackendError> {
    let (bell, mut ear) = ear::open(&file.place.path).map_err(BackendError::unavailable)?;
    let weak = Arc::downgrade(file);
    let listen = move || {
        let mut quiet = 0;
        loop {
            let Some(file) = weak.upgrade() else { return };
            file.tell();
            drop(file);
            thread::sleep(TOGETHER);
            match ear.wait(AFTERWARDS.get(quiet).copied()) {
                Heard::Something => quiet = 0,
                Heard::Nothing => quiet += 1,
                Heard::End => return,
            }
        }
    };
    let thread = thread::Builder::new().name("dogpile-file-watch".into());
    thread.spawn(listen).map_err(BackendError::unavailable)?;
    Ok(bell)
}

impl Shared {
    /// Tells of the watched keys that have changed since the last time.
    fn tell(&self) {
        let keys: Vec<(u64, Arc<str>)> =
            self.watcher.watched.lock().iter().map(|w| (w.id, w.key.clone())).collect();
        let mark = |key: &str| self.watcher.readers.borrow()?.with(|c| database::mark(c, key));
        // What cannot be read now may have changed.
        let marks: Vec<_> = keys.iter().map(|(id, key)| (*id, mark(key).ok())).collect();
        let mut changed = Vec::new();
        for watched in self.watcher.watched.lock().iter_mut() {
            let Some((_, mark)) = marks.iter().find(|(id, _)| *id == watched.id) else { continue };
            let (is_known, mark) = (mark.is_some(), mark.clone().flatten());
            if !(is_known && watched.is_known && mark == watched.seen) {
                (watched.is_known, watched.seen) = (is_known, mark);
                changed.push(watched.changed.clone());
            }
        }
        changed.iter().for_each(|changed| changed());
    }
}

/// Waits for writes to the file: by the kernel's word.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod ear {
    use std::ffi::OsString;
    use std::io::{self, Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

    use super::{Heard, with_suffix};

    pub(super) struct Ear {
        inotify: Inotify,
        bell: UnixStream,
        names: Vec<OsString>,
    }

    /// Rings when it is told to; when it is dropped, it is over.
    pub(super) struct Bell(UnixStream);

    impl Drop for Bell {
        fn drop(&mut self) {
            // A process that was forked has a copy of it, which does not count.
            let _ = self.0.shutdown(std::net::Shutdown::Both);
        }
    }

    impl Bell {
        pub(super) fn ring(&self) {
            // If it cannot take another ring, it is ringing.
            let _ = (&self.0).write(&[0]);
        }
    }

    pub(super) fn open(path: &Path) -> io::Result<(Bell, Ear)> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let changes = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE;
        let moves = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE;
        let mut names = Vec::new();
        for path in places(path)? {
            inotify.add_watch(path.parent().unwrap_or(&path), changes | moves)?;
            let name = |path: &Path| path.file_name().unwrap_or_default().to_owned();
            names.extend([name(&path), name(&with_suffix(&path, "-wal"))]);
        }
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        Ok((Bell(theirs), Ear { inotify, bell: ours, names }))
    }

    /// Returns the place of the file, and that of its name: a link may be put in another's
    /// place, while SQLite keeps its log beside what the link leads to.
    fn places(path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut places = vec![std::path::absolute(path)?];
        places.extend(path.canonicalize().ok().filter(|target| *target != places[0]));
        Ok(places)
    }

    impl Ear {
        /// Until the file or its log was changed, or the bell rings, or the limit is
        /// over.
        pub(super) fn wait(&mut self, limit: Option<Duration>) -> Heard {
            let began = Instant::now();
            loop {
                let left = limit.map(|limit| limit.saturating_sub(began.elapsed()));
                let (changed, rung) = match self.listen(left) {
                    Ok(heard) => heard,
                    Err(nix::Error::EINTR) => continue,
                    Err(_) => return Heard::End,
                };
                if rung {
                    match self.bell.read(&mut [0; 64]) {
                        Ok(0) => return Heard::End,
                        _ => return Heard::Something,
                    }
                }
                if changed && self.is_about_us() {
                    return Heard::Something;
                }
                if left == Some(Duration::ZERO) {
                    return Heard::Nothing;
                }
            }
        }

        fn listen(&self, limit: Option<Duration>) -> nix::Result<(bool, bool)> {
            let wanted = PollFlags::POLLIN;
            let mut places =
                [PollFd::new(self.inotify.as_fd(), wanted), PollFd::new(self.bell.as_fd(), wanted)];
            // In whole milliseconds, and not none before the limit is over.
            let limit = limit.map(|limit| u16::try_from(limit.as_micros().div_ceil(1_000)));
            let limit = limit.map_or(PollTimeout::NONE, |limit| limit.unwrap_or(u16::MAX).into());
            poll(&mut places, limit)?;
            let [changed, rung] = places.map(|place| place.any().unwrap_or(true));
            Ok((changed, rung))
        }

        /// Reads what there is to read. Words that were lost count as well.
        fn is_about_us(&self) -> bool {
            let mut found = false;
            while let Ok(events) = self.inotify.read_events() {
                found |= events.iter().any(|event| match &event.name {
                    Some(name) => self.names.contains(name),
                    None => true,
                });
            }
            found
        }
    }
}

/// Waits for writes to the file: looking again after a while.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod ear {
    use std::io;
    use std::path::Path;
    use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
    use std::time::Duration;

    use super::Heard;

    pub(super) struct Ear(Receiver<()>);

    /// Rings when it is told to; when it is dropped, it is over.
    pub(super) struct Bell(Sender<()>);

    impl Bell {
        pub(super) fn ring(&self) {
            let _ = self.0.send(());
        }
    }

    pub(super) fn open(_path: &Path) -> io::Result<(Bell, Ear)> {
        let (bell, ear) = channel();
        Ok((Bell(bell), Ear(ear)))
    }

    impl Ear {
        pub(super) fn wait(&mut self, _limit: Option<Duration>) -> Heard {
            const PAUSE: Duration = Duration::from_millis(50);
            match self.0.recv_timeout(PAUSE) {
                Err(RecvTimeoutError::Disconnected) => Heard::End,
                _ => Heard::Something,
            }
        }
    }
}
