//! The proof that a copy is no older than a bound: what is read, and what changes, in which order.
//!
//! A copy remembers the state of three numbers from before its value was read:
//!
//! - the *generation* of its stripe. A change raises that, whoever makes it. So a copy of a value
//!   of before is out of date from the moment that the change is told, even if it is put in after that:
//!   an answer can be overtaken by the news that it is out of date.
//! - the *epoch* of the link that tells of changes. A link that was lost has another epoch.
//! - the moment before the value was asked for: the copy is as old as that, at most.
//!
//! Where a backend is asked instead, the epoch of a copy is the number of the state before its value was
//! read, and it is of use only in that state: no older than the call.
//!
//! News come in the order of the changes, and before the answer to any later command. So when a command
//! that was sent at a moment is answered, all changes before that moment have raised their
//! generations. That moment is [noted](Bound::in_step), and a copy whose generation still holds is no
//! older.

use std::time::Duration;

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The state that copies are judged by.
pub(super) struct Bound {
    /// For so many stripes of keys, a power of two.
    generations: Box<[AtomicU32]>,
    epoch: AtomicU64,
    /// In ticks. All changes before it have been told, if the epoch is that of a copy.
    in_step: AtomicU64,
    /// The age of a copy at most, in ticks.
    limit: u64,
}

/// The state before a value was read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mark {
    stripe: u32,
    generation: u32,
    /// [`UNFOLLOWED`] where nobody tells of changes.
    epoch: u64,
    /// In ticks.
    read: u64,
}

/// No link has this epoch.
const UNFOLLOWED: u64 = 0;

/// A state that is not known has this number, and no other.
const UNKNOWN: u64 = u64::MAX;

impl Mark {
    /// The same of a copy of whose changes nobody tells.
    pub(super) const fn unfollowed(self) -> Self {
        Self { epoch: UNFOLLOWED, ..self }
    }

    /// The same where the backend was asked for the number of its state.
    pub(super) fn in_state(self, number: Option<u64>) -> Self {
        Self { epoch: number.unwrap_or(UNKNOWN), ..self }
    }
}

