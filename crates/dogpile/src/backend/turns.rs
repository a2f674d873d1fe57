//! Turns with a worker that one thread serves requests with: a caller who blocks anyway has it
//! while it is idle, and spares the way to that thread and back.

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Guard, Mutex};

/// The number of requests that come one by one, after which there is no crowd any more.
const AFTER_A_CROWD: usize = if cfg!(shuttle) { 1 } else { 16 };

/// A worker, and the number of requests that it is yet to do.
///
/// Nobody overtakes a request: whoever has sent one, or knows of it, finds the worker taken until
/// it is done.
pub(super) struct Turns<W> {
    worker: Mutex<W>,
    pending: AtomicUsize,
    /// The requests until callers have the worker again, since several were done at once: that takes less
    /// than one after the other.
    crowd: AtomicUsize,
}

impl<W> Turns<W> {
    pub(super) fn new(worker: W) -> Self {
        let (pending, crowd) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { worker: Mutex::new(worker), pending, crowd }
    }

    /// Notes that a request is about to be sent to the thread.
    pub(super) fn expect_one(&self) {
        self.pending.fetch_add(1, Ordering::SeqCst);
    }

    /// Notes that requests are done. The thread says so before its turn ends.
    pub(super) fn done(&self, count: usize) {
        let before = self.crowd.load(Ordering::Relaxed);
        let crowd = if count > 1 { AFTER_A_CROWD } else { before.saturating_sub(count) };
        self.crowd.store(crowd, Ordering::Relaxed);
        self.pending.fetch_sub(count, Ordering::SeqCst);
    }

    /// Gives the worker to a caller, if it is idle, nothing was asked of the thread that is not
    /// done, and callers do not come in crowds.
    pub(super) fn take_idle(&self) -> Option<Guard<'_, W>> {
        if self.crowd.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let worker = self.worker.try_lock()?;
        (self.pending.load(Ordering::SeqCst) == 0).then_some(worker)
    }

    /// Gives the worker to the thread, which waits for its turn.
    pub(super) fn take(&self) -> Guard<'_, W> {
        self.worker.lock()
    }
}

/// Callers of both kinds and the thread, in many orders.
#[cfg(all(test, shuttle))]
mod model {
    use shuttle::sync::mpsc::{self, Receiver, Sender};
    use shuttle::sync::{Arc, Mutex};
    use shuttle::thread;

    use super::*;

    /// A change: its caller, and the number of it among the changes of that caller.
    type Change = (usize, usize);

    #[derive(Clone)]
    struct Way {
        turns: Arc<Turns<Vec<Change>>>,
        requests: Sender<(Change, Sender<()>)>,
    }

    impl Way {
        fn send(&self, change: Change) -> Receiver<()> {
            let (done, answer) = mpsc::channel();
            self.turns.expect_one();
            self.requests.send((change, done)).unwrap();
            answer
        }

        /// Returns after the change was made.
        fn change(&self, change: Change) {
            match self.turns.take_idle() {
                Some(mut made) => made.push(change),
                None => self.send(change).recv().unwrap(),
            }
        }
    }

    fn serve(turns: &Turns<Vec<Change>>, requests: &Receiver<(Change, Sender<()>)>) {
        while let Ok(first) = requests.recv() {
            let mut made = turns.take();
            let mut together = vec![first];
            together.extend(std::iter::from_fn(|| requests.try_recv().ok()));
            made.extend(together.iter().map(|(change, _)| *change));
            turns.done(together.len());
            drop(made);
            for (_, done) in together {
                // Not all are waited for.
                let _ = done.send(());
            }
        }
    }

    fn all_orders() {
        let turns = Arc::new(Turns::new(Vec::new()));
        let (requests, receiver) = mpsc::channel();
        let way = Way { turns: turns.clone(), requests };
        let server = {
            let turns = turns.clone();
            thread::spawn(move || serve(&turns, &receiver))
        };
        // Of one caller, seen by another.
        let seen = Arc::new(Mutex::new(false));
        let callers: Vec<_> = (0..3)
            .map(|caller| {
                let (way, seen) = (way.clone(), seen.clone());
                thread::spawn(move || match caller {
                    // Sends, waits for nothing, and blocks for the next.
                    0 => {
                        drop(way.send((0, 0)));
                        *seen.lock().unwrap() = true;
                        way.change((0, 1));
                    }
                    1 => {
                        let knows = *seen.lock().unwrap();
                        way.change((1, usize::from(knows)));
                        way.change((1, 2));
                    }
                    _ => {
                        let first = way.send((2, 0));
                        first.recv().unwrap();
                        way.change((2, 1));
                        drop(way.send((2, 2)));
                    }
                })
            })
            .collect();
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        drop(way);
        server.join().unwrap();
        let made = turns.take();
        assert_eq!(made.len(), 7, "{made:?}");
        for caller in 0..3 {
            let of_one: Vec<_> = made.iter().filter(|(of, _)| *of == caller).collect();
            assert!(of_one.is_sorted(), "{made:?}");
        }
        let at = |change| made.iter().position(|made| *made == change);
        if let Some(knowing) = at((1, 1)) {
            assert!(at((0, 0)) < Some(knowing), "{made:?}");
        }
        assert_eq!(turns.pending.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn nobody_overtakes_and_nothing_is_left() {
        shuttle::check_random(all_orders, 20_000);
        shuttle::check_pct(all_orders, 20_000, 4);
    }
}
