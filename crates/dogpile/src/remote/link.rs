//! A connection that is kept alive.
//!
//! A task on the I/O thread connects, and connects again when the connection is
//! lost. While it is down, callers fail at once instead of waiting: only those
//! who found out that it is down have paid for it (design: one time-out for
//! the first caller, nothing for the rest).

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::given_up::GivenUp;
use super::io::{self, AbortOnDrop};
use super::random_share;
use super::timer::Timers;
use crate::backend::BackendError;
use crate::log;

/// Makes a connection; an error says why there is none.
pub(crate) type Connect<W> = Box<dyn Fn() -> Connecting<W> + Send + Sync>;

type Connecting<W> = Pin<Box<dyn Future<Output = Result<Arc<W>, String>> + Send>>;

/// A connection that can say when a request will not be answered any more.
pub(crate) trait Probe: Send + Sync {
    /// Ends once it is certain that what was sent before this call has no answer left to
    /// come; never, if that cannot be told.
    ///
    /// A request that is handed over while its connection ends can fall between the two:
    /// nobody reads it, and nobody says so.
    fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The time limits of a connection's work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) connect: Duration,
    pub(crate) response: Duration,
    /// The longest pause between two attempts to connect.
    pub(crate) retry: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            response: Duration::from_secs(1),
            // What a process owes a server is paid within a second of its return.
            retry: Duration::from_secs(1),
        }
    }
}

/// A connection of type `W` to one place, lost and found. Clones share it.
pub(crate) struct Link<W: ?Sized>(Arc<Inner<W>>);

impl<W: ?Sized> Clone for Link<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The driver of a link's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    /// The runtime of the first caller, if it has threads of its own: an answer that need
    /// not change threads is quicker. When that runtime ends, the I/O thread takes over.
    Caller,
    /// The I/O thread: for what must go on while callers block their threads.
    IoThread,
}

struct Inner<W: ?Sized> {
    name: String,
    limits: Limits,
    driver: Driver,
    connect: Connect<W>,
    /// Set when the first caller comes.
    started: OnceLock<Started<W>>,
}

struct Started<W: ?Sized> {
    timers: Timers,
    state: watch::Receiver<State<W>>,
    lost: watch::Sender<Loss>,
    given_up: GivenUp,
}

/// The last connection that is known to be lost.
#[derive(Clone, Copy, Default)]
struct Loss {
    number: u64,
    /// Its server said nothing. That it accepts another connection is no reason to wait.
    is_silent: bool,
}

enum State<W: ?Sized> {
    /// For the first time, or after a connection that worked: worth waiting.
    Connecting,
    Up {
        connection: Arc<W>,
        number: u64,
    },
    /// The last attempt failed; the next one is under way or planned.
    Down(Arc<str>),
}

/// A request that takes longer may be lost: its connection is asked.
const SUSPICIOUS: Duration = Duration::from_millis(100);

/// Between attempts: at first.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Why a request has no answer.
pub(crate) enum Lost {
    /// Its connection ended. Another may be better.
    Dropped(BackendError),
    Error(BackendError),
}

impl Lost {
    fn into_fault(self) -> BackendError {
        match self {
            Self::Dropped(error) | Self::Error(error) => error,
        }
    }
}

impl From<BackendError> for Lost {
    fn from(error: BackendError) -> Self {
        Self::Error(error)
    }
}

