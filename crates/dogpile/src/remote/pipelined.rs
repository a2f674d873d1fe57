//! One connection: many requests under way at a time, each answered in its turn.
//!
//! One task drives it. It writes what has come together since it last wrote, and gives what has
//! come to its waiters. A caller that finds the connection idle writes by itself: its request is
//! on the way before another thread could have woken for it.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::driver::{Driver, Output};
pub(crate) use super::queue::{Decode, Ended};
use super::queue::{Direct, Job, Shared};

/// A stream of bytes of any other kind, as one with TLS.
pub(crate) trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> ReadWrite for S {}

/// A stream of bytes to a server.
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    #[cfg_attr(not(any(feature = "tls", test)), expect(dead_code, reason = "for TLS"))]
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
        let shared = Arc::new(Shared::new(direct));
        let output = match output {
            Some(output) => Output::Alone(Box::new(output)),
            None => Output::Shared,
        };
        let driver = tokio::spawn(Driver::new(shared.clone(), input, output, decoder));
        Self { shared, driver: driver.abort_handle() }
    }

    /// Does nobody wait for an answer?
    #[cfg(feature = "redis")]
    pub(crate) fn is_unused(&self) -> bool {
        self.shared.queue().is_unused()
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

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::io::{BufRead, BufReader, Write};
    use std::pin::{Pin, pin};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::task::{Context, Poll, Waker};

    use bytes::BytesMut;
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
        let asking = ask(&connection, "alone");
        let asking = std::thread::spawn(move || pollster::block_on(asking));
        let mut asked = String::new();
        server.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        let read = BufReader::new(&server).read_line(&mut asked);
        drop(free);
        assert!(read.is_ok() && asked == "alone\n", "{read:?}");
        server.write_all(b"answer\n").unwrap();
        assert_eq!(asking.join().unwrap().unwrap(), "answer");
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
    fn nothing_is_left_of_a_request_that_was_not_written_to_its_end() {
        let runtime = one_worker();
        let (connection, mut server) = over_tcp(&runtime);
        let half = connection.exchange(1, |bytes| {
            bytes.extend(b"half");
            panic!("while it writes");
        });
        let half = std::panic::AssertUnwindSafe(half);
        assert!(std::panic::catch_unwind(|| pollster::block_on({ half }.0)).is_err());
        let asking = runtime.spawn(ask(&connection, "whole"));
        let mut asked = String::new();
        BufReader::new(&server).read_line(&mut asked).unwrap();
        assert_eq!(asked, "whole\n");
        server.write_all(b"answer\n").unwrap();
        assert_eq!(runtime.block_on(asking).unwrap().unwrap(), "answer");
    }

    fn poll_once(asking: Pin<&mut impl Future>) {
        assert!(asking.poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }

    #[test]
    fn those_who_have_gone_leave_nothing_while_a_server_reads_nothing() {
        let runtime = one_worker();
        let (connection, server) = over_tcp(&runtime);
        let (most, large) = ("x".repeat(20_000_000), "y".repeat(100_000));
        let mut stuck = pin!(ask(&connection, &most));
        poll_once(stuck.as_mut());
        let mut kept = pin!(ask(&connection, "kept"));
        for round in 0..1_000 {
            poll_once(pin!(ask(&connection, &large)));
            if round == 500 {
                poll_once(kept.as_mut());
            }
        }
        assert!(connection.shared.kept_bytes() < 20 * large.len());
        let mut reader = BufReader::new(&server);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.trim_end() == most);
        (&server).write_all(b"first\n").unwrap();
        assert_eq!(pollster::block_on(stuck).unwrap(), "first");
        loop {
            line.clear();
            reader.read_line(&mut line).unwrap();
            (&server).write_all(line.as_bytes()).unwrap();
            if line == "kept\n" {
                break;
            }
            assert!(line.trim_end() == large);
        }
        assert_eq!(pollster::block_on(kept).unwrap(), "kept");
    }

    /// Notes the room of what it reads from.
    struct Roomy(Arc<AtomicUsize>);

    impl Decode for Roomy {
        type Answer = String;

        fn decode(&mut self, input: &mut BytesMut, count: usize) -> Result<Option<String>, Ended> {
            self.0.store(input.capacity(), Ordering::Relaxed);
            Lines.decode(input, count)
        }
    }

    #[test]
    fn the_room_of_a_large_answer_ends_with_it() {
        let runtime = one_worker();
        let (ours, server) = tokio::io::duplex(64 * 1024);
        let room = Arc::new(AtomicUsize::new(0));
        let decoder = Roomy(room.clone());
        let inside = runtime.enter();
        let connection = Arc::new(Pipelined::new(Stream::Other(Box::new(ours)), decoder));
        drop(inside);
        let large = "x".repeat(10_000_000);
        runtime.spawn(async move {
            let (mut input, mut output) = tokio::io::split(server);
            tokio::io::copy(&mut input, &mut output).await
        });
        assert!(runtime.block_on(ask(&connection, &large)).unwrap() == large);
        assert_eq!(runtime.block_on(ask(&connection, "small")).unwrap(), "small");
        assert!(room.load(Ordering::Relaxed) < 1_000_000, "{room:?}");
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
    fn a_server_that_ends_it_says_why() {
        let runtime = one_worker();
        for (said, why) in [
            ("-ERR max number of clients reached\r\n", "max number of clients reached"),
            ("-DENIED protected mode", "DENIED protected mode"),
            ("-ERR unknown command 'AUTH', with args beginning with: 'x'", "has closed"),
            ("$7\r\nsecret", "nobody asked for"),
        ] {
            let (connection, mut server) = over_tcp(&runtime);
            // The answer to this one never comes whole.
            let asking = (!said.ends_with('\n') && !said.starts_with('$')).then(|| {
                let asking = runtime.spawn(ask(&connection, "x"));
                BufReader::new(&server).read_line(&mut String::new()).unwrap();
                asking
            });
            server.write_all(said.as_bytes()).unwrap();
            drop(server);
            while !connection.shared.has_ended() {
                std::thread::yield_now();
            }
            let asking = asking.unwrap_or_else(|| runtime.spawn(ask(&connection, "x")));
            let Ended(found) = runtime.block_on(asking).unwrap().unwrap_err();
            assert!(found.contains(why), "{said}: {found}");
        }
    }

    #[test]
    fn an_answer_that_nobody_asked_for_ends_it_for_the_server_too() {
        let runtime = one_worker();
        let (connection, mut server) = over_tcp(&runtime);
        server.write_all(b"hello\n").unwrap();
        server.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        assert_eq!(std::io::Read::read(&mut server, &mut [0]).unwrap(), 0);
        assert!(connection.shared.has_ended());
        assert!(pollster::block_on(ask(&connection, "x")).is_err());
    }
}
