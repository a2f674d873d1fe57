//! Retries deletions that a backend has refused.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::background::spawn;
use super::core::Core;
use crate::backend::BackendError;
use crate::log;
use crate::process::generation;

/// Between two attempts: at first, and at last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl Core {
    /// Deletes what is stored under `key`, now or as soon as that can be done.
    pub(crate) async fn delete_surely(self: Arc<Self>, key: String) {
        self.note_change(&key);
        let Err(error) = self.backend.delete(&key).await else { return };
        self.note_degraded("delete", &error);
        let mut owed = self.owed.0.lock();
        if !owed.owe(&key) {
            return log::deletion_given_up(self.name(), &key);
        }
        if owed.paying.replace(generation()) != Some(generation()) {
            drop(owed);
            spawn("dogpile-deletion", Box::pin(Paying::of(self.clone()).pay()));
        }
    }
}

/// Somebody is at it, until this is dropped.
struct Paying {
    core: Arc<Core>,
    /// Those of the attempt that is going on.
    keys: HashSet<String>,
    is_over: bool,
}

impl Paying {
    fn of(core: Arc<Core>) -> Self {
        Self { core, keys: HashSet::new(), is_over: false }
    }

    async fn pay(mut self) {
        let mut pause = FIRST_PAUSE;
        while !self.is_over {
            self.core.clock.sleep(pause).await;
            self.core.owed.0.lock().try_all(&mut self.keys);
            pause = match self.try_to_delete().await {
                Ok(()) => FIRST_PAUSE,
                Err(error) => {
                    self.core.note_degraded("delete", &error);
                    pause.saturating_mul(2).min(LONGEST_PAUSE)
                }
            };
        }
    }

    async fn try_to_delete(&mut self) -> Result<(), BackendError> {
        let keys: Vec<&str> = self.keys.iter().map(String::as_str).collect();
        keys.iter().for_each(|key| self.core.note_change(key));
        self.core.backend.delete_multi(&keys).await?;
        log::deleted_late(self.core.name(), &keys);
        self.keys.clear();
        let mut owed = self.core.owed.0.lock();
        owed.tried = 0;
        self.is_over = owed.keys.is_empty();
        if self.is_over {
            owed.paying = None;
        }
        Ok(())
    }
}

/// The runtime may end in the middle of it; then whoever comes next goes on.
impl Drop for Paying {
    fn drop(&mut self) {
        if !self.is_over {
            self.core.owed.0.lock().give_back(&mut self.keys);
        }
    }
}
