//! The command's output: passed on as it comes or held back, and kept as far as it is
//! remembered.
//!
//! The command's end is the end of its output, also when others that it started hold the
//! pipes open: daemons, jobs in the background.

use std::io;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::output::Output;
use super::run::Deadline;

/// Both streams, and how the command ended.
pub(super) struct Collected {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    /// There was more than was to be kept.
    pub(super) is_cut: bool,
    /// Nothing of it was passed on.
    pub(super) is_held: bool,
    /// It was ended since it ran for too long.
    pub(super) has_timed_out: bool,
    pub(super) status: ExitStatus,
}

/// The limit of the output that is kept, both streams together.
struct Budget {
    left: AtomicU64,
}

impl Budget {
    /// Takes `bytes` if there is room for them.
    fn take(&self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let take = |left: u64| left.checked_sub(bytes);
        let took = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if !took {
            // What comes later would leave a gap.
            self.left.store(0, Ordering::Relaxed);
        }
        took
    }
}

/// Both streams, on their way.
pub(super) struct Streams<'a> {
    budget: Budget,
    is_cut: AtomicBool,
    is_held: AtomicBool,
    out: Stream<'a>,
    err: Stream<'a>,
}

/// One stream as far as it is kept.
struct Stream<'a> {
    kept: Mutex<Kept>,
    output: Option<&'a Output>,
    pass: fn(&Output, &[u8]),
}

struct Kept {
    bytes: Vec<u8>,
    /// None of the bytes was passed on.
    is_held: bool,
}

impl<'a> Streams<'a> {
    /// Keeps `limit` bytes at most, and passes all on to `output`, if anybody listens. With
    /// `is_held` nothing is passed on before there is more than that.
    pub(super) fn new(output: Option<&'a Output>, limit: u64, is_held: bool) -> Self {
        let stream = |pass| {
            let kept = Mutex::new(Kept { bytes: Vec::new(), is_held });
            Stream { kept, output, pass }
        };
        Self {
            budget: Budget { left: AtomicU64::new(limit) },
            is_cut: AtomicBool::new(false),
            is_held: AtomicBool::new(is_held),
            out: stream(Output::out),
            err: stream(Output::err),
        }
    }

    /// Takes what came from `stream`, which is one of these.
    fn take(&self, stream: &Stream<'_>, bytes: &[u8]) {
        let fits = self.budget.take(bytes.len());
        if !fits {
            self.is_cut.store(true, Ordering::Relaxed);
            if self.is_held.swap(false, Ordering::Relaxed) {
                for stream in [&self.out, &self.err] {
                    stream.let_go(&mut stream.lock());
                }
            }
        }
        let mut kept = stream.lock();
        if !self.is_held.load(Ordering::Relaxed) {
            stream.let_go(&mut kept);
            stream.pass(bytes);
        }
        if fits && !self.is_cut.load(Ordering::Relaxed) {
            kept.bytes.extend_from_slice(bytes);
        } else {
            // It is of no use without its rest.
            kept.bytes = Vec::new();
        }
    }
}

impl Stream<'_> {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on what was held back.
    fn let_go(&self, kept: &mut Kept) {
        if std::mem::take(&mut kept.is_held) {
            self.pass(&kept.bytes);
        }
    }

    fn pass(&self, bytes: &[u8]) {
        if let Some(output) = self.output {
            (self.pass)(output, bytes);
        }
    }

    fn into_bytes(self) -> Vec<u8> {
        self.kept.into_inner().unwrap_or_else(PoisonError::into_inner).bytes
    }
}

/// Follows `child` to its end, or to its `deadline`. Calls `ended` between the command's end and
/// the moment from which its process id may mean another process.
pub(super) fn follow(
    child: &mut Child,
    streams: Streams<'_>,
    deadline: Option<Deadline>,
    ended: impl FnOnce(),
) -> io::Result<Collected> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let is_over = platform::End::new()?;
    let (end, has_ended) = std::sync::mpsc::channel();
    let (status, has_timed_out) = std::thread::scope(|scope| {
        let (streams, is_over) = (&streams, &is_over);
        let reading = [
            scope.spawn(|| is_over.read(stdout, |bytes| streams.take(&streams.out, bytes))),
            scope.spawn(|| is_over.read(stderr, |bytes| streams.take(&streams.err, bytes))),
        ];
        let watching = deadline.map(|deadline| scope.spawn(move || deadline.watch(&has_ended)));
        let status = platform::wait(child, || {
            ended();
            drop(end);
        });
        is_over.tell();
        for stream in reading {
            joined(stream.join())??;
        }
        let timed_out = watching.map(|watching| joined(watching.join())).transpose()?;
        status.map(|status| (status, timed_out.unwrap_or(false)))
    })?;
    Ok(Collected {
        is_cut: streams.is_cut.into_inner(),
        is_held: streams.is_held.into_inner(),
        stdout: streams.out.into_bytes(),
        stderr: streams.err.into_bytes(),
        has_timed_out,
        status,
    })
}

fn joined<T>(ended: std::thread::Result<T>) -> io::Result<T> {
    ended.map_err(|_| io::Error::other("a thread panicked"))
}

