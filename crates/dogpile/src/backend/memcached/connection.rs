//! One connection: many requests under way at a time, each answered in its
//! turn.
//!
//! Two tasks drive it. One writes what has come together since it last wrote,
//! the other reads. They end with the connection, or when it is dropped.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::protocol::{Number, Protocol, ProtocolError, Reply, Request};
use crate::remote::link::Probe;

/// A stream of bytes to a server.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// A connection.
pub(super) struct Connection {
    protocol: Protocol,
    /// It was made as the so many'th.
    number: u64,
    jobs: mpsc::UnboundedSender<Job>,
    tasks: [AbortHandle; 2],
}

/// The number of connections that this process has made, to any server.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// Requests that go together.
struct Job {
    bytes: Vec<u8>,
    answer: Answer,
}

/// The receivers of some answers.
struct Answer {
    missing: usize,
    replies: Vec<Reply>,
    to: oneshot::Sender<Result<Vec<Reply>, ProtocolError>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Connection {
    /// Drives `stream`, which is logged in, from the runtime that this is called
    /// on.
    pub(super) fn new(stream: Box<dyn Stream>, protocol: Protocol) -> Self {
        let (input, output) = tokio::io::split(stream);
        let (jobs, to_do) = mpsc::unbounded_channel();
        let (sent, answers) = mpsc::unbounded_channel();
        let writer = tokio::spawn(write(output, to_do, sent)).abort_handle();
        let reader = tokio::spawn(read(input, answers, protocol)).abort_handle();
        let number = CONNECTIONS.fetch_add(1, Ordering::SeqCst) + 1;
        Self { protocol, number, jobs, tasks: [writer, reader] }
    }

    /// The answers to `requests`, in their order; an error if the connection
    /// has ended. Those about a number that is not [good](Number::is_good_for) here are refused.
    pub(super) async fn send(&self, requests: &[Request<'_>]) -> Result<Vec<Reply>, ProtocolError> {
        let connections = CONNECTIONS.load(Ordering::SeqCst);
        let is_good = |number: Number| number.is_good_for(self.number);
        let is_sent = |request: &Request<'_>| request.number().is_none_or(is_good);
        let (mut bytes, mut missing) = (Vec::new(), 0);
        for request in requests.iter().filter(|request| is_sent(request)) {
            self.protocol.write(request, &mut bytes);
            missing += 1;
        }
        let answers = if missing > 0 { self.exchange(bytes, missing).await? } else { Vec::new() };
        let mut answers = answers.into_iter().map(|reply| reply.asked_among(connections));
        let reply = |request| if is_sent(request) { answers.next() } else { Some(Reply::Refused) };
        Ok(requests.iter().filter_map(reply).collect())
    }

    /// The `missing` answers to what is written in `bytes`.
    async fn exchange(&self, bytes: Vec<u8>, missing: usize) -> Result<Vec<Reply>, ProtocolError> {
        let (to, answered) = oneshot::channel();
        let answer = Answer { missing, replies: Vec::with_capacity(missing), to };
        let ended = || ProtocolError("the connection has ended".to_owned());
        self.jobs.send(Job { bytes, answer }).map_err(|_| ended())?;
        answered.await.unwrap_or_else(|_| Err(ended()))
    }
}

impl Probe for Connection {
    fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.jobs.closed())
    }
}

/// The greatest number of bytes written at once, about.
const TOGETHER: usize = 64 * 1024;

async fn write(
    mut output: WriteHalf<Box<dyn Stream>>,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    sent: mpsc::UnboundedSender<Answer>,
) {
    while let Some(job) = jobs.recv().await {
        let (mut bytes, mut told) = (Vec::new(), true);
        let mut next = Some(job);
        while let Some(job) = next {
            // What nobody waits for any more is better not sent: a claim that was given
            // up could come after its release.
            if !job.answer.to.is_closed() {
                bytes.extend_from_slice(&job.bytes);
                told &= sent.send(job.answer).is_ok();
            }
            next = if bytes.len() < TOGETHER { jobs.try_recv().ok() } else { None };
        }
        let written = async {
            output.write_all(&bytes).await?;
            output.flush().await
        };
        if !told || (!bytes.is_empty() && written.await.is_err()) {
            return;
        }
    }
}

async fn read(
    mut input: ReadHalf<Box<dyn Stream>>,
    mut answers: mpsc::UnboundedReceiver<Answer>,
    protocol: Protocol,
) {
    let mut buffer = BytesMut::new();
    let mut waiting = VecDeque::new();
    let why = loop {
        buffer.reserve(4 * 1024);
        match input.read_buf(&mut buffer).await {
            Ok(0) => break ProtocolError("the server has closed the connection".to_owned()),
            Ok(_) => {}
            Err(error) => break ProtocolError(error.to_string()),
        }
        while let Ok(answer) = answers.try_recv() {
            waiting.push_back(answer);
        }
        if let Err(broken) = answer(&mut buffer, &mut waiting, protocol) {
            break broken;
        }
    };
    answers.close();
    while let Ok(answer) = answers.try_recv() {
        waiting.push_back(answer);
    }
    for answer in waiting {
        let _ = answer.to.send(Err(why.clone()));
    }
}

/// Gives what has come to its waiters.
fn answer(
    buffer: &mut BytesMut,
    waiting: &mut VecDeque<Answer>,
    protocol: Protocol,
) -> Result<(), ProtocolError> {
    while let Some(reply) = protocol.read(buffer)? {
        let first = waiting.front_mut();
        let first =
            first.ok_or_else(|| ProtocolError("an answer that nobody asked for".to_owned()))?;
        first.replies.push(reply);
        if first.replies.len() == first.missing
            && let Some(done) = waiting.pop_front()
        {
            // Who asked may have gone.
            let _ = done.to.send(Ok(done.replies));
        }
    }
    Ok(())
}