impl<W: ?Sized + Probe + 'static> Link<W> {
    /// A link called `name` in messages. Nothing is connected before the first
    /// call.
    pub(crate) fn new(name: String, limits: Limits, driver: Driver, connect: Connect<W>) -> Self {
        Self(Arc::new(Inner { name, limits, driver, connect, started: OnceLock::new() }))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// Sends something over the connection. What was lost with it is sent once
    /// more, so it must be something that may be carried out twice.
    pub(crate) fn request<T, F>(
        &self,
        send: impl Fn(Arc<W>) -> F,
    ) -> impl Future<Output = Result<T, BackendError>>
    where
        F: Future<Output = Result<T, Lost>>,
    {
        self.request_within(self.0.limits.response, send)
    }

    /// The same for what has another limit than most.
    pub(crate) async fn request_within<T, F>(
        &self,
        limit: Duration,
        send: impl Fn(Arc<W>) -> F,
    ) -> Result<T, BackendError>
    where
        F: Future<Output = Result<T, Lost>>,
    {
        match self.once(limit, &send).await {
            Err(Lost::Dropped(_)) => self.once(limit, &send).await.map_err(Lost::into_fault),
            other => other.map_err(Lost::into_fault),
        }
    }

    /// Returns the time limit of a request that moves `bytes`: a megabyte a second at least.
    #[cfg(feature = "redis")]
    pub(crate) fn limit_of(&self, bytes: usize) -> Duration {
        let transfer = Duration::from_micros(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.0.limits.response.saturating_add(transfer)
    }

    async fn once<T, F>(&self, limit: Duration, send: impl Fn(Arc<W>) -> F) -> Result<T, Lost>
    where
        F: Future<Output = Result<T, Lost>>,
    {
        let started = self.started()?;
        let (connection, number) = self.connection(started).await?;
        let sent = send(connection.clone());
        let waiting = Waiting { started, number, limit };
        let answer = self.answer(started.timers, limit, &*connection, sent).await;
        waiting.end();
        let Some(answer) = answer else {
            started.lose(Loss { number, is_silent: true });
            let message = format!("{} did not answer within {limit:?}", self.0.name);
            return Err(Lost::Error(BackendError::unavailable(message)));
        };
        if matches!(answer, Err(Lost::Dropped(_))) {
            started.lose(Loss { number, is_silent: false });
        }
        answer
    }

    /// Returns the result of `sent` within `limit`, or that it is lost.
    async fn answer<T>(
        &self,
        timers: Timers,
        limit: Duration,
        connection: &W,
        sent: impl Future<Output = Result<T, Lost>>,
    ) -> Option<Result<T, Lost>> {
        let mut sent = pin!(sent);
        let soon = limit.min(SUSPICIOUS);
        if let Some(answer) = timers.within(soon, &mut sent).await {
            return Some(answer);
        }
        let later = limit.saturating_sub(soon);
        let answered = timers.within(later, select(sent, connection.lost())).await;
        answered.map(|answered| match answered {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => {
                let message = format!("{} ended a connection in the middle", self.0.name);
                Err(Lost::Dropped(BackendError::unavailable(message)))
            }
        })
    }

    /// The connection, waiting for it where that is promising.
    async fn connection(&self, started: &Started<W>) -> Result<(Arc<W>, u64), Lost> {
        let lost = started.lost.borrow().number;
        // Mostly there is one.
        if let State::Up { connection, number } = &*started.state.borrow()
            && *number > lost
        {
            return Ok((connection.clone(), *number));
        }
        let mut state = started.state.clone();
        let settled = state.wait_for(|state| match state {
            State::Connecting => false,
            // Known to be lost, but not cleared away yet.
            State::Up { number, .. } => *number > lost,
            State::Down(_) => true,
        });
        // The attempt has a limit of its own; this one is for a thread that
        // does not get to it.
        let limit = self.0.limits.connect.saturating_mul(2);
        let settled = started.timers.within(limit, settled).await;
        match settled.and_then(Result::ok).as_deref() {
            Some(State::Up { connection, number }) => Ok((connection.clone(), *number)),
            Some(State::Down(why)) => {
                let message = format!("{} is down: {why}", self.0.name);
                Err(Lost::Error(BackendError::unavailable(message)))
            }
            Some(State::Connecting) | None => {
                let message = format!("{} cannot be connected to", self.0.name);
                Err(Lost::Error(BackendError::unavailable(message)))
            }
        }
    }

    fn started(&self) -> Result<&Started<W>, BackendError> {
        if let Some(started) = self.0.started.get() {
            return Ok(started);
        }
        let (state, watched) = watch::channel(State::Connecting);
        let (lost, losses) = watch::channel(Loss::default());
        let home = match self.0.driver {
            Driver::Caller => io::home_of_caller(),
            Driver::IoThread => None,
        };
        let keep = keep_alive(Arc::downgrade(&self.0), home, state, losses);
        let timers = Timers::of_this_process()?;
        let started = self.0.started.get_or_init(|| Started {
            timers,
            state: watched,
            lost,
            given_up: GivenUp::default(),
        });
        // If another caller was faster, this task finds its channel closed and
        // ends.
        io::spawn(keep)?;
        Ok(started)
    }
}

impl<W: ?Sized> Started<W> {
    fn lose(&self, loss: Loss) {
        self.lost.send_if_modified(|lost| {
            let is_news = lost.number < loss.number;
            if is_news {
                *lost = loss;
            }
            is_news
        });
    }
}

/// A caller that waits for an answer. If it gives up, this is dropped.
struct Waiting<'s, W: ?Sized> {
    started: &'s Started<W>,
    number: u64,
    limit: Duration,
}

