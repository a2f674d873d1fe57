//! Changes of keys that a backend has not taken: the keys are deleted as soon as it does.

use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use crate::clock::Timestamp;
use crate::invalidation::Mode;
use crate::sync::Mutex;

/// The keys, as they are stored, that are to be deleted.
#[derive(Default)]
pub(crate) struct Owed {
    deletions: Mutex<Deletions>,
    /// Spares everybody else the lock.
    are_any: AtomicBool,
    /// The backend did not answer when it was last asked.
    is_unanswered: AtomicBool,
    next_attempt: Mutex<NextAttempt>,
}

#[derive(Default)]
struct NextAttempt {
    /// The backend answers again, so it need not wait.
    is_due: bool,
    waiting: Option<Waker>,
}

#[derive(Default)]
struct Deletions {
    keys: HashSet<String>,
    /// Those of the attempt that is going on.
    tried: HashSet<String>,
    /// Those that callers are changing again. No attempt has them: it could delete what is stored
    /// now.
    changing: Vec<String>,
    /// The callers that wait for the end of the attempt.
    waiting: Vec<Waker>,
    /// The moments of the last invalidations, hard and soft.
    hard: Option<Timestamp>,
    soft: Option<Timestamp>,
    /// The process in which somebody is at it.
    paying: Option<u32>,
}

/// All debts at one moment.
pub(super) struct Debts {
    pub(super) keys: Vec<String>,
    pub(super) invalidations: Vec<(Mode, Timestamp)>,
}

/// The answer to a further debt.
pub(super) enum Debt {
    /// It is remembered, and somebody is at it.
    Noted,
    /// The same, and nobody is at it yet: the caller is to see to that.
    First,
    /// There are too many.
    Refused,
}

/// More keys are not remembered.
const MOST: usize = 10_000;

impl Owed {
    /// Are there any? For those who look at each key.
    #[inline]
    pub(crate) fn are_any(&self) -> bool {
        self.are_any.load(Ordering::Acquire)
    }

    /// The backend was asked for a value, and has answered or not. When it answers again, the next
    /// attempt need not wait.
    pub(super) fn note_answer(&self, has_answered: bool) {
        let is_back = self.is_unanswered.swap(!has_answered, Ordering::AcqRel) && has_answered;
        if is_back {
            let mut next = self.next_attempt.lock();
            next.is_due = true;
            let waiting = next.waiting.take();
            drop(next);
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    /// Waits for the end of a pause, or until the backend answers again.
    pub(super) async fn pause(&self, mut pause: Pin<Box<dyn Future<Output = ()> + Send>>) {
        poll_fn(|cx| {
            let mut next = self.next_attempt.lock();
            if std::mem::take(&mut next.is_due) {
                return Poll::Ready(());
            }
            next.waiting = Some(cx.waker().clone());
            drop(next);
            pause.as_mut().poll(cx)
        })
        .await;
    }

    /// Is what is stored under `key` older than a change of it?
    pub(crate) fn has(&self, key: &str) -> bool {
        if !self.are_any() {
            return false;
        }
        let deletions = self.deletions.lock();
        deletions.keys.contains(key) || deletions.tried.contains(key)
    }

    /// Returns the worse of what invalidations that are owed say of a value of this moment, and of
    /// `others`.
    #[inline]
    pub(crate) fn verdict(
        &self,
        as_of: Timestamp,
        others: impl FnOnce() -> Option<Mode>,
    ) -> Option<Mode> {
        if self.are_any() { self.worse_than(as_of, others()) } else { others() }
    }

    #[cold]
    fn worse_than(&self, as_of: Timestamp, others: Option<Mode>) -> Option<Mode> {
        if others == Some(Mode::Hard) {
            return others;
        }
        let deletions = self.deletions.lock();
        if deletions.hard.is_some_and(|at| as_of <= at) {
            return Some(Mode::Hard);
        }
        let is_soft = deletions.soft.is_some_and(|at| as_of <= at);
        others.or(is_soft.then_some(Mode::Soft))
    }

    /// Remembers an invalidation, for the process with this number.
    pub(super) fn owe_invalidation(&self, mode: Mode, at: Timestamp, process: u32) -> Debt {
        let mut deletions = self.deletions.lock();
        let moment = match mode {
            Mode::Hard => &mut deletions.hard,
            Mode::Soft => &mut deletions.soft,
        };
        *moment = Some(moment.map_or(at, |known| known.max(at)));
        self.are_any.store(true, Ordering::Release);
        deletions.begin_in(process)
    }

    /// Returns the number of keys, and of invalidations.
    pub(crate) fn count(&self) -> usize {
        if !self.are_any() {
            return 0;
        }
        let deletions = self.deletions.lock();
        let Deletions { keys, tried, hard, soft, .. } = &*deletions;
        keys.len() + tried.len() + usize::from(hard.is_some()) + usize::from(soft.is_some())
    }

    /// Remembers `key`, for the process with this number.
    pub(super) fn owe(&self, key: &str, process: u32) -> Debt {
        let mut deletions = self.deletions.lock();
        let has_room = deletions.keys.len() + deletions.tried.len() < MOST;
        if has_room {
            deletions.keys.insert(key.to_owned());
            self.are_any.store(true, Ordering::Release);
        } else if !deletions.keys.contains(key) {
            return Debt::Refused;
        }
        deletions.begin_in(process)
    }

    /// Is nobody of the process with this number at it? Then whoever asks is.
    pub(super) fn is_left_alone(&self, process: u32) -> bool {
        let mut deletions = self.deletions.lock();
        let Deletions { keys, hard, soft, paying, .. } = &*deletions;
        let is_alone = paying.is_none() && (!keys.is_empty() || hard.is_some() || soft.is_some());
        is_alone && matches!(deletions.begin_in(process), Debt::First)
    }

    /// Forgets `key`: what is stored under it was replaced or removed by now.
    pub(crate) fn forgive(&self, key: &str) {
        if self.are_any() {
            let mut deletions = self.deletions.lock();
            deletions.keys.remove(key);
            deletions.tried.remove(key);
        }
    }

    /// Keeps attempts away from those of `changed` that are owed, until what this returns is
    /// dropped; first it waits for the end of the attempt that has one of them. `process` is
    /// the number of this process.
    pub(super) async fn keep_away<'k>(
        &self,
        changed: impl IntoIterator<Item = &'k str>,
        process: u32,
    ) -> KeptAway<'_> {
        let mut kept = KeptAway { owed: self, keys: Vec::new() };
        for key in changed {
            poll_fn(|cx| kept.poll_add(key, process, cx)).await;
        }
        kept
    }

