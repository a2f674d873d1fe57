//! Running a future of the crate on a thread of Python's.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread, ThreadId};
use std::time::Duration;

use dogpile::__bridge::{first_look, poll_blocking};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::{grave, trace};

/// The pause after which the main thread looks for signals while it waits.
const SIGNALS: Duration = Duration::from_millis(50);

/// The thread that Python handles signals on, as far as that is known.
static MAIN: Mutex<Option<ThreadId>> = Mutex::new(None);

fn set_main(main: Option<ThreadId>) {
    *MAIN.lock().unwrap_or_else(PoisonError::into_inner) = main;
}

/// Finds out whether this is the main thread: the one that imports the module, most times. From now
/// on, forks are announced.
pub(crate) fn init(py: Python<'_>) -> PyResult<()> {
    let threading = py.import("threading")?;
    let main = threading.call_method0("main_thread")?;
    let is_main = threading.call_method0("current_thread")?.is(&main);
    set_main(is_main.then(|| thread::current().id()));
    let Ok(register) = py.import("os")?.getattr("register_at_fork") else { return Ok(()) };
    let hooks = PyDict::new(py);
    hooks.set_item("before", wrap_pyfunction!(before_fork, py)?)?;
    hooks.set_item("after_in_parent", wrap_pyfunction!(after_fork_in_parent, py)?)?;
    hooks.set_item("after_in_child", wrap_pyfunction!(after_fork, py)?)?;
    register.call((), Some(&hooks))?;
    dogpile::announce_forks();
    Ok(())
}

/// This thread forks: it stays attached, so that no other begins anything meanwhile that needs to be.
#[pyfunction]
fn before_fork() {
    dogpile::before_fork();
}

#[pyfunction]
fn after_fork_in_parent() {
    dogpile::after_fork_in_parent();
}

/// This process was just forked, by this thread.
#[pyfunction]
fn after_fork() {
    dogpile::after_fork();
    set_main(Some(thread::current().id()));
}

/// May this be the main thread?
fn may_be_main() -> bool {
    let main = *MAIN.lock().unwrap_or_else(PoisonError::into_inner);
    main.is_none_or(|main| main == thread::current().id())
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Drives `future` to its end. One that waits for a server, as it `is_remote`, is detached from the beginning:
/// it does not end at once, and what it does until then are system calls. Before it waits, `check` may refuse that.
#[inline]
pub(crate) fn run_at<F>(
    py: Python<'_>,
    is_remote: bool,
    future: F,
    mut check: impl FnMut() -> PyResult<()> + Send,
) -> PyResult<F::Output>
where
    F: Future + Send,
    F::Output: Send,
{
    if !is_remote {
        return run_unless(py, future, check);
    }
    let output = wait(py, pin!(future), &mut check);
    grave::clear(py);
    trace::flush(py, output)
}

/// Drives `future` to its end: first attached to the interpreter, since most futures are ready at
/// once, then detached. On the main thread a signal's handler may end it by an exception.
#[inline]
pub(crate) fn run<F>(py: Python<'_>, future: F) -> PyResult<F::Output>
where
    F: Future + Send,
    F::Output: Send,
{
    run_unless(py, future, || Ok(()))
}

/// The same. Before it waits, `check` may refuse that.
#[inline]
pub(crate) fn run_unless<F>(
    py: Python<'_>,
    future: F,
    check: impl FnOnce() -> PyResult<()>,
) -> PyResult<F::Output>
where
    F: Future + Send,
    F::Output: Send,
{
    let mut future = pin!(future);
    let output = match future.as_mut().poll(&mut Context::from_waker(first_look())) {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => check().and_then(|()| wait(py, future, &mut || Ok(()))),
    };
    grave::clear(py);
    trace::flush(py, output)
}

#[cold]
fn wait<F>(
    py: Python<'_>,
    mut future: Pin<&mut F>,
    check: &mut (dyn FnMut() -> PyResult<()> + Send),
) -> PyResult<F::Output>
where
    F: Future + Send,
    F::Output: Send,
{
    let has_signals = may_be_main();
    py.detach(|| {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut is_checked = false;
        loop {
            if let Poll::Ready(output) = poll_blocking(&waker, |cx| future.as_mut().poll(cx)) {
                return Ok(output);
            }
            if !std::mem::replace(&mut is_checked, true) {
                check()?;
            }
            if has_signals {
                thread::park_timeout(SIGNALS);
                #[expect(clippy::redundant_closure_for_method_calls, reason = "of any lifetime")]
                Python::attach(|py| py.check_signals())?;
            } else {
                thread::park();
            }
        }
    })
}
