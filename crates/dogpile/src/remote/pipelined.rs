//! One connection: many requests under way at a time, each answered in its turn.
//!
//! One task drives it. It writes what has come together since it last wrote, and gives what has
//! come to its waiters. A caller that finds the connection idle writes by itself: its request is
//! on the way before another thread could have woken for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, tcp};
#[cfg(unix)]
use tokio::net::{UnixStream, unix};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::driver::{Driver, Output};

/// A stream of bytes of any other kind, as one with TLS.
pub(crate) trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> ReadWrite for S {}

/// A stream of bytes to a server.
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "for TLS"))]
    Other(Box<dyn ReadWrite>),
}

#[cfg(feature = "memcached")]
impl Stream {
    pub(crate) fn as_any(&mut self) -> &mut dyn ReadWrite {
        match self {
            Self::Tcp(stream) => stream,
            #[cfg(unix)]
            Self::Unix(stream) => stream,
            Self::Other(stream) => &mut **stream,
        }
    }

    pub(crate) fn into_any(self) -> Box<dyn ReadWrite> {
        match self {
            Self::Tcp(stream) => Box::new(stream),
            #[cfg(unix)]
            Self::Unix(stream) => Box::new(stream),
            Self::Other(stream) => stream,
        }
    }
}

/// A decoder of the bytes of a server.
pub(crate) trait Decode: Send + Unpin + 'static {
    /// The answer to requests that went together.
    type Answer: Send + Unpin + 'static;

    /// Takes the answer to `count` requests off `input`; `None` if not all of it has come. Then it
    /// is asked again about the same requests, with more behind the same bytes.
    fn decode(&mut self, input: &mut BytesMut, count: usize)
    -> Result<Option<Self::Answer>, Ended>;
}

/// The reason for which a connection has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended(pub(crate) String);

/// A connection. Its driver ends with it, or when this is dropped.
pub(crate) struct Pipelined<A> {
    shared: Arc<Shared<A>>,
    driver: AbortHandle,
}

impl<A> Drop for Pipelined<A> {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl<A: Send + 'static> Pipelined<A> {
    /// Drives `stream` from the runtime that this is called on.
    pub(crate) fn new(stream: Stream, decoder: impl Decode<Answer = A>) -> Self {
        let (input, output, direct): (Box<dyn AsyncRead + Send + Unpin>, _, _) = match stream {
            Stream::Tcp(stream) => {
                let (input, output) = stream.into_split();
                (Box::new(input), None, Some(Direct::Tcp(output)))
            }
            #[cfg(unix)]
            Stream::Unix(stream) => {
                let (input, output) = stream.into_split();
                (Box::new(input), None, Some(Direct::Unix(output)))
            }
            Stream::Other(stream) => {
                let (input, output) = tokio::io::split(stream);
                (Box::new(input), Some(output), None)
            }
        };
        let shared = Arc::new(Shared { queue: Mutex::default(), direct });
        let output = match output {
            Some(output) => Output::Alone(Box::new(output)),
            None => Output::Shared,
        };
        let driver = tokio::spawn(Driver::new(shared.clone(), input, output, decoder));
        Self { shared, driver: driver.abort_handle() }
    }

    /// Sends `count` requests, which `write` puts into bytes, and returns the answer to them.
    ///
    /// When nobody waits for it any more before it is on its way, it is not sent: a claim that
    /// was given up could come after its release.
    pub(crate) async fn exchange(
        &self,
        count: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<A, Ended> {
        let (to, answered) = oneshot::channel();
        self.shared.send(Job { count, to }, write)?;
        answered.await.unwrap_or_else(|_| Err(Ended("the connection has ended".to_owned())))
    }
}

/// What callers and the driver share.
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
    /// What is left of requests that are on their way.
    rest: Vec<u8>,
    /// Requests that are not on their way, and the lengths of each.
    bytes: Vec<u8>,
    waiting: Vec<(usize, Job<A>)>,
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
            sent: VecDeque::new(),
            sleeping: None,
            is_writing: false,
            ended: None,
        }
    }
}

