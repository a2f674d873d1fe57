//! The requests of a connection: those that wait to be written, and those that wait for their
//! answers. Its callers and its driver share them.

use std::collections::VecDeque;
#[cfg(unix)]
use std::net::Shutdown;
#[cfg(unix)]
use std::os::fd::AsFd as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tokio::net::tcp;
#[cfg(unix)]
use tokio::net::unix;
use tokio::sync::oneshot;

/// A decoder of the bytes of a server.
pub(crate) trait Decode: Send + Unpin + 'static {
    /// The answer to requests that went together.
    type Answer: Send + Unpin + 'static;

    /// Takes the answer to `count` requests off `input`; `None` if not all of it has come. Then it
    /// is asked again about the same requests, with more after the same bytes.
    fn decode(&mut self, input: &mut BytesMut, count: usize)
    -> Result<Option<Self::Answer>, Ended>;
}

/// The reason for which a connection has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended(pub(crate) String);

/// The state that callers and the driver share.
pub(super) struct Shared<A> {
    queue: Mutex<Queue<A>>,
    direct: Option<Direct>,
}

/// The writing half of a socket, where callers may write.
pub(super) enum Direct {
    Tcp(tcp::OwnedWriteHalf),
    #[cfg(unix)]
    Unix(unix::OwnedWriteHalf),
}

/// Somebody who waits for an answer.
pub(super) struct Job<A> {
    /// The number of requests that are answered together.
    pub(super) count: usize,
    pub(super) to: oneshot::Sender<Result<A, Ended>>,
}

pub(super) struct Queue<A> {
    /// The rest of requests that are on their way.
    rest: Vec<u8>,
    /// Requests that are not on their way, and the lengths of each.
    bytes: Vec<u8>,
    waiting: Vec<(usize, Job<A>)>,
    /// With so many bytes, those of callers that have gone are looked for.
    crowded: usize,
    /// Those whose requests are on their way, in order.
    pub(super) sent: VecDeque<Job<A>>,
    /// The driver, while it sleeps.
    sleeping: Option<Waker>,
    /// A caller is writing.
    is_writing: bool,
    ended: Option<Ended>,
}

impl<A> Default for Queue<A> {
    fn default() -> Self {
        Self {
            rest: Vec::new(),
            bytes: Vec::new(),
            waiting: Vec::new(),
            crowded: KEPT,
            sent: VecDeque::new(),
            sleeping: None,
            is_writing: false,
            ended: None,
        }
    }
}

impl<A> Shared<A> {
    pub(super) fn new(direct: Option<Direct>) -> Self {
        Self { queue: Mutex::default(), direct }
    }

    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        self.queue().bytes.capacity()
    }

    #[cfg(test)]
    pub(super) fn has_ended(&self) -> bool {
        self.queue().ended.is_some()
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue<A>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn direct(&self) -> Option<&Direct> {
        self.direct.as_ref()
    }

    pub(super) fn send(&self, job: Job<A>, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Ended> {
        let mut queue = self.queue();
        if let Some(ended) = &queue.ended {
            return Err(ended.clone());
        }
        let before = queue.bytes.len();
        let mut request = Request { bytes: &mut queue.bytes, before, is_whole: false };
        write(request.bytes);
        request.is_whole = true;
        drop(request);
        if let Some(direct) = self.direct.as_ref().filter(|_| queue.is_idle()) {
            let bytes = std::mem::take(&mut queue.bytes);
            queue.sent.push_back(job);
            queue.is_writing = true;
            drop(queue);
            self.write(direct, bytes);
            return Ok(());
        }
        let length = queue.bytes.len() - before;
        queue.waiting.push((length, job));
        if queue.bytes.len() > queue.crowded {
            queue.forget_those_gone();
        }
        // A caller that writes wakes it afterwards.
        let driver = if queue.is_writing { None } else { queue.sleeping.take() };
        drop(queue);
        if let Some(driver) = driver {
            driver.wake();
        }
        Ok(())
    }

    /// Writes what may go at once. An error is left to the driver, which finds it too.
    fn write(&self, direct: &Direct, mut bytes: Vec<u8>) {
        let written = direct.try_write(&bytes).unwrap_or(0);
        let mut queue = self.queue();
        queue.is_writing = false;
        if written < bytes.len() {
            queue.rest = bytes.split_off(written);
        } else if queue.bytes.capacity() == 0 && bytes.capacity() <= KEPT {
            bytes.clear();
            queue.bytes = bytes;
        }
        let has_more = !queue.rest.is_empty() || !queue.waiting.is_empty();
        let driver = if has_more { queue.sleeping.take() } else { None };
        drop(queue);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// Nothing is answered any more.
    pub(super) fn end(&self, why: &Ended) {
        let mut queue = self.queue();
        if queue.ended.is_some() {
            return;
        }
        queue.ended = Some(why.clone());
        let sent = std::mem::take(&mut queue.sent);
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queue);
        for job in sent.into_iter().chain(waiting.into_iter().map(|(_, job)| job)) {
            // Who asked may have gone.
            let _ = job.to.send(Err(why.clone()));
        }
    }
}

/// A request that is being written. Of one that its caller could not write to the end, nothing is
/// left: it would be sent as the beginning of the next one.
struct Request<'b> {
    bytes: &'b mut Vec<u8>,
    before: usize,
    is_whole: bool,
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        if !self.is_whole {
            self.bytes.truncate(self.before);
        }
    }
}

