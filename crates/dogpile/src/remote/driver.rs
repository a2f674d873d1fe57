//! The task that drives a connection: it writes, reads, and gives answers to their waiters.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::oneshot;

use super::queue::{Decode, Ended, KEPT, Shared};

/// The way out of the driver.
pub(super) enum Output {
    /// The socket that callers write to as well.
    Shared,
    Alone(Box<dyn AsyncWrite + Send + Unpin>),
}

type Answered<A> = (oneshot::Sender<Result<A, Ended>>, A);

/// The driver of a connection; done when that has ended.
pub(super) struct Driver<D: Decode> {
    shared: Arc<Shared<D::Answer>>,
    decoder: D,
    input: Input,
    output: Output,
    /// The bytes that are being written, and how many of them are.
    bytes: Vec<u8>,
    written: usize,
    is_flushed: bool,
    /// Others had their turn since it last wrote.
    has_waited: bool,
    /// Kept for its room.
    answered: Vec<Answered<D::Answer>>,
}

struct Input {
    stream: Box<dyn AsyncRead + Send + Unpin>,
    bytes: BytesMut,
}

/// The room for what comes at once.
const ROOM: usize = 32 * 1024;

/// So much of a reason is shown.
const LONGEST_REASON: usize = 200;

impl<D: Decode> Driver<D> {
    pub(super) fn new(
        shared: Arc<Shared<D::Answer>>,
        stream: Box<dyn AsyncRead + Send + Unpin>,
        output: Output,
        decoder: D,
    ) -> Self {
        Self {
            shared,
            decoder,
            input: Input { stream, bytes: BytesMut::new() },
            output,
            bytes: Vec::new(),
            written: 0,
            is_flushed: true,
            has_waited: false,
            answered: Vec::new(),
        }
    }

    /// Works until there is nothing to do; ends with the connection.
    fn work(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        loop {
            let answered = match self.read(context) {
                Ok(answered) => answered,
                Err(ended) => return Poll::Ready(ended),
            };
            let has_waited = std::mem::take(&mut self.has_waited);
            if !has_waited && (answered > 1 || self.shared.queue().has_more()) {
                // Others are about to ask too, as those who have just got their answers. What
                // all of them ask is written at once.
                self.has_waited = true;
                // Any worker may go on: `yield_now` would leave that to this one, which
                // somebody's code may block.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Err(error) = ready!(self.write(context)) {
                return Poll::Ready(Ended(error.to_string()));
            }
            if self.shared.queue().sleep(context.waker()) {
                return Poll::Pending;
            }
        }
    }

    /// Writes all that there is.
    fn write(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        loop {
            if self.written == self.bytes.len() {
                self.bytes.clear();
                self.bytes.shrink_to(KEPT);
                self.written = 0;
                self.shared.queue().take_bytes(&mut self.bytes);
            }
            if self.bytes.is_empty() {
                return self.flush(context);
            }
            let written = ready!(self.write_some(context))?;
            if written == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
            self.is_flushed = false;
        }
    }

    fn write_some(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let bytes = &self.bytes[self.written..];
        let direct = match &mut self.output {
            Output::Alone(stream) => return Pin::new(stream).poll_write(context, bytes),
            Output::Shared => self.shared.direct(),
        };
        let Some(direct) = direct else { return Poll::Ready(Ok(0)) };
        loop {
            match direct.try_write(bytes) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    ready!(direct.poll_write_ready(context))?;
                }
                done => return Poll::Ready(done),
            }
        }
    }

    fn flush(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if let Output::Alone(stream) = &mut self.output
            && !self.is_flushed
        {
            ready!(Pin::new(stream).poll_flush(context))?;
        }
        self.is_flushed = true;
        Poll::Ready(Ok(()))
    }

    /// Gives what has come to its waiters; returns how many they are.
    fn read(&mut self, context: &mut Context<'_>) -> Result<usize, Ended> {
        let mut answered = 0;
        while let Poll::Ready(read) = self.input.poll_read(context) {
            match read {
                Ok(0) => return Err(self.input.ended("the server has closed the connection")),
                Ok(_) => answered += self.answer()?,
                Err(error) => return Err(self.input.ended(&error.to_string())),
            }
        }
        Ok(answered)
    }

    fn answer(&mut self) -> Result<usize, Ended> {
        let input = &mut self.input.bytes;
        let is_large = input.len() > KEPT;
        let mut queue = self.shared.queue();
        while let Some(first) = queue.sent.front() {
            let Some(answer) = self.decoder.decode(input, first.count)? else { break };
            if let Some(job) = queue.sent.pop_front() {
                self.answered.push((job.to, answer));
            }
        }
        if queue.sent.is_empty() && !input.is_empty() {
            return Err(self.input.ended("protocol error: a response that nobody asked for"));
        }
        if is_large && input.len() <= KEPT {
            // The room of a large answer ends with it.
            *input = BytesMut::from(&input[..]);
        }
        let count = self.answered.len();
        if count > 1 {
            queue.stay_awake();
        }
        drop(queue);
        for (to, answer) in self.answered.drain(..) {
            // Who asked may have gone.
            let _ = to.send(Ok(answer));
        }
        Ok(count)
    }
}

impl Input {
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        self.bytes.reserve(ROOM);
        pin!(self.stream.read_buf(&mut self.bytes)).poll(context)
    }

    /// The end for the reason `why`, or for that which the server has said: one with too many clients
    /// says so before anything is asked, and closes.
    fn ended(&self, why: &str) -> Ended {
        let line = self.bytes[..].split(|byte| b"\r\n".contains(byte)).next().unwrap_or_default();
        let line = String::from_utf8_lossy(&line[..line.len().min(LONGEST_REASON)]);
        let is_error = ["-", "ERROR", "SERVER_ERROR"].iter().any(|start| line.starts_with(start));
        // What repeats a request may repeat a password.
        let is_fit = is_error && !line.contains("with args");
        let said = line.trim_start_matches('-');
        Ended(if is_fit { format!("the server ends the connection: {said}") } else { why.into() })
    }
}

impl<D: Decode> Future for Driver<D> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let ended = ready!(self.work(context));
        self.shared.end(&ended);
        if let Some(direct) = self.shared.direct() {
            direct.shut();
        }
        Poll::Ready(())
    }
}

/// Its runtime may end before the connection does.
impl<D: Decode> Drop for Driver<D> {
    fn drop(&mut self) {
        self.shared.end(&Ended("the connection has ended".to_owned()));
    }
}