    /// Returns all debts, for an attempt.
    pub(super) fn try_all(&self) -> Debts {
        let mut deletions = self.deletions.lock();
        let Deletions { keys, tried, changing, hard, soft, .. } = &mut *deletions;
        // With the rest of an attempt of another process, which has forked.
        keys.extend(tried.drain());
        tried.extend(keys.extract_if(|key| !changing.contains(key)));
        let moments = [(Mode::Hard, *hard), (Mode::Soft, *soft)];
        let invalidations = moments.into_iter().filter_map(|(mode, at)| Some((mode, at?)));
        Debts { keys: tried.iter().cloned().collect(), invalidations: invalidations.collect() }
    }

    /// The invalidation is made.
    pub(super) fn invalidated(&self, mode: Mode, at: Timestamp) {
        let mut deletions = self.deletions.lock();
        let moment = match mode {
            Mode::Hard => &mut deletions.hard,
            Mode::Soft => &mut deletions.soft,
        };
        // There may be a later one by now.
        moment.take_if(|known| *known <= at);
    }

    /// The deletions of the attempt are made. Returns whether nothing is left to be done.
    pub(super) fn paid(&self) -> bool {
        let mut deletions = self.deletions.lock();
        deletions.tried.clear();
        deletions.wake_waiting();
        let Deletions { keys, hard, soft, .. } = &*deletions;
        let is_over = keys.is_empty() && hard.is_none() && soft.is_none();
        if is_over {
            deletions.paying = None;
            self.are_any.store(false, Ordering::Release);
        }
        is_over
    }

    /// Takes back the keys of an attempt that has failed.
    pub(super) fn failed(&self) {
        self.deletions.lock().take_back();
    }

    /// Takes back the keys of an attempt that will not go on.
    pub(super) fn give_back(&self) {
        let mut deletions = self.deletions.lock();
        deletions.take_back();
        deletions.paying = None;
    }
}

/// Keys that attempts leave alone until this is dropped.
pub(super) struct KeptAway<'o> {
    owed: &'o Owed,
    keys: Vec<String>,
}

impl KeptAway<'_> {
    fn poll_add(&mut self, key: &str, process: u32, cx: &Context<'_>) -> Poll<()> {
        let mut deletions = self.owed.deletions.lock();
        if deletions.tried.contains(key) && deletions.paying == Some(process) {
            deletions.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        if deletions.keys.contains(key) || deletions.tried.contains(key) {
            deletions.changing.push(key.to_owned());
            self.keys.push(key.to_owned());
        }
        Poll::Ready(())
    }
}