/// A buffer that has grown beyond this is not kept.
pub(super) const KEPT: usize = 256 * 1024;

impl<A> Queue<A> {
    /// May a caller write? Then nothing is on its way, and the driver sleeps.
    pub(super) fn is_idle(&self) -> bool {
        self.sleeping.is_some()
            && !self.is_writing
            && self.sent.is_empty()
            && self.waiting.is_empty()
            && self.rest.is_empty()
    }

    /// Does nobody wait for an answer, and has it not ended?
    #[cfg(feature = "redis")]
    pub(super) fn is_unused(&self) -> bool {
        self.ended.is_none() && self.sent.is_empty() && self.waiting.is_empty()
    }

    /// Moves what is to be written into `output`, which is empty.
    pub(super) fn take_bytes(&mut self, output: &mut Vec<u8>) {
        self.sleeping = None;
        if self.is_writing {
            return;
        }
        self.crowded = KEPT;
        std::mem::swap(output, &mut self.rest);
        if output.is_empty() && self.waiting.iter().all(|(_, job)| !job.to.is_closed()) {
            std::mem::swap(output, &mut self.bytes);
            self.sent.extend(self.waiting.drain(..).map(|(_, job)| job));
            return;
        }
        let mut from = 0;
        for (length, job) in self.waiting.drain(..) {
            if !job.to.is_closed() {
                output.extend_from_slice(&self.bytes[from..from + length]);
                self.sent.push_back(job);
            }
            from += length;
        }
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
    }

    /// Drops the requests of callers that have gone: a server that reads nothing would have them
    /// all kept until its connection ends.
    fn forget_those_gone(&mut self) {
        let (mut from, mut to) = (0, 0);
        let bytes = &mut self.bytes;
        self.waiting.retain(|(length, job)| {
            let request = from..from + length;
            from = request.end;
            let is_kept = !job.to.is_closed();
            if is_kept {
                bytes.copy_within(request, to);
                to += length;
            }
            is_kept
        });
        bytes.truncate(to);
        self.crowded = KEPT.max(2 * to);
    }

    /// Is there something to write?
    pub(super) fn has_more(&self) -> bool {
        !self.is_writing && (!self.waiting.is_empty() || !self.rest.is_empty())
    }

    /// The driver sleeps from now on; not if there is something to write.
    pub(super) fn sleep(&mut self, driver: &Waker) -> bool {
        let sleeps = !self.has_more();
        if sleeps {
            self.sleeping = Some(driver.clone());
        }
        sleeps
    }

    /// The driver needs nobody to wake it.
    pub(super) fn stay_awake(&mut self) {
        self.sleeping = None;
    }
}

impl Direct {
    /// Ends the connection at once: the server would wait until somebody asks again, which is when
    /// the socket is closed.
    #[cfg(unix)]
    pub(super) fn shut(&self) {
        let socket = match self {
            Self::Tcp(half) => half.as_ref().as_fd(),
            Self::Unix(half) => half.as_ref().as_fd(),
        };
        // Whatever it fails of, the connection has ended.
        let shut = |socket| std::net::TcpStream::from(socket).shutdown(Shutdown::Both);
        let _ = socket.try_clone_to_owned().and_then(shut);
    }

    #[cfg(not(unix))]
    pub(super) fn shut(&self) {}

    pub(super) fn try_write(&self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(half) => half.try_write(bytes),
            #[cfg(unix)]
            Self::Unix(half) => half.try_write(bytes),
        }
    }

    pub(super) fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self {
            Self::Tcp(half) => half.as_ref().poll_write_ready(context),
            #[cfg(unix)]
            Self::Unix(half) => half.as_ref().poll_write_ready(context),
        }
    }
}
