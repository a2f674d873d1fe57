//! A TCP proxy that injects the faults of a network between a backend and its server.
//!
//! ```
//! # let server = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
//! # let port = server.local_addr().unwrap().port();
//! use dogpile_testkit::tcp::{Condition, Proxy};
//!
//! let proxy = Proxy::to(port);
//! // Open the backend on `proxy.port()`, and store something. Then:
//! proxy.set(Condition::Cut);
//! ```

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// The treatment of bytes on their way through a [`Proxy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Bytes pass.
    Normal,
    /// Each bundle of bytes comes so much later.
    Slow(Duration),
    /// Bytes are held back until the condition changes: a partition.
    Held,
    /// One byte of each bundle from the server is changed.
    Corrupt,
    /// Connections end, and new ones end at once.
    Cut,
    /// Connections end in the middle of an answer.
    CutShort,
    /// The next request with these bytes in it passes, but its connection ends before
    /// the answer comes; then bytes pass again.
    AnswerLost(&'static [u8]),
}

/// A proxy before a server on this machine. Clones share connections and condition.
///
/// Its threads end with the program.
#[derive(Debug, Clone)]
pub struct Proxy {
    port: u16,
    condition: Arc<Mutex<Condition>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    requests: Arc<AtomicU64>,
    fates: Arc<Mutex<Vec<Weak<Fate>>>>,
}

/// The fate of one connection.
#[derive(Debug, Default)]
struct Fate {
    /// Nothing passes any more.
    is_abandoned: AtomicBool,
    /// What its client has sent at first.
    asked: Mutex<Vec<u8>>,
}

/// So much of what a client sends is remembered.
const REMEMBERED: usize = 1_024;

/// One connection through the proxy.
#[derive(Clone)]
struct Line {
    proxy: Proxy,
    fate: Arc<Fate>,
    /// The next answer is lost.
    loses: Arc<AtomicBool>,
}

impl Proxy {
    /// Starts a proxy to `port` on 127.0.0.1, in normal condition.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("there are free ports");
        let own = listener.local_addr().expect("it is bound").port();
        let condition = Arc::new(Mutex::new(Condition::Normal));
        let proxy = Self {
            port: own,
            condition,
            open: Arc::default(),
            requests: Arc::default(),
            fates: Arc::default(),
        };
        let accepting = proxy.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                accepting.connect(client, port);
            }
        });
        proxy
    }

    /// Returns the port to connect to, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the number of times that bytes came from a client: a request, or several at once.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Changes the condition, for open connections as well.
    pub fn set(&self, condition: Condition) {
        *locked(&self.condition) = condition;
        if condition == Condition::Cut {
            for stream in locked(&self.open).drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// Drops everything that is sent over the connections that are open. Neither side is told
    /// that they have ended, as when a machine dies. New connections are good.
    pub fn abandon(&self) {
        self.abandon_if(|_| true);
    }

    /// Does the same to those connections alone over which `bytes` were sent to the server soon after
    /// they began.
    pub fn abandon_asking(&self, bytes: &[u8]) {
        self.abandon_if(|fate| has(&locked(&fate.asked), bytes));
    }

    fn abandon_if(&self, is_meant: impl Fn(&Fate) -> bool) {
        let mut fates = locked(&self.fates);
        fates.retain(|fate| fate.strong_count() > 0);
        for fate in fates.iter().filter_map(Weak::upgrade).filter(|fate| is_meant(fate)) {
            fate.is_abandoned.store(true, Ordering::Relaxed);
        }
    }

    fn condition(&self) -> Condition {
        *locked(&self.condition)
    }

    fn connect(&self, client: TcpStream, port: u16) {
        if self.condition() == Condition::Cut {
            return;
        }
        let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { return };
        let both = || Some([client.try_clone().ok()?, server.try_clone().ok()?]);
        let (Some(one), Some(other)) = (both(), both()) else { return };
        locked(&self.open).extend([client, server]);
        let [from_client, to_server] = one;
        let [to_client, from_server] = other;
        let fate = Arc::new(Fate::default());
        locked(&self.fates).push(Arc::downgrade(&fate));
        let there = Line { proxy: self.clone(), fate, loses: Arc::default() };
        let back = there.clone();
        thread::spawn(move || there.carry(from_client, to_server, false));
        thread::spawn(move || back.carry(from_server, to_client, true));
    }
}

impl Line {
    fn carry(&self, mut from: TcpStream, mut to: TcpStream, is_answer: bool) {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let bytes = &mut buffer[..length];
            while self.proxy.condition() == Condition::Held {
                thread::sleep(Duration::from_millis(5));
            }
            if self.fate.is_abandoned.load(Ordering::Relaxed) {
                continue;
            }
            if !is_answer {
                let mut asked = locked(&self.fate.asked);
                let room = REMEMBERED.saturating_sub(asked.len());
                asked.extend_from_slice(&bytes[..length.min(room)]);
            }
            match self.proxy.condition() {
                Condition::Slow(delay) => thread::sleep(delay),
                Condition::Corrupt if is_answer => bytes[length / 2] ^= 0x15,
                Condition::Cut => break,
                Condition::AnswerLost(asked) if !is_answer && has(bytes, asked) => {
                    self.loses.store(true, Ordering::Relaxed);
                    self.proxy.set(Condition::Normal);
                }
                _ => {}
            }
            if is_answer && self.loses.load(Ordering::Relaxed) {
                break;
            }
            let short = is_answer && self.proxy.condition() == Condition::CutShort;
            let passing = if short { &bytes[..length / 2] } else { bytes };
            if !is_answer {
                self.proxy.requests.fetch_add(1, Ordering::Relaxed);
            }
            if to.write_all(passing).is_err() || short {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn has(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|found| found == wanted)
}
