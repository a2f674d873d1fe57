//! The bell by which a thread without the interpreter tells an event loop that there is something to do.

use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::thread;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

/// Rung from any thread, and heard by a loop.
pub(crate) enum Bell {
    /// A byte on a socket that the loop reads: a system call for all that were woken together.
    #[cfg(unix)]
    Socket(socket::Pair),
    /// A thread that calls the loop's `call_soon_threadsafe`.
    Caller(Caller),
}

impl Bell {
    #[cfg(unix)]
    pub(crate) fn socket() -> PyResult<Self> {
        Ok(Self::Socket(socket::Pair::new()?))
    }

    #[cfg(not(unix))]
    pub(crate) fn socket() -> PyResult<Self> {
        Err(PyOSError::new_err("call_soon_threadsafe is needed on this system"))
    }

    pub(crate) fn calling(call_soon_threadsafe: Py<PyAny>) -> PyResult<Self> {
        Caller::new(call_soon_threadsafe).map(Self::Caller)
    }

    pub(crate) fn fileno(&self) -> i32 {
        match self {
            #[cfg(unix)]
            Self::Socket(pair) => pair.fileno(),
            Self::Caller(_) => -1,
        }
    }

    /// Says what is called when the bell is rung, where that is for us to call.
    pub(crate) fn start(&self, heard: Py<PyAny>) {
        if let Self::Caller(caller) = self {
            let _ = caller.heard.set(heard);
            caller.ring();
        }
    }

    pub(crate) fn ring(&self) {
        match self {
            #[cfg(unix)]
            Self::Socket(pair) => pair.ring(),
            Self::Caller(caller) => caller.ring(),
        }
    }

    /// The loop has heard it.
    pub(crate) fn hush(&self) {
        #[cfg(unix)]
        if let Self::Socket(pair) = self {
            pair.hush();
        }
    }
}

#[cfg(unix)]
mod socket {
    use std::io::{Read, Result, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    pub(crate) struct Pair {
        heard: UnixStream,
        rung: UnixStream,
    }

    impl Pair {
        pub(super) fn new() -> Result<Self> {
            let (heard, rung) = UnixStream::pair()?;
            heard.set_nonblocking(true)?;
            rung.set_nonblocking(true)?;
            Ok(Self { heard, rung })
        }

        pub(super) fn fileno(&self) -> i32 {
            self.heard.as_raw_fd()
        }

        pub(super) fn ring(&self) {
            // A socket that is full has been rung.
            let _ = (&self.rung).write(&[1]);
        }

        pub(super) fn hush(&self) {
            let mut rings = [0; 64];
            while (&self.heard).read(&mut rings).is_ok_and(|read| read == rings.len()) {}
        }
    }
}

/// A thread of its own attaches to the interpreter: whoever rings need not.
pub(crate) struct Caller {
    rung: Mutex<mpsc::Sender<()>>,
    heard: std::sync::Arc<OnceLock<Py<PyAny>>>,
}

impl Caller {
    fn new(call_soon_threadsafe: Py<PyAny>) -> PyResult<Self> {
        let (rung, rings) = mpsc::channel();
        let heard = std::sync::Arc::new(OnceLock::<Py<PyAny>>::new());
        let told = heard.clone();
        let serve = move || {
            while rings.recv().is_ok() {
                let Some(heard) = told.get() else { continue };
                let called =
                    Python::attach(|py| call_soon_threadsafe.call1(py, (heard,)).map(drop));
                // The loop is closed.
                if called.is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("dogpile-aio".to_owned());
        thread.spawn(serve).map_err(PyOSError::new_err)?;
        Ok(Self { rung: Mutex::new(rung), heard })
    }

    fn ring(&self) {
        // Nobody listens where the loop is closed.
        let _ = self.rung.lock().unwrap_or_else(PoisonError::into_inner).send(());
    }
}