pub(super) fn in_ticks(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Bound {
    /// For about so many copies, none of which is older than `limit` ticks.
    pub(super) fn new(copies: usize, limit: u64) -> Self {
        // So that one change seldom ends another key's copy.
        let stripes = copies.saturating_mul(4).clamp(1 << 12, 1 << 22).next_power_of_two();
        Self {
            generations: (0..stripes).map(|_| AtomicU32::new(0)).collect(),
            epoch: AtomicU64::new(UNFOLLOWED + 1),
            in_step: AtomicU64::new(0),
            limit,
        }
    }

    /// Returns the stripe of a key that has this hash.
    pub(super) fn stripe(&self, hash: u64) -> u32 {
        let among = self.generations.len() as u64 - 1;
        u32::try_from(hash & among).unwrap_or(0)
    }

    /// The state now, before a value of this stripe is asked for.
    pub(super) fn mark(&self, stripe: u32, now: u64) -> Mark {
        let epoch = self.epoch.load(Ordering::Acquire);
        Mark {
            stripe,
            generation: self.generation(stripe).load(Ordering::Acquire),
            epoch,
            read: now,
        }
    }

    fn generation(&self, stripe: u32) -> &AtomicU32 {
        &self.generations[stripe as usize]
    }

    /// A value of this stripe may have changed.
    pub(super) fn change(&self, stripe: u32) {
        self.generation(stripe).fetch_add(1, Ordering::AcqRel);
    }

    /// Any value may have changed.
    pub(super) fn change_all(&self) {
        for generation in &self.generations {
            generation.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Of what was read until now no changes are told any more.
    pub(super) fn lose(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// All changes before `moment` have been told.
    pub(super) fn in_step(&self, moment: u64) {
        self.in_step.fetch_max(moment, Ordering::AcqRel);
    }

    /// Returns the moment up to which all changes have been told.
    pub(super) fn last_in_step(&self) -> u64 {
        self.in_step.load(Ordering::Acquire)
    }

    /// Was nothing told that ends the copy?
    pub(super) fn is_unchanged(&self, mark: Mark) -> bool {
        self.generation(mark.stripe).load(Ordering::Acquire) == mark.generation
    }

    /// Returns the moment that the copy is no older than, as far as can be proved.
    #[inline]
    pub(super) fn proved(&self, mark: Mark) -> u64 {
        // This before the epoch: a moment of a later epoch brings that with it.
        let in_step = self.in_step.load(Ordering::Acquire);
        let is_followed = self.epoch.load(Ordering::Acquire) == mark.epoch;
        if is_followed { in_step.max(mark.read) } else { mark.read }
    }

    /// Is it proved that a copy of this mark is no older than the limit?
    #[inline]
    pub(super) fn holds(&self, mark: Mark, now: u64) -> bool {
        now.saturating_sub(self.proved(mark)) <= self.limit && self.is_unchanged(mark)
    }

    /// Is the backend still in the state of the copy? It was asked for the number `now`, after `moment`.
    pub(super) fn is_in_state(&self, mark: Mark, now: Option<u64>, moment: u64) -> bool {
        let Some(now) = now else { return false };
        if self.epoch.load(Ordering::Acquire) < now {
            self.epoch.fetch_max(now, Ordering::AcqRel);
        }
        if self.last_in_step() < moment {
            self.in_step(moment);
        }
        mark.epoch == now && self.is_unchanged(mark)
    }

    /// May a copy stand in that is older than the limit, by `more` at most, and of which nobody said
    /// that it has changed?
    pub(super) fn stands_in(&self, mark: Mark, now: u64, more: u64) -> bool {
        let age = now.saturating_sub(self.proved(mark));
        age <= self.limit.saturating_add(more) && self.is_unchanged(mark)
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    const LIMIT: u64 = 100;

    #[test]
    fn a_copy_holds_until_it_is_told_of_or_too_old() {
        let bound = Bound::new(10, LIMIT);
        let mark = bound.mark(3, 1_000);
        assert!(bound.holds(mark, 1_100) && !bound.holds(mark, 1_101));
        bound.in_step(1_050);
        assert!(bound.holds(mark, 1_150) && !bound.holds(mark, 1_151));
        assert!(!bound.holds(mark.unfollowed(), 1_150), "of it nobody tells");
        bound.in_step(1_040);
        assert!(bound.holds(mark, 1_150), "a moment does not go back");
        bound.change(4);
        assert!(bound.holds(mark, 1_150));
        bound.change(3);
        assert!(!bound.holds(mark, 1_050) && !bound.stands_in(mark, 1_050, LIMIT));
    }

    #[test]
    fn a_lost_link_proves_nothing_of_what_was_read_over_it() {
        let bound = Bound::new(10, LIMIT);
        let old = bound.mark(0, 1_000);
        bound.lose();
        let new = bound.mark(0, 1_010);
        bound.in_step(1_090);
        assert!(bound.holds(old, 1_100), "it was read not long ago");
        assert!(!bound.holds(old, 1_101) && bound.holds(new, 1_190));
        assert!(bound.stands_in(old, 1_150, 50) && !bound.stands_in(old, 1_151, 50));
        bound.change_all();
        assert!(!bound.holds(new, 1_100) && !bound.stands_in(old, 1_100, 50));
    }

    #[test]
    fn a_copy_of_another_state_is_of_no_use_however_young() {
        let bound = Bound::new(10, LIMIT);
        let mark = bound.mark(3, 1_000).in_state(Some(70));
        assert!(bound.is_in_state(mark, Some(70), 5_000), "however long ago it was read");
        assert!(bound.stands_in(mark, 5_150, 50), "it was up to date not long ago");
        for (state, of) in [(Some(71), mark), (None, mark), (None, mark.in_state(None))] {
            assert!(!bound.is_in_state(of, state, 5_001));
        }
        assert!(!bound.stands_in(mark, 5_150, 50), "its state has ended");
        let unfollowed = bound.mark(3, 6_000).unfollowed();
        assert!(!bound.is_in_state(unfollowed, Some(71), 6_000));
        let mark = bound.mark(3, 6_000).in_state(Some(71));
        assert!(bound.is_in_state(mark, Some(71), 6_000));
        bound.change(3);
        assert!(!bound.is_in_state(mark, Some(71), 6_000), "a change of this process");
    }
}

/// A server, a link over which news come in their order, and readers, in all orders that there are.
#[cfg(all(test, shuttle))]
mod model {
    use std::collections::VecDeque;

    use shuttle::sync::{Arc, Mutex};
    use shuttle::thread;

    use super::*;

    const LIMIT: u64 = 4;

    /// One value: the moment of its last change. Each event takes a moment of `time`.
    #[derive(Default)]
    struct Server {
        time: u64,
        changes: Vec<u64>,
        is_tracked: bool,
        is_cut: bool,
        /// In the order in which it is sent.
        sent: VecDeque<Sent>,
    }

    enum Sent {
        Changed,
        /// To a command of this moment.
        Answer(u64),
    }

    impl Server {
        fn now(&mut self) -> u64 {
            self.time += 1;
            self.time
        }

        fn value(&self) -> u64 {
            self.changes.last().copied().unwrap_or_default()
        }

        fn change(&mut self) -> u64 {
            let now = self.now();
            self.changes.push(now);
            if std::mem::take(&mut self.is_tracked) {
                self.sent.push_back(Sent::Changed);
            }
            now
        }
    }

    struct World {
        server: Mutex<Server>,
        bound: Bound,
        copy: Mutex<Option<(u64, Mark)>>,
        /// The last change of this process that is over.
        own: Mutex<u64>,
    }

    impl World {
        fn new() -> Arc<Self> {
            let (server, copy, own) = (Mutex::default(), Mutex::default(), Mutex::default());
            Arc::new(Self { server, bound: Bound::new(1, LIMIT), copy, own })
        }

        fn server<R>(&self, does: impl FnOnce(&mut Server) -> R) -> R {
            does(&mut self.server.lock().unwrap())
        }

        fn fill(&self) {
            let now = self.server(Server::now);
            let mark = self.bound.mark(0, now);
            let value = self.server(|server| {
                server.is_tracked = true;
                (!server.is_cut).then(|| server.value())
            });
            if let Some(value) = value {
                *self.copy.lock().unwrap() = Some((value, mark));
            }
        }

        /// One reader of the link: it hands on what was sent, in its order.
        fn deliver(&self) {
            while let Some(sent) = self.server(|server| server.sent.pop_front()) {
                match sent {
                    Sent::Changed => self.bound.change(0),
                    Sent::Answer(sent_at) => self.bound.in_step(sent_at),
                }
            }
        }

        fn ping(&self) {
            let sent_at = self.server(Server::now);
            self.server(|server| {
                if !server.is_cut {
                    server.sent.push_back(Sent::Answer(sent_at));
                }
            });
        }

        /// The link is lost, with all that was under way, and another begins.
        fn cut(&self) {
            self.server(|server| {
                (server.is_cut, server.is_tracked) = (true, false);
                server.sent.clear();
            });
            self.bound.lose();
            self.server(|server| server.is_cut = false);
        }

        fn change_here(&self) {
            self.bound.change(0);
            let changed = self.server(Server::change);
            self.bound.change(0);
            *self.own.lock().unwrap() = changed;
        }

        fn hit(&self) {
            let own = *self.own.lock().unwrap();
            let Some((value, mark)) = *self.copy.lock().unwrap() else { return };
            let now = self.server(Server::now);
            if !self.bound.holds(mark, now) {
                return;
            }
            assert!(value >= own, "{value} is of before a change of our own at {own}");
            let next =
                self.server(|server| server.changes.iter().copied().find(|change| *change > value));
            if let Some(next) = next {
                assert!(next + LIMIT >= now, "{value} changed at {next}, and it is {now}");
            }
        }
    }

    fn check(scenario: impl Fn() + Send + Sync + Clone + 'static) {
        shuttle::check_random(scenario.clone(), 50_000);
        shuttle::check_pct(scenario, 50_000, 4);
    }

    fn all_at_once(work: impl IntoIterator<Item = fn(&World)>) {
        let world = World::new();
        let threads = work.into_iter().map(|work| {
            let world = world.clone();
            thread::spawn(move || work(&world))
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    fn change_twice(world: &World) {
        for _ in 0..2 {
            world.server(Server::change);
        }
    }

    #[test]
    fn no_hit_is_older_than_the_limit_where_the_link_is_lost() {
        check(|| {
            all_at_once([
                (|world| (0..2).for_each(|_| world.fill())) as fn(&World),
                change_twice,
                |world| {
                    world.ping();
                    world.deliver();
                    world.cut();
                    world.ping();
                    world.deliver();
                },
                |world| (0..6).for_each(|_| world.hit()),
            ]);
        });
    }

    #[test]
    fn no_hit_is_older_than_the_limit() {
        check(|| {
            all_at_once([
                (|world| (0..2).for_each(|_| world.fill())) as fn(&World),
                change_twice,
                |world| {
                    for _ in 0..2 {
                        world.ping();
                        world.deliver();
                    }
                },
                |world| (0..6).for_each(|_| world.hit()),
            ]);
        });
    }

    #[test]
    fn no_hit_is_older_than_an_own_change() {
        check(|| {
            all_at_once([
                (|world| (0..2).for_each(|_| world.fill())) as fn(&World),
                |world| {
                    world.change_here();
                    world.hit();
                },
                |world| {
                    world.ping();
                    world.deliver();
                },
                |world| (0..3).for_each(|_| world.hit()),
            ]);
        });
    }
}
