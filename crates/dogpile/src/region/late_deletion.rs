//! Deletes late what a backend did not take when it was asked.

use std::sync::Arc;
use std::time::Duration;

use super::background::spawn;
use super::core::Core;
use super::owed::{Debt, Debts, KeptAway};
use crate::clock::Timestamp;
use crate::error::{BackendError, Error, ErrorKind};
use crate::invalidation::Mode;
use crate::log;
use crate::process::generation;

/// Between two attempts: at first, and at last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Core {
    /// Deletes what is stored under `key`, now or as soon as that can be done.
    pub(crate) async fn delete_surely(self: Arc<Self>, key: String) {
        self.note_change(&key);
        match self.backend.delete(&key).await {
            Ok(()) => self.owed.forgive(&key),
            Err(error) => {
                self.note_degraded("delete", &error);
                self.owe_deletion(&key);
            }
        }
    }

    /// Passes on what became of a change of `keys`. If it could not be made, what is stored under
    /// them counts as missing in this process, and is deleted as soon as that can be done.
    pub(crate) fn told<'k, R>(
        self: &Arc<Self>,
        operation: &'static str,
        keys: impl IntoIterator<Item = &'k str>,
        result: Result<R, BackendError>,
    ) -> Result<R, Error> {
        match result {
            Ok(done) => {
                self.kept.note_changes(false);
                self.see_to_debts();
                if self.owed.are_any() {
                    keys.into_iter().for_each(|key| self.owed.forgive(key));
                }
                Ok(done)
            }
            Err(error) => {
                // What the backend does not take at all is not there either.
                if error.kind() != ErrorKind::Refused {
                    keys.into_iter().for_each(|key| self.owe_deletion(key));
                }
                Err(self.failed(operation, error))
            }
        }
    }

    /// Keeps deletions that are owed away from keys that are about to be changed, until what this
    /// returns is dropped.
    pub(in crate::region) async fn no_late_deletion<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k str>,
    ) -> Option<KeptAway<'_>> {
        if !self.owed.are_any() {
            return None;
        }
        Some(self.owed.keep_away(keys, generation()).await)
    }

    /// Sees to it that what is stored under `key` is deleted as soon as that can be done.
    pub(crate) fn owe_deletion(self: &Arc<Self>, key: &str) {
        match self.owed.owe(key, generation()) {
            Debt::Noted => {}
            Debt::First => self.begin_to_pay(),
            Debt::Refused => {
                log::deletion_given_up(self.name(), key);
                return self.owe_invalidation(Mode::Hard, self.stamp().order);
            }
        }
        self.note_debts();
    }

    /// Sees to it that the region is invalidated as soon as that can be done.
    pub(crate) fn owe_invalidation(self: &Arc<Self>, mode: Mode, at: Timestamp) {
        if let Debt::First = self.owed.owe_invalidation(mode, at, generation()) {
            self.begin_to_pay();
        }
        self.note_debts();
    }

    /// Goes on with what is owed, if there is anything and nobody is at it: the runtime in which
    /// somebody was may have ended.
    pub(crate) fn see_to_debts(self: &Arc<Self>) {
        if self.owed.are_any() && self.owed.is_left_alone(generation()) {
            self.begin_to_pay();
        }
    }

    /// The backend was asked for a value, and has answered or not.
    pub(crate) fn note_answer(&self, has_answered: bool) {
        if self.owed.are_any() {
            self.owed.note_answer(has_answered);
        }
    }

    fn begin_to_pay(self: &Arc<Self>) {
        spawn("dogpile-deletion", Box::pin(Paying::of(self.clone()).pay()));
    }

    #[cfg_attr(not(feature = "metrics"), expect(clippy::unused_self, reason = "a gauge of theirs"))]
    fn note_debts(&self) {
        #[cfg(feature = "metrics")]
        self.stats().note_pending_deletions(self.owed.count());
    }
}

/// Somebody is at it, until this is dropped.
struct Paying {
    core: Arc<Core>,
    is_over: bool,
}

impl Paying {
    fn of(core: Arc<Core>) -> Self {
        Self { core, is_over: false }
    }

    async fn pay(mut self) {
        let mut pause = FIRST_PAUSE;
        while !self.is_over {
            // The rest ends early where the backend answers again.
            self.core.clock.sleep(FIRST_PAUSE).await;
            let rest = pause.saturating_sub(FIRST_PAUSE);
            if !rest.is_zero() {
                self.core.owed.pause(self.core.clock.sleep(rest)).await;
            }
            pause = match self.try_to_delete().await {
                Ok(()) => FIRST_PAUSE,
                Err(error) => {
                    self.core.owed.failed();
                    self.core.note_degraded("delete", &error);
                    pause.saturating_mul(2).min(LONGEST_PAUSE)
                }
            };
        }
    }

    async fn try_to_delete(&mut self) -> Result<(), BackendError> {
        let Debts { keys, invalidations } = self.core.owed.try_all();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        // What was created, and kept, since they were changed is newer than that.
        keys.iter().for_each(|key| self.core.shared.keys.note_change(key));
        if !keys.is_empty() {
            self.core.backend.delete_multi(&keys).await?;
            log::deleted_late(self.core.name(), &keys);
        }
        self.is_over = self.core.owed.paid();
        for (mode, at) in invalidations {
            self.core.invalidation.invalidate(mode, at).await?;
            self.core.owed.invalidated(mode, at);
            self.is_over = self.core.owed.paid();
        }
        self.core.note_debts();
        Ok(())
    }
}

/// The runtime may end in the middle of it; then whoever comes next goes on.
impl Drop for Paying {
    fn drop(&mut self) {
        if !self.is_over {
            self.core.owed.give_back();
        }
    }
}