impl Drop for KeptAway<'_> {
    fn drop(&mut self) {
        if self.keys.is_empty() {
            return;
        }
        let changing = &mut self.owed.deletions.lock().changing;
        for key in &self.keys {
            if let Some(at) = changing.iter().position(|changing| changing == key) {
                changing.swap_remove(at);
            }
        }
    }
}

impl Deletions {
    fn begin_in(&mut self, process: u32) -> Debt {
        let is_first = self.paying.replace(process) != Some(process);
        if is_first { Debt::First } else { Debt::Noted }
    }

    fn take_back(&mut self) {
        self.keys.extend(self.tried.drain());
        self.wake_waiting();
    }

    fn wake_waiting(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[test]
    fn invalidations_are_owed_until_they_are_made() {
        let owed = Owed::default();
        let of = |at| owed.verdict(at, || None);
        assert!(matches!(owed.owe_invalidation(Mode::Soft, 100.0, 1), Debt::First));
        assert!(matches!(owed.owe_invalidation(Mode::Hard, 50.0, 1), Debt::Noted));
        assert_eq!([of(50.0), of(51.0), of(101.0)], [Some(Mode::Hard), Some(Mode::Soft), None]);
        assert_eq!(owed.verdict(60.0, || Some(Mode::Hard)), Some(Mode::Hard));
        let Debts { invalidations, .. } = owed.try_all();
        assert_eq!(invalidations, [(Mode::Hard, 50.0), (Mode::Soft, 100.0)]);
        owed.owe_invalidation(Mode::Soft, 200.0, 1);
        invalidations.into_iter().for_each(|(mode, at)| owed.invalidated(mode, at));
        assert!(!owed.paid(), "one has come meanwhile");
        assert_eq!([of(50.0), of(200.0), of(201.0)], [Some(Mode::Soft), Some(Mode::Soft), None]);
        owed.invalidated(Mode::Soft, 200.0);
        assert!(owed.paid() && of(50.0).is_none());
    }

    #[test]
    fn keys_of_an_attempt_count_as_remembered() {
        let owed = Owed::default();
        let owe = |key: &str| !matches!(owed.owe(key, 1), Debt::Refused);
        assert!((0..MOST).all(|key| owe(&key.to_string())));
        assert!(!owe("one more") && owe("0"));
        assert_eq!(owed.try_all().keys.len(), MOST);
        assert!(!owe("one more") && owed.has("0") && !owed.has("one more"));
        owed.give_back();
        assert!(!owe("one more") && owe("0"));
        assert_eq!(owed.count(), MOST);
        owed.forgive("0");
        assert!(owe("one more") && !owed.has("0"));
        owed.try_all();
        assert!(owed.paid() && !owed.are_any() && owed.count() == 0);
    }

    #[test]
    fn a_change_and_an_attempt_do_not_meet() {
        let owed = Owed::default();
        owed.owe("a", 1);
        owed.owe("b", 1);
        let mut cx = Context::from_waker(Waker::noop());
        let changing = pollster::block_on(owed.keep_away(["a", "not owed"], 1));
        assert_eq!(owed.try_all().keys, ["b"]);
        assert!(owed.has("a"), "until the change is made");
        let mut other = pin!(owed.keep_away(["b"], 1));
        assert!(other.as_mut().poll(&mut cx).is_pending(), "the attempt has it");
        assert!(pin!(owed.keep_away(["b"], 2)).poll(&mut cx).is_ready(), "not in this process");
        owed.failed();
        let Poll::Ready(other) = other.poll(&mut cx) else { panic!("the attempt has ended") };
        assert!(owed.try_all().keys.is_empty());
        drop((changing, other));
        owed.forgive("a");
        assert_eq!(owed.try_all().keys, ["b"]);
        assert!(owed.paid());
    }

    #[test]
    fn one_sees_to_it_in_each_process() {
        let owed = Owed::default();
        assert!(matches!(owed.owe("a", 1), Debt::First));
        assert!(matches!(owed.owe("b", 1), Debt::Noted));
        assert!(matches!(owed.owe("c", 2), Debt::First));
        owed.give_back();
        assert!(matches!(owed.owe("a", 2), Debt::First));
        owed.try_all();
        owed.owe("d", 2);
        assert!(!owed.paid(), "one has come meanwhile");
    }
}