#[cfg(unix)]
mod platform {
    use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read};
    use std::os::fd::{AsFd, BorrowedFd};
    use std::process::{Child, ExitStatus};
    use std::sync::{Mutex, PoisonError};
    use std::time::{Duration, Instant};

    use nix::errno::Errno;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    /// The time that what the command started may go on writing after its end: a shell does not
    /// wait for its `>(tee ...)`.
    const GRACE: Duration = Duration::from_millis(100);

    /// Tells readers that the command has ended: the pipe closes.
    pub(super) struct End {
        heard: PipeReader,
        told: Mutex<Option<PipeWriter>>,
    }

    impl End {
        pub(super) fn new() -> io::Result<Self> {
            let (heard, told) = io::pipe()?;
            Ok(Self { heard, told: Mutex::new(Some(told)) })
        }

        pub(super) fn tell(&self) {
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }

        /// Hands everything that comes out of `pipe` to `take`, until the pipe ends or the
        /// command has.
        pub(super) fn read(
            &self,
            pipe: Option<impl Read + AsFd>,
            mut take: impl FnMut(&[u8]),
        ) -> io::Result<()> {
            let Some(mut pipe) = pipe else { return Ok(()) };
            let mut buffer = vec![0; 64 * 1024];
            let mut rest: Option<Rest> = None;
            loop {
                let limit = rest.as_ref().map(Rest::limit);
                let ready = self.wait(pipe.as_fd(), limit)?;
                if ready.has_ended && rest.is_none() {
                    rest = Some(Rest::of(pipe.as_fd()));
                }
                if !ready.is_readable {
                    match rest {
                        Some(_) if limit.is_some() => return Ok(()),
                        _ => continue,
                    }
                }
                let length = match pipe.read(&mut buffer) {
                    Ok(0) => return Ok(()),
                    Ok(length) => length,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                };
                take(&buffer[..length]);
                if rest.as_mut().is_some_and(|rest| rest.is_read(length)) {
                    return Ok(());
                }
            }
        }

        /// Waits until there is something to read, or the command ends if it has not yet.
        fn wait(&self, pipe: BorrowedFd<'_>, limit: Option<Duration>) -> io::Result<Ready> {
            let mut places =
                [pipe, self.heard.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            // After its end nothing more is heard of it.
            let watched = if limit.is_some() { 1 } else { 2 };
            let limit = limit.map_or(PollTimeout::NONE, |limit| {
                u16::try_from(limit.as_micros().div_ceil(1_000)).unwrap_or(u16::MAX).into()
            });
            match poll(&mut places[..watched], limit) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [readable, ended] = places.map(|place| place.any().unwrap_or(false));
            Ok(Ready { is_readable: readable, has_ended: ended && watched == 2 })
        }
    }

    struct Ready {
        is_readable: bool,
        has_ended: bool,
    }

    /// The rest that is read after the command's end.
    struct Rest {
        since: Instant,
        /// The bytes that the pipe may have held then: all of it is read, however slow the
        /// one is who reads ours.
        left: usize,
    }

    impl Rest {
        fn of(pipe: BorrowedFd<'_>) -> Self {
            Self { since: Instant::now(), left: capacity(pipe) }
        }

        fn limit(&self) -> Duration {
            GRACE.saturating_sub(self.since.elapsed())
        }

        /// Counts `length` bytes. Was that all?
        fn is_read(&mut self, length: usize) -> bool {
            self.left = self.left.saturating_sub(length);
            self.left == 0 && self.limit().is_zero()
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn capacity(pipe: BorrowedFd<'_>) -> usize {
        let size = nix::fcntl::fcntl(pipe, nix::fcntl::FcntlArg::F_GETPIPE_SZ);
        size.ok().and_then(|size| usize::try_from(size).ok()).unwrap_or(64 * 1024)
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn capacity(_pipe: BorrowedFd<'_>) -> usize {
        64 * 1024
    }

    /// Waits for the end of `child`, and calls `ended` while its process id is still its own.
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    pub(super) fn wait(child: &mut Child, ended: impl FnOnce()) -> io::Result<ExitStatus> {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};
        use nix::unistd::Pid;

        let id = i32::try_from(child.id()).map_err(io::Error::other)?;
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(Pid::from_raw(id)), look) == Err(Errno::EINTR) {}
        ended();
        child.wait()
    }

    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    pub(super) fn wait(child: &mut Child, ended: impl FnOnce()) -> io::Result<ExitStatus> {
        let status = child.wait();
        ended();
        status
    }
}

#[cfg(not(unix))]
mod platform {
    use std::io::{self, Read};
    use std::process::{Child, ExitStatus};

    pub(super) struct End;

    impl End {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        pub(super) fn tell(&self) {}

        pub(super) fn read(
            &self,
            pipe: Option<impl Read>,
            mut take: impl FnMut(&[u8]),
        ) -> io::Result<()> {
            let Some(mut pipe) = pipe else { return Ok(()) };
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match pipe.read(&mut buffer)? {
                    0 => return Ok(()),
                    length => take(&buffer[..length]),
                }
            }
        }
    }

    pub(super) fn wait(child: &mut Child, ended: impl FnOnce()) -> io::Result<ExitStatus> {
        let status = child.wait();
        ended();
        status
    }
}