impl<W: ?Sized> Waiting<'_, W> {
    fn end(self) {
        self.started.given_up.note_answer();
        std::mem::forget(self);
    }
}

impl<W: ?Sized> Drop for Waiting<'_, W> {
    fn drop(&mut self) {
        let Self { started, number, limit } = *self;
        if started.given_up.note(number, Instant::now(), limit) {
            started.lose(Loss { number, is_silent: false });
        }
    }
}

/// Connects, waits for the loss of the connection, connects again; as long as
/// the link is there.
///
/// Connections are driven at `home`, or by the I/O thread if there is none.
async fn keep_alive<W: ?Sized + Probe + 'static>(
    link: std::sync::Weak<Inner<W>>,
    mut home: Option<Handle>,
    state: watch::Sender<State<W>>,
    mut losses: watch::Receiver<Loss>,
) {
    let (mut number, mut failures) = (0, 0);
    while let Some(inner) = link.upgrade() {
        let (connecting, limits, name) = ((inner.connect)(), inner.limits, inner.name.clone());
        // Nobody waits for an attempt whose link is dropped.
        drop(inner);
        let attempt = attempt(connecting, home.as_ref(), limits.connect);
        let why = match unless_dropped(&mut losses, attempt).await {
            None => return,
            Some(Err(Missed::HomeEnded)) => {
                home = None;
                continue;
            }
            Some(Ok(connection)) => {
                if failures > 0 {
                    log::server_found(&name, failures);
                }
                (number, failures) = (number + 1, 0);
                state.send_replace(State::Up { connection, number });
                let lost = losses.wait_for(|lost| lost.number >= number).await.map(|lost| *lost);
                let Ok(Loss { is_silent, .. }) = lost else { return };
                state.send_replace(if is_silent {
                    State::Down("it did not answer".into())
                } else {
                    State::Connecting
                });
                continue;
            }
            Some(Err(Missed::Failed(why))) => why,
        };
        let pause = pause_after(failures, limits.retry);
        if failures == 0 {
            log::server_lost(&name, &why);
        }
        state.send_replace(State::Down(why.into()));
        failures += 1;
        if unless_dropped(&mut losses, tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// Why an attempt to connect led to nothing.
enum Missed {
    /// The runtime that was to drive the connection is gone.
    HomeEnded,
    Failed(String),
}

/// One attempt to connect. Nothing is left of it when it takes too long, or when this is
/// dropped.
async fn attempt<W: ?Sized + Send + Sync + 'static>(
    connecting: Connecting<W>,
    home: Option<&Handle>,
    limit: Duration,
) -> Result<Arc<W>, Missed> {
    let connected = match home {
        None => tokio::time::timeout(limit, connecting).await,
        Some(runtime) => {
            let there = AbortOnDrop(runtime.spawn(connecting));
            match tokio::time::timeout(limit, there).await {
                Ok(Ok(connected)) => Ok(connected),
                Ok(Err(_ended)) => return Err(Missed::HomeEnded),
                Err(late) => Err(late),
            }
        }
    };
    match connected {
        Ok(connected) => connected.map_err(Missed::Failed),
        Err(_) => Err(Missed::Failed(format!("no connection within {limit:?}"))),
    }
}

/// Awaits `work`, unless the link is dropped before: then nobody tells of losses.
async fn unless_dropped<F: Future>(
    losses: &mut watch::Receiver<Loss>,
    work: F,
) -> Option<F::Output> {
    let dropped = pin!(losses.wait_for(|_| false));
    match select(dropped, pin!(work)).await {
        Either::Left(_) => None,
        Either::Right((done, _)) => Some(done),
    }
}

/// Twice as long after each failure, and never at the same moment as others.
pub(crate) fn pause_after(failures: u32, longest: Duration) -> Duration {
    let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(longest);
    pause.mul_f64(0.5 + 0.5 * random_share())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// The first connection swallows what it is given, and is known to have ended.
    struct Swallows(bool);

    impl Probe for Swallows {
        fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(std::future::ready(()))
        }
    }

    #[test]
    fn a_request_that_fell_between_is_sent_again() {
        let connections = AtomicUsize::new(0);
        let connect = move || {
            let first = connections.fetch_add(1, Ordering::SeqCst) == 0;
            Box::pin(async move { Ok(Arc::new(Swallows(first))) }) as Pin<Box<_>>
        };
        let limits = Limits { response: Duration::from_secs(3_600), ..Limits::default() };
        let link = Link::new("test".to_owned(), limits, Driver::Caller, Box::new(connect));
        let ask = |connection: Arc<Swallows>| async move {
            if connection.0 { std::future::pending().await } else { Ok(7) }
        };
        assert_eq!(pollster::block_on(link.request(ask)).unwrap(), 7);
    }

    struct Never;

    impl Probe for Never {
        fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(std::future::pending())
        }
    }

    /// A link to a server that takes connections and says nothing: how many attempts were
    /// made, and a reference that each has until its end.
    fn silent(limits: Limits) -> (Link<Never>, Arc<AtomicUsize>, Arc<()>) {
        let (attempts, alive) = (Arc::new(AtomicUsize::new(0)), Arc::new(()));
        let (counted, held) = (attempts.clone(), alive.clone());
        let connect = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            let held = held.clone();
            let connecting = async move {
                std::future::pending::<()>().await;
                drop(held);
                Err(String::new())
            };
            Box::pin(connecting) as Pin<Box<_>>
        };
        let link = Link::new("silent".to_owned(), limits, Driver::Caller, Box::new(connect));
        (link, attempts, alive)
    }

    async fn ask(link: &Link<Never>) -> Result<u32, BackendError> {
        link.request(|_| std::future::pending::<Result<u32, Lost>>()).await
    }

    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_attempt_to_connect_that_takes_too_long_is_ended() {
        let short = Duration::from_millis(1);
        let (link, attempts, alive) =
            silent(Limits { connect: short, retry: short, ..Limits::default() });
        ask(&link).await.unwrap_err();
        until(|| attempts.load(Ordering::SeqCst) >= 20).await;
        // One may be going on now, and one may be about to end.
        let left = Arc::strong_count(&alive) - 2;
        assert!(left <= 2, "{left} of 20 attempts go on");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_attempt_to_connect_ends_with_its_link() {
        let long = Duration::from_secs(3_600);
        let (link, attempts, alive) = silent(Limits { connect: long, ..Limits::default() });
        let asking = tokio::spawn(async move { ask(&link).await });
        until(|| attempts.load(Ordering::SeqCst) == 1).await;
        asking.abort();
        let ended = until(|| Arc::strong_count(&alive) == 1);
        tokio::time::timeout(Duration::from_secs(30), ended).await.expect("it goes on");
    }
}
