//! A second connection, for a caller that blocks its thread and is alone. It writes its request and
//! waits for the answer by itself, so that the answer wakes one thread. Over the first connection it
//! wakes the thread of the driver, which wakes that of the caller.
//!
//! It is for requests that change nothing. What fails here, or is not answered in a moment, is asked
//! again over the first connection. That one has the time limits and reconnects: this one needs neither.

use std::io::{self, Read, Write};
use std::net::{self, Shutdown, SocketAddr};
#[cfg(unix)]
use std::os::fd::OwnedFd;
#[cfg(unix)]
use std::path::PathBuf;
#[cfg(unix)]
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
#[cfg(unix)]
use tokio::net::UnixStream;

#[cfg(unix)]
use super::io::handle;
use super::pipelined::{Decode, Stream};
#[cfg(unix)]
use crate::bridge::park_until_done;

/// A caller waits for so long by itself. Half of the shortest time limit of a request, since what
/// has begun to come may take as long once more.
const PATIENCE: Duration = Duration::from_millis(5);

/// So long after it was lost there is no other.
const PAUSE: Duration = Duration::from_secs(1);

/// After so many callers in a row that were alone, the next one is.
const STREAK: u32 = 16;

/// So much is read at once.
const ROOM: usize = 16 * 1024;

/// The place that a connection leads to.
pub(crate) enum Peer {
    Tcp(SocketAddr),
    #[cfg(unix)]
    Unix(PathBuf),
}

/// The requests that begin a connection.
pub(crate) struct Greeting {
    pub(crate) requests: Vec<u8>,
    pub(crate) count: usize,
    /// The beginning of the answers, where others may follow.
    pub(crate) welcome: &'static str,
}

/// The second connection. Who uses it has it locked.
pub(crate) struct Lone<D> {
    peer: Peer,
    greeting: Greeting,
    streak: AtomicU32,
    place: Mutex<Place<D>>,
}

/// Empty before the first one is opened, after one was lost, and while one is in use.
enum Place<D> {
    Empty { not_before: Option<Instant> },
    Open(Box<Open<D>>),
}

struct Open<D> {
    /// Of whatever kind: the system takes reads and writes of all sockets alike.
    socket: net::TcpStream,
    decoder: D,
    output: Vec<u8>,
    room: Vec<u8>,
}

impl<D: Decode<Answer: AsRef<[u8]>> + Default> Lone<D> {
    pub(crate) fn new(peer: Peer, greeting: Greeting) -> Self {
        let place = Mutex::new(Place::Empty { not_before: None });
        Self { peer, greeting, streak: AtomicU32::new(0), place }
    }

