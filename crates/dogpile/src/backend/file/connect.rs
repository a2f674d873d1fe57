//! Opening a file: what is refused, and what a process has of one that is open.

use std::path::Path;
use std::sync::Arc;

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
        let readers = Readers::new(place.clone(), permission, options.read_only);
        // A look finds out by itself whether the file is ours, and changes nothing.
        let is_looked_at = options.read_only
            && schema::check_path(path).is_ok()
            && readers.find_ready().unwrap_or(false);
        if !is_looked_at {
            options.check(path, lock_file)?;
        }
        if place.is_sqlites(lock_file) {
            let message = format!("`{}` is the cache itself, not a lock file", lock_file.display());
            return Err(BackendError::unavailable(message));
        }
        let locks = if options.read_only {
            Locks::look(lock_file)?
        } else {
            Locks::open(lock_file, options.mode.or_else(|| place::mode_of(&place.path)))?
        };
        let writer = Writer::new(options.clone(), place.clone(), locks.clone());
        if is_looked_at {
            return Ok(Self { place, readers, writer, locks, watcher: Watcher::default() });
        }
        if !readers.find_ready()? {
            // That is work of its own.
            drop(working);
            writer.open_now()?;
        } else if !options.read_only {
            locks.note_database(place.number());
        }
        Ok(Self { place, readers, writer, locks, watcher: Watcher::default() })
    }
}