impl<A> Shared<A> {
    pub(super) fn queue(&self) -> MutexGuard<'_, Queue<A>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn direct(&self) -> Option<&Direct> {
        self.direct.as_ref()
    }

    fn send(&self, job: Job<A>, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Ended> {
        let mut queue = self.queue();
        if let Some(ended) = &queue.ended {
            return Err(ended.clone());
        }
        let before = queue.bytes.len();
        write(&mut queue.bytes);
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

/// A buffer that has grown beyond this is not kept.
pub(super) const KEPT: usize = 256 * 1024;

impl<A> Queue<A> {
    /// May a caller write? Then nothing is on its way, and the driver sleeps.
    fn is_idle(&self) -> bool {
        self.sleeping.is_some()
            && !self.is_writing
            && self.sent.is_empty()
            && self.waiting.is_empty()
            && self.rest.is_empty()
    }

    /// Moves what is to be written into `output`, which is empty.
    pub(super) fn take_bytes(&mut self, output: &mut Vec<u8>) {
        self.sleeping = None;
        if self.is_writing {
            return;
        }
        output.append(&mut self.rest);
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

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::io::{BufRead, BufReader, Write};
    use std::pin::{Pin, pin};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::task::Context;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf};
    use tokio::runtime::Runtime;

    use super::*;

    /// Each request is a line, and so is its answer.
    struct Lines;

    impl Decode for Lines {
        type Answer = String;

        fn decode(&mut self, input: &mut BytesMut, _: usize) -> Result<Option<String>, Ended> {
            let end = input.iter().position(|&byte| byte == b'\n');
            let line = end.map(|end| input.split_to(end + 1));
            Ok(line.map(|line| String::from_utf8_lossy(&line[..line.len() - 1]).into_owned()))
        }
    }

    type Connection = Arc<Pipelined<String>>;

    fn ask(
        connection: &Connection,
        text: &str,
    ) -> impl Future<Output = Result<String, Ended>> + use<> {
        let (connection, line) = (connection.clone(), format!("{text}\n"));
        async move { connection.exchange(1, |bytes| bytes.extend(line.as_bytes())).await }
    }

    fn one_worker() -> Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    /// A stream that counts how often it is written to.
    struct Counted(DuplexStream, Arc<AtomicUsize>);

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_read(context, into)
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<std::io::Result<usize>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut self.0).poll_write(context, bytes)
        }

        fn poll_flush(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(context)
        }

        fn poll_shutdown(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(context)
        }
    }

    fn counted() -> (Connection, DuplexStream, Arc<AtomicUsize>) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let writes = Arc::new(AtomicUsize::new(0));
        let stream = Stream::Other(Box::new(Counted(ours, writes.clone())));
        (Arc::new(Pipelined::new(stream, Lines)), theirs, writes)
    }

    #[test]
    fn what_comes_together_is_written_together_and_answered_in_order() {
        let asked = async {
            let (connection, mut server, writes) = counted();
            // The only worker is busy until all have been spawned.
            let tasks: Vec<_> =
                (0..64).map(|n| tokio::spawn(ask(&connection, &n.to_string()))).collect();
            let mut asked = vec![0; (0..64).map(|n: i32| n.to_string().len() + 1).sum()];
            server.read_exact(&mut asked).await.unwrap();
            assert!(writes.load(Ordering::Relaxed) <= 2, "{writes:?}");
            server.write_all(&asked).await.unwrap();
            for (n, task) in tasks.into_iter().enumerate() {
                assert_eq!(task.await.unwrap().unwrap(), n.to_string());
            }
        };
        let runtime = one_worker();
        runtime.block_on(runtime.spawn(asked)).unwrap();
    }

    #[test]
    fn what_nobody_waits_for_is_not_sent() {
        let asked = async {
            let (connection, mut server, _) = counted();
            {
                let mut dropped = pin!(ask(&connection, "dropped"));
                let polled = std::future::poll_fn(|context| {
                    Poll::Ready(dropped.as_mut().poll(context).is_ready())
                });
                assert!(!polled.await);
            }
            let kept = tokio::spawn(ask(&connection, "kept"));
            let mut asked = [0; 5];
            server.read_exact(&mut asked).await.unwrap();
            assert_eq!(&asked, b"kept\n");
            server.write_all(b"answer\n").await.unwrap();
            assert_eq!(kept.await.unwrap().unwrap(), "answer");
        };
        let runtime = one_worker();
        runtime.block_on(runtime.spawn(asked)).unwrap();
    }

    /// A connection on the runtime, and the server's end of it.
    fn over_tcp(runtime: &Runtime) -> (Connection, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stream = runtime.block_on(TcpStream::connect(address)).unwrap();
        let _inside = runtime.enter();
        let connection = Pipelined::new(Stream::Tcp(stream), Lines);
        (Arc::new(connection), listener.accept().unwrap().0)
    }

    #[test]
    fn a_lone_caller_writes_while_the_driver_cannot() {
        let runtime = one_worker();
        let (connection, mut server) = over_tcp(&runtime);
        while !connection.shared.queue().is_idle() {
            std::thread::yield_now();
        }
        let (free, blocked) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        runtime.spawn(async move {
            begun.send(()).unwrap();
            let _ = blocked.recv();
        });
        has_begun.recv().unwrap();
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| pollster::block_on(ask(&connection, "alone")));
            let mut asked = String::new();
            BufReader::new(&server).read_line(&mut asked).unwrap();
            assert_eq!(asked, "alone\n");
            drop(free);
            server.write_all(b"answer\n").unwrap();
            assert_eq!(asking.join().unwrap().unwrap(), "answer");
        });
    }

    #[test]
    fn what_is_too_much_for_one_write_arrives_too() {
        let runtime = one_worker();
        let (connection, server) = over_tcp(&runtime);
        let large = "x".repeat(10_000_000);
        std::thread::scope(|scope| {
            let answering = scope.spawn(|| {
                let mut reader = BufReader::new(&server);
                for _ in 0..2 {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    (&server).write_all(line.as_bytes()).unwrap();
                }
            });
            for _ in 0..2 {
                assert!(pollster::block_on(ask(&connection, &large)).unwrap() == large);
            }
            answering.join().unwrap();
        });
    }

    #[test]
    fn all_are_told_when_it_ends() {
        let runtime = one_worker();
        let (connection, server) = over_tcp(&runtime);
        let asking: Vec<_> = (0..3).map(|_| runtime.spawn(ask(&connection, "x"))).collect();
        BufReader::new(&server).read_line(&mut String::new()).unwrap();
        drop(server);
        for asking in asking {
            assert!(runtime.block_on(asking).unwrap().is_err());
        }
        assert!(pollster::block_on(ask(&connection, "later")).is_err());
    }

    #[test]
    fn all_are_told_when_the_runtime_ends() {
        let runtime = one_worker();
        let (connection, server) = over_tcp(&runtime);
        let asking = std::thread::spawn({
            let connection = connection.clone();
            move || pollster::block_on(ask(&connection, "x"))
        });
        BufReader::new(&server).read_line(&mut String::new()).unwrap();
        drop(runtime);
        assert!(asking.join().unwrap().is_err());
        assert!(pollster::block_on(ask(&connection, "later")).is_err());
    }

    #[test]
    fn an_answer_that_nobody_asked_for_ends_it() {
        let runtime = one_worker();
        let (connection, mut server) = over_tcp(&runtime);
        server.write_all(b"hello\n").unwrap();
        let told = || connection.shared.queue().ended.is_some();
        while !told() {
            std::thread::yield_now();
        }
        assert!(pollster::block_on(ask(&connection, "x")).is_err());
    }
}
