//! Opening a file: what is refused, and what a process has of one that is open.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::Shared;
use super::builder::Options;
use super::lock_file::{Locks, System};
use super::place::{self, Place};
use super::readers::Readers;
use super::watcher::Watcher;
use super::writer::Writer;
use super::{forked, ours, schema};
use crate::backend::BackendError;

impl Options {
    /// Refuses what is not a cache, and leaves it as it is.
    fn check(&self, path: &Path, lock_file: &Path) -> Result<(), BackendError> {
        schema::check_path(path)?;
        ours::refuse_others(path, |number| Ok(Locks::<System>::look(lock_file)?.are_of(number)))?;
        if self.read_only {
            let missing = || BackendError::other(format!("there is no file `{}`", path.display()));
            return if path.exists() { Ok(()) } else { Err(missing()) };
        }
        ours::check_beside(path)
    }
}

impl Shared {
    pub(super) fn open(
        path: &Path,
        lock_file: &Path,
        options: &Arc<Options>,
    ) -> Result<Self, BackendError> {
        let permission = forked::permission()?;
        let working = permission.begin_alone();
        let place = Arc::new(Place::new(path));
        let new_readers = || Readers::new(place.clone(), permission, options.read_only);
        let (readers, watcher) = (new_readers(), Watcher::new(new_readers()));
        // A look finds out by itself whether the file is ours, and changes nothing.
        let is_looked_at = options.read_only
            && schema::check_path(path).is_ok()
            && readers.find_ready().unwrap_or(false);
        if !is_looked_at {
            options.check(path, lock_file)?;
        }
        let locks = if options.read_only {
            None
        } else {
            refuse_cache(&place, lock_file)?;
            let mode = options.mode.or_else(|| place::mode_of(&place.path));
            Some(Locks::open(lock_file, mode)?)
        };
        let writer = Writer::new(options.clone(), place.clone(), locks.clone());
        if !is_looked_at {
            if !readers.find_ready()? {
                // That is work of its own.
                drop(working);
                writer.open_now()?;
            } else if let Some(locks) = &locks {
                locks.note_database(place.number());
            }
        }
        let (locks, lock_file) =
            (locks.map_or_else(OnceLock::new, OnceLock::from), lock_file.into());
        Ok(Self { place, readers, writer, locks, lock_file, watcher })
    }

    /// Returns the creation locks. Where nothing is changed by looking, their file is opened when they
    /// are first asked for: most looks are at values.
    pub(super) fn locks(&self) -> Result<&Locks, BackendError> {
        if let Some(locks) = self.locks.get() {
            return Ok(locks);
        }
        refuse_cache(&self.place, &self.lock_file)?;
        let looked = Locks::look(&self.lock_file)?;
        Ok(self.locks.get_or_init(|| looked))
    }
}

/// Refuses a lock file that is the cache itself: closing it would drop SQLite's locks.
fn refuse_cache(place: &Place, lock_file: &Path) -> Result<(), BackendError> {
    if place.is_sqlites(lock_file) {
        let message = format!("`{}` is the cache itself, not a lock file", lock_file.display());
        return Err(BackendError::unavailable(message));
    }
    Ok(())
}