    /// Returns the answer to a request that changes nothing, if it can be asked here, on a thread that may
    /// be blocked. Otherwise it is to be asked over the first connection, which nobody else uses if it
    /// `is_unused`.
    pub(crate) fn exchange(
        &self,
        is_unused: impl FnOnce() -> bool,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Option<D::Answer> {
        let place = self.place.try_lock().ok().filter(|_| is_unused());
        let Some(mut place) = place else {
            self.streak.store(0, Ordering::Relaxed);
            return None;
        };
        if self.streak.load(Ordering::Relaxed) < STREAK {
            self.streak.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        // Whatever happens, an answer that did not come is nobody else's.
        let mut open = place.take(|| self.open())?;
        write(&mut open.output);
        let answer = open.exchange(1)?;
        *place = Place::Open(open);
        Some(answer)
    }

    fn open(&self) -> Option<Box<Open<D>>> {
        let socket = self.peer.connect()?;
        let (decoder, output, room) = (D::default(), Vec::new(), vec![0; ROOM]);
        let mut open = Box::new(Open { socket, decoder, output, room });
        let greeting = &self.greeting;
        open.output.extend_from_slice(&greeting.requests);
        let answer = open.exchange(greeting.count)?;
        answer.as_ref().starts_with(greeting.welcome.as_bytes()).then_some(open)
    }
}

impl<D> Place<D> {
    /// Takes the connection, or another if that may be opened. The place is that of a lost one.
    fn take(&mut self, open: impl FnOnce() -> Option<Box<Open<D>>>) -> Option<Box<Open<D>>> {
        match self {
            Self::Empty { not_before: Some(moment) } if Instant::now() < *moment => return None,
            _ => {}
        }
        let not_before = Instant::now().checked_add(PAUSE);
        match std::mem::replace(self, Self::Empty { not_before }) {
            Self::Open(open) => Some(open),
            Self::Empty { .. } => open(),
        }
    }
}

impl<D: Decode> Open<D> {
    /// Writes the requests in `output` and waits for the answer. After `None` this is of no use any
    /// more.
    fn exchange(&mut self, count: usize) -> Option<D::Answer> {
        let end = Instant::now() + PATIENCE;
        self.socket.write_all(&self.output).ok()?;
        if self.output.capacity() > ROOM {
            self.output = Vec::new();
        }
        self.output.clear();
        let mut input = BytesMut::new();
        loop {
            match self.socket.read(&mut self.room) {
                Ok(0) => return None,
                Ok(read) => input.extend_from_slice(&self.room[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
            if let Some(answer) = self.decoder.decode(&mut input, count).ok()? {
                return input.is_empty().then_some(answer);
            }
            if Instant::now() > end {
                return None;
            }
        }
    }
}

/// A forked process has the socket too: so it ends for the server at once.
impl<D> Drop for Open<D> {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl Peer {
    /// The place that `stream` leads to, if others can be opened to it as they are.
    pub(crate) fn of(stream: &Stream) -> Option<Self> {
        match stream {
            Stream::Tcp(stream) => stream.peer_addr().ok().map(Self::Tcp),
            #[cfg(unix)]
            Stream::Unix(stream) => {
                Some(Self::Unix(stream.peer_addr().ok()?.as_pathname()?.to_owned()))
            }
            Stream::Other(_) => None,
        }
    }

    /// Connects, on a thread of no runtime. Reads and writes of the socket block, for a moment.
    fn connect(&self) -> Option<net::TcpStream> {
        let socket = self.reach()?;
        socket.set_nonblocking(false).ok()?;
        socket.set_read_timeout(Some(PATIENCE)).ok()?;
        socket.set_write_timeout(Some(PATIENCE)).ok()?;
        Some(socket)
    }

    fn reach(&self) -> Option<net::TcpStream> {
        match self {
            Self::Tcp(address) => {
                let stream = net::TcpStream::connect_timeout(address, PATIENCE).ok()?;
                stream.set_nodelay(true).ok()?;
                Some(stream)
            }
            #[cfg(unix)]
            Self::Unix(path) => {
                // The standard library's would wait for a server that accepts nobody.
                let _inside = handle().ok()?.enter();
                let mut connected = None;
                park_until_done(pin!(async { connected = UnixStream::connect(path).await.ok() }));
                Some(OwnedFd::from(connected?.into_std().ok()?).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::sync::mpsc;
    use std::thread;

    use super::super::pipelined::Ended;
    use super::*;

    /// Each request is a line, and so is its answer.
    #[derive(Default)]
    struct Lines;

    impl Decode for Lines {
        type Answer = String;

        fn decode(&mut self, input: &mut BytesMut, _: usize) -> Result<Option<String>, Ended> {
            let end = input.iter().position(|&byte| byte == b'\n');
            let line = end.map(|end| input.split_to(end + 1));
            Ok(line.map(|line| String::from_utf8_lossy(&line[..line.len() - 1]).into_owned()))
        }
    }

    /// A connection to `listener`, whose server says that it is welcome.
    fn to(listener: &TcpListener) -> Lone<Lines> {
        let greeting = Greeting { requests: b"hello\n".to_vec(), count: 1, welcome: "welcome" };
        Lone::new(Peer::Tcp(listener.local_addr().unwrap()), greeting)
    }

    fn ask(lone: &Lone<Lines>, text: &str) -> Option<String> {
        let write = |bytes: &mut Vec<u8>| bytes.extend(format!("{text}\n").as_bytes());
        lone.exchange(|| true, write)
    }

    fn ask_until_alone(lone: &Lone<Lines>) {
        (0..STREAK).for_each(|_| assert_eq!(ask(lone, "early"), None));
    }

    /// Serves one client: answers the greeting, and each line as `answer` says. Returns all that was
    /// asked when the client has gone, or asks nothing for long.
    fn serve(
        listener: TcpListener,
        mut answer: impl FnMut(&str) -> &'static str + Send + 'static,
    ) -> thread::JoinHandle<Vec<String>> {
        thread::spawn(move || {
            let (client, _) = listener.accept().unwrap();
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let mut asked = Vec::new();
            for line in BufReader::new(&client).lines() {
                let Ok(line) = line else { break };
                let said = if line == "hello" { "welcome\n" } else { answer(&line) };
                // It may have gone.
                let _ = (&client).write_all(said.as_bytes());
                asked.push(line);
            }
            asked
        })
    }

    fn listen() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    #[test]
    fn it_is_for_callers_that_are_alone_for_long() {
        let listener = listen();
        let lone = to(&listener);
        let serving = serve(listener, |_| "yes\n");
        let nothing = |_: &mut Vec<u8>| panic!("nothing is asked here");
        ask_until_alone(&lone);
        assert_eq!(lone.exchange(|| false, nothing), None);
        ask_until_alone(&lone);
        // A loaded machine may take longer than the caller waits.
        assert!([Some("yes".to_owned()), None].contains(&ask(&lone, "alone")));
        drop(lone);
        assert!(
            ["hello", "alone"].starts_with(
                &serving.join().unwrap().iter().map(|line| &**line).collect::<Vec<_>>()
            )
        );
    }

    #[test]
    fn a_connection_with_a_late_answer_is_closed() {
        let listener = listen();
        let lone = to(&listener);
        let (given_up, waits) = mpsc::channel::<()>();
        let serving = serve(listener, move |_| {
            let _ = waits.recv();
            "late\n"
        });
        ask_until_alone(&lone);
        assert_eq!(ask(&lone, "first"), None);
        assert_eq!(ask(&lone, "second"), None);
        drop(given_up);
        // It ends, although `lone` is there.
        assert!(!serving.join().unwrap().contains(&"second".to_owned()));
    }

    #[test]
    fn a_connection_on_which_more_comes_than_was_asked_for_is_closed() {
        let listener = listen();
        let lone = to(&listener);
        let serving = serve(listener, |_| "yes\nand more\n");
        ask_until_alone(&lone);
        assert_eq!(ask(&lone, "first"), None);
        assert_eq!(ask(&lone, "second"), None);
        serving.join().unwrap();
    }

    #[test]
    fn who_is_not_welcome_asks_nothing() {
        let listener = listen();
        let lone = to(&listener);
        let welcome = thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            client.write_all(b"go away\n").unwrap();
            let mut asked = String::new();
            let _ = client.read_to_string(&mut asked);
            asked
        });
        ask_until_alone(&lone);
        assert_eq!(ask(&lone, "first"), None);
        assert!(["hello\n", ""].contains(&&*welcome.join().unwrap()));
    }
}
